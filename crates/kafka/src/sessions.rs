//! Fetch sessions (KIP-227): a consumer of many partitions names only what changed, and is told only what changed.
//!
//! A session is a list of partitions and the number (epoch) of the next request that may use it. Pure bookkeeping: time is handed
//! in, ids are drawn by the caller.
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use sh_base::{ErrorCode, Offset, Org, PartitionIndex};
use sh_node::TopicChoice;
use sh_wire::FetchedPartition;

/// The wire's "no session".
pub const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session that was not used for so long gives way to a new one (`min.incremental.fetch.session.eviction.ms`).
const EVICT_AFTER: Duration = Duration::from_secs(120);

pub type PartitionKey = (TopicChoice, PartitionIndex);

/// A partition that a consumer fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub partition: PartitionKey,
    pub offset: Offset,
    pub max_bytes: i32,
    pub leader_epoch: Option<i32>,
    pub last_fetched_epoch: Option<i32>,
}

/// A partition that is named again keeps its place and means what was said last.
pub fn once_each(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut places = HashMap::with_capacity(wanted.len());
    let mut once: Vec<Wanted> = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        match places.entry(wanted.partition.clone()) {
            Entry::Occupied(place) => once[*place.get()] = wanted,
            Entry::Vacant(place) => {
                place.insert(once.len());
                once.push(wanted);
            }
        }
    }
    once
}

/// What a fetch request says about sessions.
#[derive(Debug)]
pub struct Asked {
    pub org: Org,
    pub session_id: i32,
    pub epoch: i32,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<PartitionKey>,
    /// Names topics by id (version 13 and later).
    pub by_id: bool,
}

/// How a fetch goes on: the partitions to read, and what becomes of the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything is told, nothing remembered.
    Sessionless(Vec<Wanted>),
    /// Everything is told; a session begins if there is room.
    Full(Vec<Wanted>),
    /// What changed is told.
    Incremental {
        session_id: i32,
        epoch: i32,
        wanted: Vec<Wanted>,
    },
}

impl Plan {
    pub fn wanted(&self) -> &[Wanted] {
        match self {
            Plan::Sessionless(wanted) | Plan::Full(wanted) | Plan::Incremental { wanted, .. } => {
                wanted
            }
        }
    }
}

/// The sessions of all connections; a bounded number.
#[derive(Debug)]
pub struct Sessions {
    max: usize,
    table: Mutex<HashMap<i32, Session>>,
}

#[derive(Debug)]
struct Session {
    org: Org,
    by_id: bool,
    /// That of the next request.
    epoch: i32,
    last_used: Duration,
    partitions: HashMap<PartitionKey, Cached>,
    /// The order in which the partitions share `max_bytes`. Those that were served go to the end.
    order: BTreeMap<u64, PartitionKey>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    place: u64,
    told: Option<Told>,
}

/// What the consumer was told last; nothing if that was an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: Offset,
    log_start: Offset,
}

