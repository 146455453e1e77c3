//! The read side of the log: one handle over index, cache, feed and waiters.
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use sh_base::{Env, Failure, Incarnation, ObjectId, Offset, TopicPartition};
use sh_blob::{BlobError, Bucket};
use sh_meta::{FeedEntry, MetaStore};
use tokio::{
    sync::{Semaphore, broadcast},
    time::sleep,
};

pub use crate::read::{ReadAnswer, ReadError, ReadRequest, StoredBatch};
pub use crate::wait::Waiter;
use crate::{
    cache::{Age, ObjectCache},
    follow::Follower,
    hints::Hints,
    index::{Index, Known, Standing, View, scan},
    mutant,
    object::RunBytes,
    peers::{BadNews, News, Part, Peers},
    read::Complaints,
    row::Head,
    wait::Waiters,
};

/// How an agent reads. Every field has a value that suits most.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// Bytes of objects kept in memory. Three quarters hold the tail (own windows, and what others just wrote): at 50 MiB/s,
    /// the default keeps about four seconds. One quarter serves readers that catch up. More memory, fewer GETs.
    pub cache_bytes: usize,
    /// Whether one GET of an object is better than some of its parts, for readers that catch up. Not so in a folder, where a
    /// request costs nothing.
    pub whole_objects: bool,
    /// Extents kept in memory, of all partitions together, at about 150 bytes each. Fewer means more scans of the store.
    pub index_extents: usize,
    /// How often the feed is polled while nobody waits. It bounds how long news of another agent can take.
    pub poll_idle: Duration,
    /// The same while a fetch waits and another agent is alive that sends no news (see [`crate::peers`]): about half of it is added to the latency between agents; each
    /// poll costs the metadata store one query.
    pub poll_waiting: Duration,
}

impl Default for ReadConfig {
    fn default() -> Self {
        ReadConfig {
            cache_bytes: 256 * 1024 * 1024,
            whole_objects: true,
            index_extents: 400_000,
            poll_idle: Duration::from_secs(1),
            poll_waiting: Duration::from_millis(40),
        }
    }
}

/// What was heard of within this time is new: read by many, and soon.
const TAIL_AGE: Duration = Duration::from_secs(5);
/// Reading ahead is for a few at a time; it must not take the bucket away from those who wait.
const FETCHES_AHEAD: usize = 4;
/// Head changes kept for listeners that are slow; who loses some is told so.
const HEADS_KEPT: usize = 4096;

/// Called with every entry of the feed that is heard of.
pub type EntryListener = Arc<dyn Fn(&FeedEntry) + Send + Sync>;

/// The read side. A cheap handle; all clones are one.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) cache: ObjectCache,
    pub(crate) index: Index,
    pub(crate) hints: Mutex<Hints>,
    pub(crate) fetches_ahead: Arc<Semaphore>,
    pub(crate) env: Env,
    pub(crate) complaints: Complaints,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) heads: broadcast::Sender<HeadChange>,
    pub(crate) listener: OnceLock<EntryListener>,
    pub(crate) peers: Arc<OnceLock<Peers>>,
    config: ReadConfig,
    follower: Follower,
}

/// A head that was written, here or elsewhere. They may come in any order; the highest version is the newest.
#[derive(Clone, Debug)]
pub struct HeadChange {
    pub partition: TopicPartition,
    pub version: u64,
    pub head: Arc<Head>,
}

/// The bounds of a partition, as of one version of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub log_start: Offset,
    /// What read_committed may read lies before it.
    pub last_stable: Offset,
    /// Log end offset and high watermark: only committed records exist.
    pub next: Offset,
    pub leader_epoch: i32,
    /// For each leader epoch after 0, its number and the offset it began at.
    pub epochs: Vec<(i32, Offset)>,
    pub deleted: bool,
}

