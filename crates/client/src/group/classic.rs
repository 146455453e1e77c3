//! The classic protocol: JoinGroup, SyncGroup, Heartbeat (KIP-62, KIP-394, KIP-429).
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};

use super::{
    GroupOptions,
    assignor::{ASSIGNORS, COOPERATIVE_STICKY, Members, Shares, assign},
    consumer_protocol::is_out,
    link::Link,
    membership::{Change, Pulse},
    protocol::{Subscription, decode_assignment, encode_assignment},
};
use crate::{
    Client, Error, ErrorCode, Result, TopicPartition,
    admin::Author,
    client::{group_id, text},
};

/// Rounds of joining before the caller gets a word in: a member id is given out in the first, a group may change in others.
const TRIES: usize = 5;

const PROTOCOL_TYPE: &str = "consumer";

pub(super) struct Classic {
    options: GroupOptions,
    /// Empty before the coordinator gave one.
    member_id: String,
    /// -1 outside of any.
    generation: i32,
    /// The assignor that the group agreed on.
    protocol: String,
    must_join: bool,
    /// As the leader: the partitions of each topic when they were shared out.
    shared_out: Option<BTreeMap<String, i32>>,
}

impl Classic {
    pub fn new(options: GroupOptions) -> Classic {
        Classic {
            options,
            member_id: String::new(),
            generation: -1,
            protocol: String::new(),
            must_join: true,
            shared_out: None,
        }
    }

    pub async fn keep(
        &mut self,
        link: &mut Link,
        pulse: &mut Pulse,
        owned: &BTreeSet<TopicPartition>,
    ) -> Result<Change> {
        if !self.must_join {
            if !pulse.is_due() {
                return Ok(Change::None);
            }
            self.heartbeat(link).await?;
            pulse.answered(self.interval());
            self.look_for_new_partitions(link.client()).await?;
        }
        if self.generation < 0 && !owned.is_empty() {
            return Ok(Change::Lost);
        }
        if !self.must_join {
            return Ok(Change::None);
        }
        for _ in 0..TRIES {
            let assigned = self.rebalance(link, owned).await?;
            pulse.answered(self.interval());
            if let Some(assigned) = assigned {
                return Ok(Change::Assigned(assigned));
            }
        }
        Ok(Change::None)
    }

    /// A third of the session timeout, as clients do, but not longer than three seconds: a heartbeat is how a rebalance
    /// is heard of.
    fn interval(&self) -> Duration {
        (self.options.session_timeout / 3).min(Duration::from_secs(3))
    }

