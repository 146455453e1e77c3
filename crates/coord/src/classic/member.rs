//! One member of a classic group.
use std::time::Duration;

use bytes::Bytes;

use crate::{
    command::{Client, Protocol, RequestId},
    error::GroupError,
    group::Cx,
    reply::{JoinReply, Reply, SyncReply},
    row::{self, ClassicMemberRow},
    timers::Timer,
};

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client: Client,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// Its JoinGroup that waits for the join phase to end.
    pub join: Option<RequestId>,
    /// Its SyncGroup that waits for the leader's assignment.
    pub sync: Option<RequestId>,
    /// It has never finished a join phase.
    pub is_new: bool,
}

impl Member {
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == protocol);
        found.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|p| p.name == protocol)
    }

    pub fn rebalance_timeout(&self) -> Duration {
        Duration::from_millis(self.rebalance_timeout_ms.max(0) as u64)
    }

    /// The member lives: its session begins anew.
    pub fn heard(&self, cx: &mut Cx) {
        let at = cx.after_ms(self.session_timeout_ms);
        cx.timers.set(Timer::Session(self.id.clone()), at);
    }

    /// Lets a JoinGroup wait. Who waits shows that it lives, so its session does not run; only a new member's ends after
    /// `limit`, because it could not be told from one that has gone.
    pub fn wait_for_join(&mut self, cx: &mut Cx, request: RequestId, limit: Duration) {
        self.refuse_waiting(cx, GroupError::RebalanceInProgress);
        self.join = Some(request);
        let session = Timer::Session(self.id.clone());
        match self.is_new {
            true => cx.timers.set(session, cx.now.mono + limit),
            false => cx.timers.cancel(&session),
        }
    }

    /// Lets a SyncGroup wait; an older one of the same member is told to join again.
    pub fn wait_for_sync(&mut self, cx: &mut Cx, request: RequestId) {
        self.refuse_waiting(cx, GroupError::RebalanceInProgress);
        self.sync = Some(request);
        cx.timers.cancel(&Timer::Session(self.id.clone()));
    }

    pub fn refuse_waiting(&mut self, cx: &mut Cx, code: GroupError) {
        if let Some(request) = self.join.take() {
            cx.out.reply(
                request,
                Reply::JoinGroup(JoinReply::refused(&self.id, code)),
            );
        }
        self.refuse_sync(cx, code);
    }

    pub fn refuse_sync(&mut self, cx: &mut Cx, code: GroupError) {
        if let Some(request) = self.sync.take() {
            cx.out
                .reply(request, Reply::SyncGroup(SyncReply::refused(code)));
        }
    }

    pub fn row(&self) -> ClassicMemberRow {
        ClassicMemberRow {
            instance_id: self.instance_id.clone(),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols: row::protocols_to_rows(&self.protocols),
            assignment: self.assignment.clone(),
        }
    }

    pub fn from_row(id: String, from: ClassicMemberRow) -> Self {
        Member {
            id,
            instance_id: from.instance_id,
            client: Client {
                id: from.client_id,
                host: from.client_host,
            },
            session_timeout_ms: from.session_timeout_ms,
            rebalance_timeout_ms: from.rebalance_timeout_ms,
            protocols: row::protocols_from_rows(from.protocols),
            assignment: from.assignment,
            join: None,
            sync: None,
            is_new: false,
        }
    }
}
