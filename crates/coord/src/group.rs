//! One group, of whatever protocol: takes requests, times and changes of the world, and gives answers and rows to store.
mod classic;
mod consumer;
mod offsets;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sh_base::{Rng, limits::MEMBER_ID_BYTES_MAX};

use crate::{
    classic::{Classic, Member},
    command::{Client, Command, RequestId},
    consumer::Consumer,
    error::{GroupError, Refusal},
    mutant,
    outbox::{Outbox, Output},
    reply::{Listing, Reply},
    row::{GroupRow, MemberRow},
    settings::GroupSettings,
    timers::{Timer, Timers},
    topics::Topics,
};

/// The moment of an event. The two clocks never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; every timeout is measured on it.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch; for what is stored only.
    pub wall_ms: i64,
}

/// What can happen to a group.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a request, and none is kept"
)]
pub enum Event {
    /// Somebody asks; there will be exactly one [`Output::Reply`] with this id.
    Request {
        id: RequestId,
        client: Client,
        command: Command,
    },
    /// The changes of this version are durable, but for the transactional commits that their transaction refused.
    Persisted {
        version: u64,
        refused: Vec<(RequestId, GroupError)>,
    },
    /// Topics came, went or grew.
    Topics(Arc<Topics>),
    Settings(Arc<GroupSettings>),
    /// This coordinator must not write any more (fenced, or shutting down): all that waits is answered with this code, and
    /// the group here is as if it had never been.
    Abandon(GroupError),
}

/// A UUID as text.
const UUID_BYTES: usize = 36;

/// What the parts of a group share while they handle an event.
pub(crate) struct Cx<'a> {
    pub group_id: &'a str,
    pub now: Now,
    pub settings: &'a GroupSettings,
    pub topics: &'a Topics,
    pub rng: &'a dyn Rng,
    pub out: &'a mut Outbox,
    pub timers: &'a mut Timers,
}

impl Cx<'_> {
    pub fn after_ms(&self, ms: i32) -> Duration {
        self.now.mono + Duration::from_millis(ms.max(0) as u64)
    }
    pub fn uuid(&self) -> uuid::Uuid {
        let bytes = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
    /// An id that tells a person whose it is, as far as there is room.
    pub fn member_id(&self, name: &str) -> String {
        let room = name.floor_char_boundary(MEMBER_ID_BYTES_MAX - UUID_BYTES - 1);
        format!("{}-{}", &name[..room], self.uuid())
    }
}

#[derive(Debug)]
enum Kind {
    /// The group does not exist.
    Absent,
    Classic(Box<Classic>),
    Consumer(Box<Consumer>),
}

/// The coordinator of one group: a machine without I/O.
///
/// Every [`Event::Request`] is answered exactly once. No answer leaves before what the group had changed until then is
/// durable; there is at most one [`Output::Persist`] without its [`Event::Persisted`] at any time.
/// After each call ask [`Group::next_timeout`], and call [`Group::poll`] when that moment has come.
pub struct Group {
    id: String,
    kind: Kind,
    settings: Arc<GroupSettings>,
    topics: Arc<Topics>,
    rng: Arc<dyn Rng>,
    outbox: Outbox,
    timers: Timers,
    /// Since when changes of members wait for the store.
    waits_since: Option<Duration>,
}

/// How long changes of members may wait for the store before the wait does not count for the members' timeouts.
const STORE_IS_SLOW: Duration = Duration::from_secs(1);

/// A group as it is stored: all its rows but the offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// `None`: the group does not exist.
    pub group: Option<GroupRow>,
    /// By member id.
    pub members: BTreeMap<String, MemberRow>,
}

/// Splits the fields, so that the group's kind and what it uses can be borrowed side by side.
macro_rules! cx {
    ($group:ident, $now:expr) => {
        &mut Cx {
            group_id: &$group.id,
            now: $now,
            settings: &$group.settings,
            topics: &$group.topics,
            rng: &*$group.rng,
            out: &mut $group.outbox,
            timers: &mut $group.timers,
        }
    };
}
pub(crate) use cx;

