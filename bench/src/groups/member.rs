//! One member: joins, keeps its share, and says that it lives.
use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
        JoinGroupResponse, OffsetCommitRequest, SyncGroupRequest, TopicName,
        consumer_group_heartbeat_request::TopicPartitions,
        join_group_request::JoinGroupRequestProtocol,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};
use sh_client::{Connection, ErrorCode};
use tokio::time::sleep_until;

use super::{Shared, Speaks};
use crate::gauge::note;

/// A join waits for the other members.
const PATIENCE: Duration = Duration::from_secs(120);
const SESSION_MS: i32 = 45_000;
const REBALANCE_MS: i32 = 60_000;

pub struct Member<'a> {
    shared: &'a Shared,
    connection: Arc<Connection>,
    place: usize,
    group: usize,
    id: StrBytes,
    /// Generation or epoch.
    epoch: i32,
    settled: Option<i32>,
    /// The epoch, for whoever commits.
    told: Arc<AtomicI32>,
    /// KIP-848: what it owns.
    owned: Vec<TopicPartitions>,
    has_share: bool,
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn code(code: i16) -> Option<ErrorCode> {
    (code != 0).then(|| ErrorCode::try_from_code(code).unwrap_or(ErrorCode::UnknownServerError))
}

impl Member<'_> {
    /// Lives until the run is over.
    pub async fn play(shared: &Shared, place: usize) -> Result<()> {
        let connection = Connection::open(&shared.address, "bench", PATIENCE).await?;
        let group = place / shared.load.members;
        let mut member = Member {
            shared,
            connection: Arc::new(connection),
            place,
            group,
            id: match shared.load.speaks {
                Speaks::Classic => StrBytes::default(),
                Speaks::New => text(uuid::Uuid::from_u128(place as u128 + 1).to_string()),
            },
            epoch: 0,
            settled: None,
            told: Arc::default(),
            owned: Vec::new(),
            has_share: false,
        };
        member.join().await?;
        member.live().await
    }

    /// Heartbeats and commits at their times, spread over all members; as clients do, neither waits for the other.
    async fn live(&mut self) -> Result<()> {
        let commits = Commits {
            shared: self.shared,
            connection: self.connection.clone(),
            place: self.place,
            group: self.group_id(),
            id: self.id.clone(),
            epoch: self.told.clone(),
        };
        tokio::try_join!(commits.live(), self.beat_on()).map(drop)
    }

    async fn beat_on(&mut self) -> Result<()> {
        let every = self.shared.load.heartbeat;
        let mut next = self.shared.first(self.place, every);
        while !self.shared.run.is_over() {
            sleep_until(next.into()).await;
            self.beat(next).await?;
            next += every;
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<()> {
        match self.shared.load.speaks {
            Speaks::Classic => self.join_classic().await,
            Speaks::New => self.beat_new(true).await,
        }
    }

    async fn beat(&mut self, intended: Instant) -> Result<()> {
        match self.shared.load.speaks {
            Speaks::Classic => {
                let request = HeartbeatRequest::default()
                    .with_group_id(self.group_id())
                    .with_member_id(self.id.clone())
                    .with_generation_id(self.epoch);
                let answer = self.connection.call(&request, 4).await?;
                self.note_heartbeat(intended);
                match code(answer.error_code) {
                    None => Ok(()),
                    Some(ErrorCode::RebalanceInProgress) => self.join_classic().await,
                    Some(other) => bail!("Heartbeat: {other:?}"),
                }
            }
            Speaks::New => {
                self.beat_new(false).await?;
                self.note_heartbeat(intended);
                Ok(())
            }
        }
    }

    fn note_heartbeat(&self, intended: Instant) {
        if self.shared.run.covers(intended) {
            note(&mut self.shared.seen.lock().heartbeats, intended.elapsed());
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(format!("{}-{}", self.shared.topic, self.group)))
    }

    fn settle(&mut self) {
        self.told.store(self.epoch, Ordering::Relaxed);
        if self.settled != Some(self.epoch) {
            self.shared.settle(self.group, self.settled, self.epoch);
            self.settled = Some(self.epoch);
        }
    }

    /// Until it has its share, in whatever generation.
    async fn join_classic(&mut self) -> Result<()> {
        if self.settled.is_some() {
            self.shared.rejoined.fetch_add(1, Ordering::Relaxed);
        }
        loop {
            let joined = self.connection.call(&self.join_request(), 9).await?;
            match code(joined.error_code) {
                None => {}
                Some(ErrorCode::MemberIdRequired) => {
                    self.id = joined.member_id;
                    continue;
                }
                Some(ErrorCode::RebalanceInProgress) => continue,
                Some(other) => bail!("JoinGroup: {other:?}"),
            }
            (self.id, self.epoch) = (joined.member_id.clone(), joined.generation_id);
            let sync = self.sync_request(&joined);
            let synced = self.connection.call(&sync, 5).await?;
            match code(synced.error_code) {
                None => {
                    self.settle();
                    return Ok(());
                }
                Some(ErrorCode::RebalanceInProgress) => {}
                Some(other) => bail!("SyncGroup: {other:?}"),
            }
        }
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription(&self.shared.topic));
        JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(self.id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    fn sync_request(&self, joined: &JoinGroupResponse) -> SyncGroupRequest {
        let share = |(place, member): (
            usize,
            &kafka_protocol::messages::join_group_response::JoinGroupResponseMember,
        )| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(assignment(&self.shared.topic, place as i32))
        };
        let shares = joined.members.iter().enumerate().map(share).collect();
        SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(joined.generation_id)
            .with_member_id(self.id.clone())
            .with_protocol_type(joined.protocol_type.clone())
            .with_protocol_name(joined.protocol_name.clone())
            .with_assignments(shares)
    }

    /// One heartbeat of KIP-848, and as many as follow because there is something new to own.
    async fn beat_new(&mut self, joins: bool) -> Result<()> {
        let mut tells = joins;
        loop {
            let mut request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(self.group_id())
                .with_member_id(self.id.clone())
                .with_member_epoch(self.epoch)
                .with_rebalance_timeout_ms(-1);
            if joins {
                request = request
                    .with_rebalance_timeout_ms(REBALANCE_MS)
                    .with_subscribed_topic_names(Some(vec![TopicName(text(&*self.shared.topic))]));
            }
            if tells {
                request = request.with_topic_partitions(Some(self.owned.clone()));
            }
            let answer = self.connection.call(&request, 1).await?;
            if let Some(error) = code(answer.error_code) {
                bail!("ConsumerGroupHeartbeat: {error:?}");
            }
            let moved = self.settled.is_some() && self.epoch != answer.member_epoch;
            self.shared
                .rejoined
                .fetch_add(moved.into(), Ordering::Relaxed);
            self.epoch = answer.member_epoch;
            let Some(assignment) = answer.assignment else {
                break;
            };
            let owned = assignment.topic_partitions.iter();
            self.owned = owned
                .map(|t| {
                    TopicPartitions::default()
                        .with_topic_id(t.topic_id)
                        .with_partitions(t.partitions.clone())
                })
                .collect();
            self.has_share = !self.owned.is_empty();
            tells = true;
            if joins {
                break;
            }
        }
        if self.has_share {
            self.settle();
        }
        Ok(())
    }
}

/// The commits of one member.
struct Commits<'a> {
    shared: &'a Shared,
    connection: Arc<Connection>,
    place: usize,
    group: GroupId,
    id: StrBytes,
    epoch: Arc<AtomicI32>,
}

