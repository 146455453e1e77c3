//! SyncGroup: followers wait for the leader's assignment.
use std::collections::HashMap;

use bytes::Bytes;

use super::{Classic, State};
use crate::{
    command::{RequestId, SyncGroup},
    error::GroupError,
    group::Cx,
    mutant,
    reply::{Reply, SyncReply},
    timers::Timer,
};

impl Classic {
    pub fn sync(&mut self, cx: &mut Cx, request: RequestId, sync: SyncGroup) {
        if let Err(code) = self.try_sync(cx, request, sync) {
            cx.out
                .reply(request, Reply::SyncGroup(SyncReply::refused(code)));
        }
    }

    fn try_sync(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        sync: SyncGroup,
    ) -> Result<(), GroupError> {
        self.check_sync(&sync)?;
        match self.state {
            State::Empty => return Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(&sync.member_id) {
                    member.wait_for_sync(cx, request);
                }
                self.synced(cx, &sync.member_id);
                if self.is_leader(&sync.member_id) {
                    self.assign(cx, sync.assignments);
                }
            }
            State::Stable => {
                self.synced(cx, &sync.member_id);
                let member = self.members.get(&sync.member_id);
                let assignment = member.map(|m| m.assignment.clone()).unwrap_or_default();
                self.answer_sync(cx, request, assignment);
            }
        }
        Ok(())
    }

    fn check_sync(&self, sync: &SyncGroup) -> Result<(), GroupError> {
        self.validate(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != self.generation && !mutant::is("sync_any_generation") {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |told: &Option<String>, own: &Option<String>| told.is_some() && told != own;
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn synced(&mut self, cx: &mut Cx, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(&Timer::Sync);
        }
    }

    /// The leader has decided. Members that it left out get an empty assignment.
    fn assign(&mut self, cx: &mut Cx, assignments: Vec<(String, Bytes)>) {
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        self.enter(cx, State::Stable);
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        let waiting = self.members.values_mut();
        let waiting: Vec<_> = waiting
            .filter_map(|m| Some((m.sync.take()?, m.assignment.clone())))
            .collect();
        for (request, assignment) in waiting {
            self.answer_sync(cx, request, assignment);
        }
        self.members.values().for_each(|member| member.heard(cx));
        self.persist(cx);
    }

    /// Who has not sent SyncGroup by now is out, and the others rebalance.
    pub(super) fn sync_phase_timed_out(&mut self, cx: &mut Cx) {
        let late = std::mem::take(&mut self.pending_sync);
        if late.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for id in late {
            self.remove(cx, &id, GroupError::UnknownMemberId);
        }
        self.prepare_rebalance(cx);
    }
}