impl Group {
    /// Takes a group over. Members have a whole session to be heard of; nothing rebalances because of the take-over.
    ///
    /// Members whose rows are of another protocol than the group's are left out: they were never stored together.
    pub fn restore(
        now: Now,
        id: impl Into<String>,
        snapshot: Snapshot,
        settings: Arc<GroupSettings>,
        topics: Arc<Topics>,
        rng: Arc<dyn Rng>,
    ) -> Group {
        let (outbox, timers) = Default::default();
        let mut group = Group {
            id: id.into(),
            kind: Kind::Absent,
            settings,
            topics,
            rng,
            outbox,
            timers,
            waits_since: None,
        };
        let cx = cx!(group, now);
        let members = snapshot.members.into_iter();
        group.kind = match snapshot.group {
            None => Kind::Absent,
            Some(GroupRow::Classic(row)) => {
                let classic = |(id, row)| match row {
                    MemberRow::Classic(row) => {
                        Some((String::clone(&id), Member::from_row(id, row)))
                    }
                    MemberRow::Consumer(_) => None,
                };
                Kind::Classic(Box::new(Classic::restore(
                    cx,
                    row,
                    members.filter_map(classic).collect(),
                )))
            }
            Some(GroupRow::Consumer(row)) => {
                let consumer = |(id, row)| match row {
                    MemberRow::Consumer(row) => Some((id, row)),
                    MemberRow::Classic(_) => None,
                };
                Kind::Consumer(Box::new(Consumer::restore(
                    cx,
                    row,
                    members.filter_map(consumer).collect(),
                )))
            }
        };
        group
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the machine can be dropped: the group does not exist, and nothing waits to be stored.
    pub fn is_disposable(&self) -> bool {
        matches!(self.kind, Kind::Absent) && self.outbox.is_idle()
    }

    /// The newest version that is durable. See [`crate::command::ExpireOffsets`].
    pub fn durable_version(&self) -> u64 {
        self.outbox.durable_version()
    }

    /// What ListGroups shows; `None` if the group does not exist.
    pub fn listing(&self) -> Option<Listing> {
        let (protocol_type, state, group_type) = match &self.kind {
            Kind::Absent => return None,
            Kind::Classic(g) => (
                g.protocol_type.clone().unwrap_or_default(),
                g.listed_state(),
                "classic",
            ),
            Kind::Consumer(g) => ("consumer".to_owned(), g.state(), "consumer"),
        };
        Some(Listing {
            group_id: self.id.clone(),
            protocol_type,
            state,
            group_type,
        })
    }

    /// When to call [`Group::poll`], on the monotonic clock.
    ///
    /// **Timeouts stand still while changes of members wait for the store**: the members may be waiting for answers that wait
    /// with them, and could not be heard of. [`Event::Persisted`] does what has fallen due.
    pub fn next_timeout(&self) -> Option<Duration> {
        match self.stands_still() {
            true => None,
            false => self.timers.next(),
        }
    }

    fn stands_still(&self) -> bool {
        self.outbox.members_wait() && !mutant::is("clock_runs_on")
    }

    /// Does what is due by now.
    #[must_use]
    pub fn poll(&mut self, now: Now) -> Vec<Output> {
        if !self.stands_still() {
            self.time_out(now);
        }
        self.flush(now)
    }

    fn time_out(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.mono) {
            self.timeout(now, timer);
        }
    }

    fn flush(&mut self, now: Now) -> Vec<Output> {
        match self.outbox.members_wait() {
            true => self.waits_since = self.waits_since.or(Some(now.mono)),
            false => self.waits_since = None,
        }
        self.outbox.flush()
    }

    fn persisted(
        &mut self,
        now: Now,
        version: u64,
        refused: &[(RequestId, GroupError)],
    ) -> Vec<Output> {
        let before = self.outbox.durable_version();
        let mut out = self.outbox.persisted(version, refused);
        let is_news = self.outbox.durable_version() > before;
        if let Some(since) = self.waits_since.take_if(|_| is_news) {
            let waited = now.mono.saturating_sub(since);
            if waited >= STORE_IS_SLOW && !mutant::is("clock_runs_on") {
                self.timers.postpone(waited);
            }
            self.time_out(now);
        }
        out.extend(self.flush(now));
        out
    }