    async fn heartbeat(&mut self, link: &mut Link) -> Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.options.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id));
        let instance = self.options.instance_id.as_deref().map(text);
        let build = |version| match version {
            ..=2 => request.clone(),
            _ => request.clone().with_group_instance_id(instance.clone()),
        };
        let answer = link.ask(build).await?;
        self.must_join = !self.check("Heartbeat", answer.error_code)?;
        Ok(())
    }

    /// `false`: the group has changed, and the answer is to join again.
    fn check(&mut self, what: &str, code: i16) -> Result<bool> {
        let what = format!("{what} of group {}", self.options.group);
        let Err(error) = Error::check(what, code, None) else {
            return Ok(true);
        };
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => {}
            Some(ErrorCode::IllegalGeneration) => self.generation = -1,
            Some(ErrorCode::UnknownMemberId) => {
                self.generation = -1;
                self.member_id.clear();
            }
            _ => return Err(error),
        }
        Ok(false)
    }

    /// A leader whose topics have grown shares out again.
    async fn look_for_new_partitions(&mut self, client: &Client) -> Result<()> {
        let Some(before) = &self.shared_out else {
            return Ok(());
        };
        let topics = before.keys().map(String::as_str).collect();
        if counts(client, &topics).await? != *before {
            self.must_join = true;
        }
        Ok(())
    }

    /// One round of JoinGroup and SyncGroup; `None`: the next round goes on.
    async fn rebalance(
        &mut self,
        link: &mut Link,
        owned: &BTreeSet<TopicPartition>,
    ) -> Result<Option<BTreeSet<TopicPartition>>> {
        let Some(joined) = self.join(link, owned).await? else {
            return Ok(None);
        };
        let leads = *joined.leader == *self.member_id && !joined.skip_assignment;
        let shares = if leads {
            self.share_out(link.client(), &joined).await?
        } else {
            self.shared_out = None;
            Shares::new()
        };
        let Some(assignment) = self.sync(link, shares).await? else {
            return Ok(None);
        };
        self.must_join = false;
        let problem =
            "the leader's assignment cannot be read; does every member of the group consume?";
        let malformed = || Error::Refused {
            what: format!("group {}", self.options.group),
            code: ErrorCode::InconsistentGroupProtocol,
            message: Some(problem.into()),
        };
        decode_assignment(assignment)
            .map(Some)
            .ok_or_else(malformed)
    }

    async fn join(
        &mut self,
        link: &mut Link,
        owned: &BTreeSet<TopicPartition>,
    ) -> Result<Option<JoinGroupResponse>> {
        let metadata = self.subscription(owned).encode();
        let answer = link
            .ask_patiently(|version| self.join_request(version, &metadata))
            .await?;
        if ErrorCode::try_from_code(answer.error_code) == Some(ErrorCode::MemberIdRequired) {
            self.member_id = answer.member_id.to_string();
            return Ok(None);
        }
        if !self.check("JoinGroup", answer.error_code)? {
            return Ok(None);
        }
        self.member_id = answer.member_id.to_string();
        self.generation = answer.generation_id;
        let protocol = answer.protocol_name.as_ref();
        self.protocol = protocol.map(|p| p.to_string()).unwrap_or_default();
        Ok(Some(answer))
    }

    fn subscription(&self, owned: &BTreeSet<TopicPartition>) -> Subscription {
        Subscription {
            topics: self.options.topics.clone(),
            owned: owned.clone(),
            generation: self.generation,
        }
    }

    fn join_request(&self, version: i16, metadata: &Bytes) -> JoinGroupRequest {
        let ms = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX);
        let protocol = |name: &&'static str| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(name))
                .with_metadata(metadata.clone())
        };
        let mut request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.options.group))
            .with_session_timeout_ms(ms(self.options.session_timeout))
            .with_member_id(text(&self.member_id))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(ASSIGNORS.iter().map(protocol).collect());
        if version >= 1 {
            request = request.with_rebalance_timeout_ms(ms(self.options.rebalance_timeout));
        }
        if version >= 5 {
            request = request.with_group_instance_id(self.options.instance_id.as_deref().map(text));
        }
        request
    }

    /// As the leader.
    async fn share_out(&mut self, client: &Client, joined: &JoinGroupResponse) -> Result<Shares> {
        let mut members = Members::new();
        for member in &joined.members {
            let subscription = Subscription::decode(member.metadata.clone()).unwrap_or_default();
            members.insert(member.member_id.to_string(), subscription);
        }
        let topics = members.values().flat_map(|s| &s.topics);
        let counts = counts(client, &topics.map(String::as_str).collect()).await?;
        let shares = assign(&self.protocol, &members, &counts);
        self.shared_out = Some(counts);
        Ok(shares)
    }

    async fn sync(&mut self, link: &mut Link, shares: Shares) -> Result<Option<Bytes>> {
        let share = |(id, share): (&String, &BTreeSet<TopicPartition>)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(encode_assignment(share))
        };
        let assignments: Vec<_> = shares.iter().map(share).collect();
        let build = |version| {
            let mut request = SyncGroupRequest::default()
                .with_group_id(group_id(&self.options.group))
                .with_generation_id(self.generation)
                .with_member_id(text(&self.member_id))
                .with_assignments(assignments.clone());
            if version >= 3 {
                let instance = self.options.instance_id.as_deref().map(text);
                request = request.with_group_instance_id(instance);
            }
            if version >= 5 {
                request = request
                    .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
                    .with_protocol_name(Some(text(&self.protocol)));
            }
            request
        };
        let answer = link.ask_patiently(build).await?;
        let synced = self.check("SyncGroup", answer.error_code)?;
        Ok(synced.then_some(answer.assignment))
    }

    /// With the cooperative assignor, what was given up is handed on in the next generation.
    pub fn has_revoked(&mut self) {
        self.must_join |= self.protocol == COOPERATIVE_STICKY;
    }

    pub fn author(&self) -> Author {
        Author {
            generation: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.options.instance_id.clone(),
        }
    }

    /// A static member stays until its session times out, so that it can come back (KIP-345).
    pub async fn leave(&self, link: &mut Link) -> Result<()> {
        if self.member_id.is_empty() || self.options.instance_id.is_some() {
            return Ok(());
        }
        let build = |version| {
            let request = LeaveGroupRequest::default().with_group_id(group_id(&self.options.group));
            match version {
                ..=2 => request.with_member_id(text(&self.member_id)),
                _ => request.with_members(vec![
                    MemberIdentity::default().with_member_id(text(&self.member_id)),
                ]),
            }
        };
        let answer = link.ask(build).await?;
        let member = answer.members.first().map_or(0, |m| m.error_code);
        for code in [answer.error_code, member] {
            match Error::check("leaving the group", code, None) {
                Err(error) if !is_out(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The partitions of each of these topics; those that do not exist are left out.
async fn counts(client: &Client, topics: &BTreeSet<&str>) -> Result<BTreeMap<String, i32>> {
    let names: Vec<&str> = topics.iter().copied().collect();
    let answer = client.refresh(Some(&names)).await?;
    let found = answer.topics.iter().filter(|t| t.error_code == 0);
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    Ok(found
        .filter_map(|t| Some((t.name.as_ref()?.to_string(), count(t.partitions.len()))))
        .collect())
}