impl Commits<'_> {
    async fn live(self) -> Result<()> {
        let Some(every) = self.shared.load.commit else {
            return Ok(());
        };
        let mut next = self.shared.first(self.place, every);
        let mut offset = 0;
        while !self.shared.run.is_over() {
            sleep_until(next.into()).await;
            offset += 1;
            self.commit(next, offset).await?;
            next += every;
        }
        Ok(())
    }

    async fn commit(&self, intended: Instant, offset: i64) -> Result<()> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::default()));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(&*self.shared.topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id_or_member_epoch(self.epoch.load(Ordering::Relaxed))
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let answer = self.connection.call(&request, 9).await?;
        if self.shared.run.covers(intended) {
            note(&mut self.shared.seen.lock().commits, intended.elapsed());
        }
        let first = answer.topics.first().and_then(|t| t.partitions.first());
        let error = code(first.context("an answer without partitions")?.error_code);
        // Its heartbeat tells the new epoch; a consumer commits again then.
        let retried = matches!(error, Some(ErrorCode::StaleMemberEpoch));
        ensure!(error.is_none() || retried, "OffsetCommit: {error:?}");
        Ok(())
    }
}

/// A consumer's subscription to one topic, version 1, that owns nothing.
fn subscription(topic: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_i16(topic.len() as i16);
    out.put_slice(topic.as_bytes());
    out.put_i32(-1);
    out.put_i32(0);
    out.freeze()
}

/// One partition, as consumers write it.
fn assignment(topic: &str, partition: i32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_i16(topic.len() as i16);
    out.put_slice(topic.as_bytes());
    out.put_i32(1);
    out.put_i32(partition);
    out.put_i32(-1);
    out.freeze()
}