impl Ends {
    pub fn of(head: &Head) -> Ends {
        Ends {
            log_start: head.log_start,
            last_stable: head.last_stable_offset(),
            next: head.next_offset,
            leader_epoch: head.leader_epoch,
            epochs: head.epochs.clone(),
            deleted: head.deleted,
        }
    }
}

/// The next offset as waiters are told it: a deletion is news for everybody.
pub(crate) fn told_next(head: &Head) -> Offset {
    if head.deleted {
        Offset::MAX
    } else {
        head.next_offset
    }
}

impl Reader {
    pub fn new(
        store: Arc<dyn MetaStore>,
        bucket: Arc<dyn Bucket>,
        env: Env,
        config: ReadConfig,
        me: Incarnation,
    ) -> Reader {
        let peers: Arc<OnceLock<Peers>> = Arc::default();
        let inner = Inner {
            cache: ObjectCache::new(
                bucket,
                peers.clone(),
                config.cache_bytes,
                config.whole_objects,
            ),
            index: Index::new(store.clone(), config.index_extents),
            hints: Mutex::default(),
            fetches_ahead: Arc::new(Semaphore::new(FETCHES_AHEAD)),
            follower: Follower::new(store.clone(), env.clone(), me),
            waiters: Arc::default(),
            heads: broadcast::channel(HEADS_KEPT).0,
            complaints: Complaints::default(),
            listener: OnceLock::new(),
            peers,
            store,
            env,
            config,
        };
        Reader {
            inner: Arc::new(inner),
        }
    }

    /// Tells of an entry of the feed: an own commit, or a hint of another agent. Any order, any number of times.
    pub fn hear(&self, entry: &FeedEntry) {
        self.inner.follower.heard(entry);
        self.inner.apply(entry);
    }

    /// Waits until the other agents have heard of this agent's changes, `at_most` so long (see [`Peers::heard`]).
    pub async fn heard_by_peers(&self, at_most: Duration) {
        if let Some(peers) = self.inner.peers.get() {
            peers.heard(at_most).await;
        }
    }

    /// From now on objects are borrowed of these peers where one should have them, and the feed is polled less while all of them
    /// send news. There is one set of peers; a second one is ignored.
    pub fn join(&self, peers: Peers) {
        let _ = self.inner.peers.set(peers);
    }

    /// Takes in what another agent pushed. Bad news change nothing.
    pub fn hear_news(&self, bytes: Bytes) -> Result<(), BadNews> {
        let news = News::decode(bytes)?;
        if let Some(peers) = self.inner.peers.get() {
            if peers.is_me(news.from.agent) {
                return Err(BadNews::OwnEcho);
            }
            peers.heard_from(news.from);
        }
        news.entries.iter().for_each(|entry| self.hear(entry));
        let ends = news.ends.into_iter();
        ends.for_each(|(lane, seq)| self.inner.follower.goes_to(lane, seq));
        Ok(())
    }

    /// A part of an object for another agent, in pieces, and where the first one lies in the object. What is not in memory comes
    /// from the bucket, never from a third agent.
    pub async fn lend(&self, object: ObjectId, part: Part) -> Result<(u64, Vec<Bytes>), BlobError> {
        self.inner.cache.lend(object, part).await
    }

    /// Calls `listener` with every entry from now on, own ones too. There is one listener; a second one is ignored.
    pub fn on_entry(&self, listener: EntryListener) {
        let _ = self.inner.listener.set(listener);
    }

    /// Keeps the bytes of an own window, so that reading it never asks the bucket: (start in the object, its batches).
    pub fn remember(&self, object: ObjectId, runs: Vec<RunBytes>) {
        self.inner.cache.remember(object, runs);
    }

    /// Head changes from now on. A receiver that falls behind is told how many it lost, and reads the heads itself.
    pub fn on_head(&self) -> broadcast::Receiver<HeadChange> {
        self.inner.heads.subscribe()
    }