    fn timeout(&mut self, now: Now, timer: Timer) {
        let cx = cx!(self, now);
        match &mut self.kind {
            _ if mutant::is("silence_is_patience") => {}
            Kind::Absent => {}
            Kind::Classic(classic) => classic.timeout(cx, timer),
            Kind::Consumer(consumer) => consumer.timeout(cx, timer),
        }
        self.downgrade_if_all_are_classic(now);
    }

    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Output> {
        match event {
            Event::Request {
                id,
                client,
                command,
            } => self.request(now, id, client, command),
            Event::Persisted { version, refused } => {
                return self.persisted(now, version, &refused);
            }
            Event::Topics(topics) => self.set_topics(topics),
            Event::Settings(settings) => self.settings = settings,
            Event::Abandon(code) => return self.abandon(now, code),
        }
        self.flush(now)
    }

    fn set_topics(&mut self, topics: Arc<Topics>) {
        self.topics = topics;
        if let Kind::Consumer(consumer) = &mut self.kind {
            consumer.topics_changed(&self.topics);
        }
    }

    fn abandon(&mut self, now: Now, code: GroupError) -> Vec<Output> {
        if let Kind::Classic(classic) = &mut self.kind {
            classic.refuse_all_waiting(cx!(self, now), code);
        }
        self.kind = Kind::Absent;
        self.timers.clear();
        self.outbox.abandon(code)
    }

    fn request(&mut self, now: Now, id: RequestId, client: Client, command: Command) {
        if let Some(code) = command.too_large() {
            return self.outbox.reply(id, Reply::refused(&command, code));
        }
        let reply = match command {
            Command::JoinGroup(join) => return self.join(now, id, client, join),
            Command::SyncGroup(sync) => return self.sync(now, id, sync),
            Command::OffsetCommit(commit) => return self.commit(now, id, commit),
            Command::Heartbeat(beat) => Reply::Heartbeat(self.heartbeat(now, &beat).err()),
            Command::LeaveGroup(leave) => Reply::LeaveGroup(self.leave(now, leave)),
            Command::DescribeGroup => Reply::DescribeGroup(self.describe()),
            Command::OffsetFetch(fetch) => Reply::OffsetFetch(self.check_fetch(&fetch).err()),
            Command::OffsetDelete(delete) => Reply::OffsetDelete(self.delete_offsets(id, delete)),
            Command::DeleteGroup => Reply::DeleteGroup(self.delete().err()),
            Command::ExpireOffsets(expire) => Reply::ExpireOffsets(self.expire(now, expire)),
            Command::ConsumerGroupHeartbeat(beat) => {
                Reply::ConsumerGroupHeartbeat(self.consumer_heartbeat(now, client, beat))
            }
            Command::ConsumerGroupDescribe => Reply::ConsumerGroupDescribe(match &self.kind {
                Kind::Consumer(consumer) => Ok(consumer.describe(&self.topics, &self.settings)),
                _ => Err(self.no_consumer_group()),
            }),
        };
        self.outbox.reply(id, reply);
        self.downgrade_if_all_are_classic(now);
    }

    fn no_consumer_group(&self) -> Refusal {
        self.no_such_group("a consumer group")
    }

    /// As Kafka says it to a member that thinks it is in a group.
    fn no_group_to_beat_in(&self, member_epoch: i32) -> Refusal {
        match self.kind {
            Kind::Absent if member_epoch > 0 => {
                let message = format!("Consumer group {} not found.", self.id);
                Refusal::new(GroupError::GroupIdNotFound, message)
            }
            Kind::Absent | Kind::Classic(_) | Kind::Consumer(_) => self.no_consumer_group(),
        }
    }

    fn no_such_group(&self, kind: &str) -> Refusal {
        let message = match self.kind {
            Kind::Absent => format!("Group {} not found.", self.id),
            Kind::Classic(_) | Kind::Consumer(_) => format!("Group {} is not {kind}.", self.id),
        };
        Refusal::new(GroupError::GroupIdNotFound, message)
    }
}
