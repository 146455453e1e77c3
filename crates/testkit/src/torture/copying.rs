//! Consume, transform, produce: members of groups that copy a topic into another one, exactly once, through whatever
//! happens. Some of their transactions are aborted, some of the copiers go away in the middle of one.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use parking_lot::Mutex;
use sh_client::{
    Admin, Client, ConsumerOptions, ConsumerRecord, ErrorCode, GroupConsumer, GroupOptions,
    GroupProtocol, Isolation, NewTopic, OffsetSpec, Options, TopicPartition,
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    chance::Chance,
    copies::{
        Copies, CopyAnomaly, Outcome, TRANSACTION, TransactionName, check_copies, read_copies,
    },
    reading::{Follower, read_all},
    scene::PARTITIONS,
    transaction::{Flow, NewRecord, Session},
};

/// A topic that is copied by a group.
#[derive(Clone, Copy, Debug)]
pub struct Copying {
    pub from: &'static str,
    /// The topic that is written, and the group's name.
    pub to: &'static str,
    pub protocol: GroupProtocol,
    pub flow: Flow,
    /// Whether `from` is itself a copy: then only committed records are read.
    pub of_a_copy: bool,
    pub members: usize,
}

/// Every combination that clients have: old and new groups, old and new transactions, and a copy of a copy.
pub fn copyings() -> [Copying; 3] {
    let copying = |to, protocol, flow| Copying {
        from: "durable",
        to,
        protocol,
        flow,
        of_a_copy: false,
        members: 2,
    };
    [
        copying("copy-classic", GroupProtocol::Classic, Flow::Classic),
        copying("copy", GroupProtocol::Consumer, Flow::Second),
        Copying {
            from: "copy",
            of_a_copy: true,
            ..copying("copy-of-copy", GroupProtocol::Classic, Flow::Second)
        },
    ]
}

/// Server settings under which members that are gone are missed soon.
pub const QUICK_GROUPS: [&str; 5] = [
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=12000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=1000",
    "group.initial.rebalance.delay.ms=300",
];

/// A transaction that lasts longer is aborted by the server: those of copiers that vanished, and of those that wait for an
/// agent that was stopped for long.
const TRANSACTION_MS: i32 = 20_000;
/// A group that gets no further for so long, though nothing is wrong any more, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// Records of one transaction, at most.
const ROUND: usize = 2_000;

/// What the copiers of one topic share.
struct Shared {
    copying: Copying,
    bootstrap: String,
    outcomes: Mutex<BTreeMap<TransactionName, Outcome>>,
    commits: AtomicUsize,
    /// Lives that ended with an error, by what it said.
    ends: Mutex<BTreeMap<String, usize>>,
    stop: watch::Receiver<bool>,
}

/// Copies under way.
pub struct Copiers {
    stop: watch::Sender<bool>,
    groups: Vec<Group>,
}

struct Group {
    shared: Arc<Shared>,
    follower: Follower,
    members: Vec<JoinHandle<()>>,
}

/// What became of the copies.
#[derive(Debug, Default)]
pub struct CopyVerdict {
    pub copied: usize,
    pub committed: usize,
    pub aborted: usize,
    /// Transactions whose end nobody was told.
    pub unknown: usize,
    /// Why copiers had to begin anew, and how often.
    pub ends: BTreeMap<String, usize>,
    /// How long the groups needed after the trouble was over.
    pub caught_up: Duration,
    pub anomalies: Vec<(String, CopyAnomaly)>,
}

impl CopyVerdict {
    /// An error that shows the first broken promises.
    pub fn must_be_clean(&self) -> Result<()> {
        let shown: Vec<String> = self
            .anomalies
            .iter()
            .take(12)
            .map(|a| format!("{a:?}"))
            .collect();
        ensure!(
            self.anomalies.is_empty(),
            "{} promises about transactions were broken:\n  {}",
            self.anomalies.len(),
            shown.join("\n  ")
        );
        Ok(())
    }
}

impl Copiers {
    /// Creates the topics to copy into, and starts copying. The topics that are copied must exist.
    pub async fn begin(bootstrap: &str, all: &[Copying], chance: &mut Chance) -> Result<Copiers> {
        let admin = Admin::new(Client::connect(bootstrap, Options::default()).await?);
        let (stop, stopping) = watch::channel(false);
        let mut groups = Vec::new();
        for copying in all {
            let topic = NewTopic::new(copying.to, PARTITIONS);
            admin.create_topic(&topic, false).await?;
            let shared = Arc::new(Shared {
                copying: *copying,
                bootstrap: bootstrap.to_owned(),
                outcomes: Mutex::default(),
                commits: AtomicUsize::new(0),
                ends: Mutex::default(),
                stop: stopping.clone(),
            });
            let member = |n| tokio::spawn(Copier::new(n, &shared, chance.fork()).run());
            groups.push(Group {
                members: (0..copying.members).map(member).collect(),
                follower: Follower::of_committed(bootstrap, copying.to, PARTITIONS),
                shared,
            });
        }
        Ok(Copiers { stop, groups })
    }