impl Sessions {
    pub fn new(max: usize) -> Sessions {
        Sessions {
            max,
            table: Mutex::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to read for a request, by the rules of KIP-227.
    pub fn begin(&self, asked: Asked, now: Duration) -> Result<Plan, ErrorCode> {
        let mut table = self.table.lock();
        match asked.epoch {
            INITIAL_EPOCH | FINAL_EPOCH => {
                if table
                    .get(&asked.session_id)
                    .is_some_and(|s| s.org == asked.org)
                {
                    table.remove(&asked.session_id);
                }
                let full = asked.epoch == INITIAL_EPOCH;
                Ok(if full {
                    Plan::Full(asked.wanted)
                } else {
                    Plan::Sessionless(asked.wanted)
                })
            }
            _ => go_on(&mut table, asked, now),
        }
    }

    /// Makes a session of a full fetch and what it was answered; [`NO_SESSION`] where there is no room. `draw` gives random bits.
    pub fn create(
        &self,
        (org, by_id): (Org, bool),
        wanted: Vec<Wanted>,
        answers: &[FetchedPartition],
        now: Duration,
        mut draw: impl FnMut() -> u64,
    ) -> i32 {
        let mut table = self.table.lock();
        if !make_room(&mut table, self.max, wanted.len(), now) {
            return NO_SESSION;
        }
        let mut session = Session::new(org, by_id, now);
        for (wanted, answer) in wanted.into_iter().zip(answers) {
            let key = wanted.partition.clone();
            session.want(wanted);
            session.tell(&key, answer);
        }
        let id = loop {
            let id = (draw() >> 33) as i32;
            if id != NO_SESSION && !table.contains_key(&id) {
                break id;
            }
        };
        table.insert(id, session);
        id
    }

    /// Which of the answers of an incremental fetch have something to say; they are remembered as told. An error if another
    /// request has used the session in the meantime.
    pub fn tell(
        &self,
        session_id: i32,
        epoch: i32,
        wanted: &[Wanted],
        answers: &[FetchedPartition],
    ) -> Result<Vec<bool>, ErrorCode> {
        let mut table = self.table.lock();
        let session = table
            .get_mut(&session_id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != next_epoch(epoch) {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let both = wanted.iter().zip(answers);
        Ok(both
            .map(|(wanted, answer)| session.tell(&wanted.partition, answer))
            .collect())
    }
}

fn go_on(
    table: &mut HashMap<i32, Session>,
    asked: Asked,
    now: Duration,
) -> Result<Plan, ErrorCode> {
    let session = table
        .get_mut(&asked.session_id)
        .filter(|s| s.org == asked.org)
        .ok_or(ErrorCode::FetchSessionIdNotFound)?;
    if session.epoch != asked.epoch {
        return Err(ErrorCode::InvalidFetchSessionEpoch);
    }
    if session.by_id != asked.by_id {
        return Err(ErrorCode::FetchSessionTopicIdError);
    }
    asked
        .wanted
        .into_iter()
        .for_each(|wanted| session.want(wanted));
    asked
        .forgotten
        .iter()
        .for_each(|partition| session.forget(partition));
    if session.partitions.is_empty() {
        table.remove(&asked.session_id);
        return Ok(Plan::Sessionless(Vec::new()));
    }
    session.epoch = next_epoch(session.epoch);
    session.last_used = now;
    let wanted = session.wanted();
    Ok(Plan::Incremental {
        session_id: asked.session_id,
        epoch: asked.epoch,
        wanted,
    })
}

/// The session that is longest unused gives way if that was long, or if it is smaller than the new one.
fn make_room(
    table: &mut HashMap<i32, Session>,
    max: usize,
    partitions: usize,
    now: Duration,
) -> bool {
    if table.len() < max {
        return true;
    }
    let Some((&oldest, session)) = table.iter().min_by_key(|(_, s)| s.last_used) else {
        return false;
    };
    let unused = now.saturating_sub(session.last_used);
    if unused <= EVICT_AFTER && session.partitions.len() >= partitions {
        return false;
    }
    table.remove(&oldest);
    true
}

/// Epochs count from 1 and wrap to it.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl Session {
    fn new(org: Org, by_id: bool, now: Duration) -> Session {
        Session {
            org,
            by_id,
            epoch: next_epoch(INITIAL_EPOCH),
            last_used: now,
            partitions: HashMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let cached = self
            .order
            .values()
            .filter_map(|key| self.partitions.get(key));
        cached.map(|c| c.wanted.clone()).collect()
    }

    fn want(&mut self, wanted: Wanted) {
        if let Some(cached) = self.partitions.get_mut(&wanted.partition) {
            cached.wanted = wanted;
            return;
        }
        let place = self.last_place();
        self.order.insert(place, wanted.partition.clone());
        self.partitions.insert(
            wanted.partition.clone(),
            Cached {
                wanted,
                place,
                told: None,
            },
        );
    }

    fn forget(&mut self, partition: &PartitionKey) {
        if let Some(cached) = self.partitions.remove(partition) {
            self.order.remove(&cached.place);
        }
    }

    fn last_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    /// Is the answer worth telling? It is remembered as told.
    fn tell(&mut self, partition: &PartitionKey, answer: &FetchedPartition) -> bool {
        let place = self.last_place();
        let Some(cached) = self.partitions.get_mut(partition) else {
            return false;
        };
        let told = (answer.error_code == 0).then_some(Told {
            high_watermark: answer.high_watermark,
            log_start: answer.log_start_offset,
        });
        let has_records = !answer.records.is_empty();
        let news = has_records
            || told.is_none()
            || told != cached.told
            || answer.diverging_epoch.is_some();
        cached.told = told;
        if has_records {
            self.order.remove(&cached.place);
            cached.place = place;
            self.order.insert(place, partition.clone());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use sh_base::batch::{Batch, BatchBuilder, Codec};
    use sh_wire::FetchedBatch;

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn wanted(topic: &str, index: i32, offset: Offset) -> Wanted {
        Wanted {
            partition: (TopicChoice::Name(topic.into()), index),
            offset,
            max_bytes: 1 << 20,
            leader_epoch: None,
            last_fetched_epoch: None,
        }
    }

    fn asked(session_id: i32, epoch: i32, wanted: Vec<Wanted>) -> Asked {
        let org = Org::default();
        Asked {
            org,
            session_id,
            epoch,
            wanted,
            forgotten: vec![],
            by_id: false,
        }
    }

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(0, None, Some(b"value"), &[]);
        builder.build().unwrap()
    }

    fn answer(high_watermark: Offset) -> FetchedPartition {
        FetchedPartition {
            high_watermark,
            log_start_offset: 0,
            ..FetchedPartition::empty(0, 0)
        }
    }

    fn records(high_watermark: Offset) -> FetchedPartition {
        let records = vec![FetchedBatch::new(&batch(), 0, 0)];
        FetchedPartition {
            records,
            ..answer(high_watermark)
        }
    }

    /// A session over `a`, `b` and `c`, all at high watermark 5.
    fn session(sessions: &Sessions) -> i32 {
        let all: Vec<_> = ["a", "b", "c"].map(|t| wanted(t, 0, 0)).into();
        let Ok(Plan::Full(wanted)) = sessions.begin(asked(0, 0, all), START) else {
            panic!("a full fetch")
        };
        create(sessions, wanted, START)
    }

    fn create(sessions: &Sessions, wanted: Vec<Wanted>, now: Duration) -> i32 {
        let answers: Vec<_> = wanted.iter().map(|_| answer(5)).collect();
        let mut drawn = 7u64 << 33;
        let draw = || {
            drawn += 1 << 33;
            drawn
        };
        sessions.create((Org::default(), false), wanted, &answers, now, draw)
    }

    fn topics(plan: &Plan) -> Vec<String> {
        let name = |w: &Wanted| match &w.partition.0 {
            TopicChoice::Name(name) => name.clone(),
            TopicChoice::Id(id) => id.to_string(),
        };
        plan.wanted().iter().map(name).collect()
    }

    #[test]
    fn an_incremental_fetch_reads_all_and_tells_what_changed() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let plan = sessions
            .begin(asked(id, 1, vec![wanted("b", 0, 5)]), START)
            .unwrap();
        assert_eq!(topics(&plan), ["a", "b", "c"]);
        assert_eq!(plan.wanted()[1].offset, 5);
        let answers = [answer(5), answer(6), records(5)];
        let told = sessions.tell(id, 1, plan.wanted(), &answers).unwrap();
        assert_eq!(told, [false, true, true]);
    }

    #[test]
    fn partitions_that_were_served_go_to_the_end() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let plan = sessions.begin(asked(id, 1, vec![]), START).unwrap();
        sessions
            .tell(id, 1, plan.wanted(), &[records(6), answer(5), answer(5)])
            .unwrap();
        let plan = sessions.begin(asked(id, 2, vec![]), START).unwrap();
        assert_eq!(topics(&plan), ["b", "c", "a"]);
    }

    #[test]
    fn a_partition_named_twice_is_wanted_once() {
        let named = vec![wanted("a", 0, 1), wanted("b", 0, 2), wanted("a", 0, 3)];
        assert_eq!(once_each(named), [wanted("a", 0, 3), wanted("b", 0, 2)]);
    }

    #[test]
    fn an_error_is_told_each_time_and_its_end_too() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let failed = || FetchedPartition::empty(0, 1);
        for epoch in 1..=2 {
            let plan = sessions.begin(asked(id, epoch, vec![]), START).unwrap();
            let answers = [failed(), answer(5), answer(5)];
            let told = sessions.tell(id, epoch, plan.wanted(), &answers).unwrap();
            assert_eq!(told, [true, false, false]);
        }
        let plan = sessions.begin(asked(id, 3, vec![]), START).unwrap();
        let told = sessions.tell(id, 3, plan.wanted(), &[answer(5), answer(5), answer(5)]);
        assert_eq!(told.unwrap(), [true, false, false]);
    }

    #[test]
    fn epochs_must_follow_each_other() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let begin = |id, epoch| sessions.begin(asked(id, epoch, vec![]), START).map(|_| ());
        assert_eq!(begin(id, 2), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(begin(id + 1, 1), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(begin(id, 1), Ok(()));
        assert_eq!(begin(id, 1), Err(ErrorCode::InvalidFetchSessionEpoch));
        let late = sessions.tell(id, 0, &[], &[]);
        assert_eq!(
            late,
            Err(ErrorCode::InvalidFetchSessionEpoch),
            "another request used it"
        );
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn a_session_keeps_naming_topics_the_way_it_began() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let by_id = Asked {
            by_id: true,
            ..asked(id, 1, vec![])
        };
        assert_eq!(
            sessions.begin(by_id, START),
            Err(ErrorCode::FetchSessionTopicIdError)
        );
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let forgotten = ["a", "b", "c"].map(|t| wanted(t, 0, 0).partition).into();
        let plan = sessions
            .begin(
                Asked {
                    forgotten,
                    ..asked(id, 1, vec![])
                },
                START,
            )
            .unwrap();
        assert_eq!(plan, Plan::Sessionless(vec![]));
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_full_fetch_ends_the_session_it_names() {
        for epoch in [0, -1] {
            let sessions = Sessions::new(10);
            let id = session(&sessions);
            sessions.begin(asked(id, epoch, vec![]), START).unwrap();
            assert!(sessions.is_empty());
        }
    }

    #[test]
    fn sessions_of_another_org_are_unknown() {
        let sessions = Sessions::new(10);
        let id = session(&sessions);
        let stranger = |epoch| Asked {
            org: Org::try_from("other").unwrap(),
            ..asked(id, epoch, vec![])
        };
        let begun = sessions.begin(stranger(1), START);
        assert_eq!(begun, Err(ErrorCode::FetchSessionIdNotFound));
        sessions.begin(stranger(0), START).unwrap();
        assert_eq!(sessions.len(), 1, "nor can it end them");
    }

    #[test]
    fn room_is_made_by_those_long_unused_or_smaller() {
        let sessions = Sessions::new(1);
        session(&sessions);
        let two = || vec![wanted("x", 0, 0), wanted("y", 0, 0)];
        assert_eq!(create(&sessions, two(), START), NO_SESSION);
        assert_ne!(
            create(&sessions, two(), START + EVICT_AFTER * 2),
            NO_SESSION
        );
        let five = (0..5).map(|i| wanted("z", i, 0)).collect();
        assert_ne!(create(&sessions, five, START + EVICT_AFTER * 2), NO_SESSION);
        assert_eq!(sessions.len(), 1);
    }
}