    /// Follows the feed, for ever: drop the future to stop.
    pub async fn run_follower(&self) {
        loop {
            match self.poll_feed().await {
                Ok(true) => {}
                Ok(false) => self.inner.pause().await,
                Err(failure) => {
                    tracing::warn!(%failure, "the feed cannot be read");
                    sleep(self.inner.config.poll_idle).await;
                }
            }
        }
    }

    /// Takes in what is new in the feed, a page at most; says whether there may be more.
    pub async fn poll_feed(&self) -> Result<bool, Failure> {
        let polled = self.inner.follower.poll().await?;
        if polled.missed {
            tracing::warn!(
                "entries of the feed were trimmed before they were read here; reading the store anew"
            );
            self.inner.index.forget_all();
            self.inner.waiters.wake_all();
        }
        polled
            .entries
            .iter()
            .for_each(|entry| self.inner.apply(entry));
        Ok(polled.full)
    }

    /// Whole batches from an offset on.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadAnswer, ReadError> {
        self.inner.read(&request).await
    }

    /// The bounds of a partition, from the store: an end that is taken from a cache may be behind what a reader has read.
    pub async fn ends(&self, partition: TopicPartition) -> Result<Ends, Failure> {
        self.inner.ends(partition).await
    }

    /// Waits for one of these partitions to grow. `seen`: each with the `next` of the [`Ends`] that was read last (also for
    /// read_committed: what ends a transaction takes an offset).
    pub fn waiter(&self, seen: &[(TopicPartition, Offset)]) -> Waiter {
        let inner = &self.inner;
        let waiter = inner.waiters.wait(seen);
        // Registered first, looked second: what is heard in between wakes it.
        for (tp, next) in seen {
            match inner.index.standing(tp, *next) {
                Standing::MayBePast => waiter.wake(),
                Standing::Behind => self.heal(*tp, *next),
                Standing::Level => {}
            }
        }
        waiter
    }

    /// Reads past a break of the chain for those who wait. (Waking them would not do: what they have read is all that can be
    /// served before the break, and they would come back at once.)
    fn heal(&self, tp: TopicPartition, seen: Offset) {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            match inner.view(tp, seen).await {
                Ok(view) => inner.waiters.wake(&tp, told_next(&view.head)),
                Err(failure) => {
                    tracing::warn!(%failure, partition = ?tp, "a partition that is waited for cannot be read")
                }
            }
        });
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// The index's view; the place in the feed is fixed before anything is scanned.
    pub(crate) async fn view(&self, tp: TopicPartition, offset: Offset) -> Result<View, Failure> {
        self.follower.ready().await?;
        self.index.view(tp, offset).await
    }

    pub(crate) async fn ends(&self, tp: TopicPartition) -> Result<Ends, Failure> {
        if mutant::is("cache_end")
            && let Some(head) = self.index.heard_head(&tp)
        {
            return Ok(Ends::of(&head));
        }
        let (_, head) = scan::read_head(&*self.store, tp).await?;
        Ok(Ends::of(&head))
    }

    pub(crate) fn age(&self, known: &Known) -> Age {
        let now = self.env.mono();
        match known.heard {
            Some(heard) if now.saturating_sub(heard.at) >= TAIL_AGE => Age::History,
            Some(heard) if heard.whole => Age::Tail,
            Some(_) => Age::Part,
            None => Age::History,
        }
    }

    /// Until the next poll: soon if somebody waits for an agent that sends no news, and at once if news tell of what was missed.
    async fn pause(&self) {
        tokio::select! {
            () = self.until_due() => {}
            () = self.follower.behind() => {}
        }
    }

    async fn until_due(&self) {
        let ReadConfig {
            poll_idle,
            poll_waiting,
            ..
        } = self.config;
        if !self.follower.has_peers() || self.peers.get().is_some_and(Peers::all_send) {
            return sleep(poll_idle).await;
        }
        if !self.waiters.anybody() {
            tokio::select! {
                biased;
                () = sleep(poll_idle) => return,
                () = self.waiters.began() => {}
            }
        }
        sleep(poll_waiting).await;
    }
}