    /// The groups that copy.
    pub fn names(&self) -> Vec<String> {
        let name = |group: &Group| group.shared.copying.to.to_owned();
        self.groups.iter().map(name).collect()
    }

    /// Waits until every group has committed one more transaction.
    pub async fn progress(&self, at_most: Duration) -> Result<()> {
        let since = Instant::now();
        for group in &self.groups {
            let before = group.shared.committed();
            while group.shared.committed() == before {
                ensure!(
                    since.elapsed() < at_most,
                    "group {} has committed nothing for {at_most:?} after a fault; lives ended with {:?}",
                    group.shared.copying.to,
                    group.shared.ends.lock()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Once nothing new is written and all trouble is over: waits until everything is copied, and checks it.
    pub async fn end(self) -> Result<CopyVerdict> {
        let mut verdict = CopyVerdict::default();
        let since = Instant::now();
        for group in &self.groups {
            caught_up(&group.shared).await?;
        }
        verdict.caught_up = since.elapsed();
        self.stop.send_replace(true);
        for group in self.groups {
            for member in group.members {
                member.await?;
            }
            group.shared.judge(group.follower, &mut verdict).await?;
        }
        Ok(verdict)
    }
}

/// Waits until the group has committed the end of what it reads.
async fn caught_up(shared: &Shared) -> Result<()> {
    let (admin, Copying { from, to, .. }) = (Admin::new(client(&shared.bootstrap)), shared.copying);
    let (mut since, mut furthest) = (Instant::now(), 0);
    loop {
        let mut behind = Vec::new();
        let committed = admin.group_offsets(to, None).await.unwrap_or_default();
        let sum: i64 = committed.values().map(|c| c.offset).sum();
        if sum > furthest {
            (since, furthest) = (Instant::now(), sum);
        }
        for partition in 0..PARTITIONS {
            let end = admin
                .list_offset(from, partition, OffsetSpec::Latest)
                .await?;
            let (end, _) = end.context("no end offset")?;
            let place: TopicPartition = (from.into(), partition);
            let at = committed.get(&place).map_or(0, |c| c.offset);
            if at < end {
                behind.push((partition, at, end));
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        if since.elapsed() > STUCK_AFTER {
            let group = admin.describe_group(to).await;
            let ends = shared.ends.lock().clone();
            bail!(
                "group {to} is stuck: (partition, committed, end) {behind:?} for {STUCK_AFTER:?}; {group:#?}; lives ended with {ends:?}"
            );
        }
        sleep(Duration::from_millis(200)).await;
    }
}

impl Shared {
    /// Transactions that were committed so far.
    fn committed(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    async fn judge(&self, follower: Follower, verdict: &mut CopyVerdict) -> Result<()> {
        let Copying {
            from,
            to,
            of_a_copy,
            ..
        } = self.copying;
        let input = if of_a_copy {
            read_copies(&self.bootstrap, from, PARTITIONS).await?
        } else {
            Copies::of_log(&read_all(&self.bootstrap, from, PARTITIONS).await?)
        };
        let output = read_copies(&self.bootstrap, to, PARTITIONS).await?;
        let seen = follower.stop().await?;
        let outcomes = self.outcomes.lock();
        let count = |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|o| wanted(o)).count();
        verdict.committed += count(|o| matches!(o, Outcome::Committed(_)));
        verdict.aborted += count(|o| matches!(o, Outcome::Aborted));
        verdict.unknown += count(|o| matches!(o, Outcome::Unknown));
        verdict.copied += output.records();
        for (why, times) in &*self.ends.lock() {
            *verdict.ends.entry(why.clone()).or_default() += times;
        }
        let anomalies = check_copies(&input, &output, &outcomes, &seen);
        let named = anomalies.into_iter().map(|a| (to.to_owned(), a));
        verdict.anomalies.extend(named);
        Ok(())
    }
}

fn client(bootstrap: &str) -> Client {
    let options = Options {
        request_timeout: Duration::from_secs(10),
        retry_for: Duration::from_secs(30),
        ..Options::default()
    };
    Client::new(bootstrap, options)
}

/// Two of them with the same number are never alive at the same time.
struct Copier {
    number: usize,
    shared: Arc<Shared>,
    /// The next transaction's number.
    next: u32,
    chance: Chance,
}

/// How one life of a copier ended.
enum End {
    /// It was told to stop.
    Stopped,
    /// It went away in the middle of what it did, without a word.
    Vanished,
}

impl Copier {
    fn new(number: usize, shared: &Arc<Shared>, chance: Chance) -> Copier {
        Copier {
            number,
            shared: shared.clone(),
            next: 0,
            chance,
        }
    }

    async fn run(mut self) {
        let stop = self.shared.stop.clone();
        while !*stop.borrow() {
            match self.live().await {
                Ok(End::Stopped) => return,
                Ok(End::Vanished) => self.note_end("vanished"),
                Err(error) => {
                    let code = error
                        .code()
                        .map_or_else(|| error.to_string(), |c| format!("{c:?}"));
                    self.note_end(&code);
                }
            }
            sleep(self.chance.millis(50, 500)).await;
        }
    }

    fn note_end(&self, why: &str) {
        *self.shared.ends.lock().entry(why.to_owned()).or_default() += 1;
    }

    async fn live(&mut self) -> sh_client::Result<End> {
        let Copying { to, flow, .. } = self.shared.copying;
        let id = format!("{to}-{}", self.number);
        let client = client(&self.shared.bootstrap);
        let mut session = Session::begin(client.clone(), &id, flow, TRANSACTION_MS).await?;
        let mut member = self.member(client);
        while !*self.shared.stop.borrow() {
            let records = member.poll(ROUND).await?;
            if records.is_empty() {
                continue;
            }
            let name = TransactionName {
                copier: self.number as u32,
                number: self.next,
            };
            self.next += 1;
            self.note(name, Outcome::Unknown);
            let filled = self.fill(&mut session, &member, name, &records).await;
            match filled {
                Ok(()) => {}
                Err(error) if may_go_on(&error) => {
                    self.abort(&mut session, &mut member, name).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match self.chance.below(40) {
                0 => return Ok(End::Vanished),
                1..=5 => self.abort(&mut session, &mut member, name).await?,
                _ => {
                    session.end(true).await?;
                    self.note(name, Outcome::Committed(records.len()));
                    self.shared.commits.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        member.leave().await?;
        Ok(End::Stopped)
    }

    fn note(&self, name: TransactionName, outcome: Outcome) {
        self.shared.outcomes.lock().insert(name, outcome);
    }

    fn member(&mut self, client: Client) -> GroupConsumer {
        let Copying {
            from,
            to,
            protocol,
            of_a_copy,
            ..
        } = self.shared.copying;
        let member_id = u128::from(self.chance.next()) << 64 | u128::from(self.chance.next());
        let options = GroupOptions {
            group: to.to_owned(),
            topics: vec![from.to_owned()],
            protocol,
            member_id: uuid::Builder::from_random_bytes(member_id.to_be_bytes())
                .into_uuid()
                .to_string(),
            instance_id: None,
            reset: OffsetSpec::Earliest,
            session_timeout: Duration::from_secs(12),
            rebalance_timeout: Duration::from_secs(20),
        };
        let reading = ConsumerOptions {
            isolation: if of_a_copy {
                Isolation::ReadCommitted
            } else {
                Isolation::ReadUncommitted
            },
            max_wait: Duration::from_millis(200),
            ..ConsumerOptions::default()
        };
        GroupConsumer::new(client, options, reading).with_offsets_in_transactions()
    }

    /// Writes the copies, and how far the group is with them.
    async fn fill(
        &self,
        session: &mut Session,
        member: &GroupConsumer,
        name: TransactionName,
        records: &[ConsumerRecord],
    ) -> sh_client::Result<()> {
        let Copying { to, .. } = self.shared.copying;
        let mut loads: BTreeMap<i32, Vec<NewRecord>> = BTreeMap::new();
        for record in records {
            loads
                .entry(record.partition)
                .or_default()
                .push(copy(record, name));
        }
        session.write(to, loads).await?;
        session
            .commit_offsets(to, &member.author(), &member.positions())
            .await
    }

    async fn abort(
        &mut self,
        session: &mut Session,
        member: &mut GroupConsumer,
        name: TransactionName,
    ) -> sh_client::Result<()> {
        if session.is_open() {
            session.end(false).await?;
        }
        self.note(name, Outcome::Aborted);
        member.rewind().await
    }
}

/// Errors after which a client aborts its transaction and begins the next one.
fn may_go_on(error: &sh_client::Error) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::TransactionAbortable
                | ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId
                | ErrorCode::RebalanceInProgress
                | ErrorCode::StaleMemberEpoch
                | ErrorCode::FencedMemberEpoch
        )
    )
}

/// The same record, with its transaction in a header.
fn copy(record: &ConsumerRecord, name: TransactionName) -> NewRecord {
    let mut headers = record.headers.clone();
    headers.retain(|(header, _)| &header[..] != TRANSACTION);
    let named = Bytes::from(name.to_string());
    headers.push((Bytes::from_static(TRANSACTION), Some(named)));
    NewRecord {
        timestamp: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}
