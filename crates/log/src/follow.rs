//! Following the feed: what other agents commit becomes known here.
//!
//! Own entries are told to [`Follower::heard`] as they are written, and are not read again. The cursor is taken **before**
//! any scan ([`Follower::ready`]): what is committed in between is in the feed, what came before is in the scan.
use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sh_base::{Env, Failure, Incarnation};
use sh_meta::{Cursor, FeedEntry, LaneId, MetaStore};
use tokio::sync::{Notify, OnceCell};

use crate::index::scan::unavailable;

/// Entries of one poll.
const PAGE: usize = 512;
/// Who has not been heard of for so long is not waited for: three heartbeats.
const PEER_REMEMBERED: Duration = Duration::from_secs(30);

pub struct Follower {
    store: Arc<dyn MetaStore>,
    env: Env,
    me: Incarnation,
    started: OnceCell<()>,
    state: Mutex<State>,
    /// A lane is known to be further than what was read of it.
    behind: Notify,
}

#[derive(Default)]
struct State {
    /// The last entry seen of each lane; empty before the start.
    cursor: Cursor,
    /// When another agent was last heard of, on the monotonic clock.
    peer_heard: Option<Duration>,
}

/// What one poll brought.
pub struct Polled {
    pub entries: Vec<FeedEntry>,
    /// Entries of a lane are gone that were never read here: nobody knows what was missed.
    pub missed: bool,
    /// There may be more.
    pub full: bool,
}

impl Follower {
    pub fn new(store: Arc<dyn MetaStore>, env: Env, me: Incarnation) -> Follower {
        Follower {
            store,
            env,
            me,
            started: OnceCell::new(),
            state: Mutex::default(),
            behind: Notify::new(),
        }
    }

    /// Returns once the place in the feed is fixed from which this follower reads; scan only after it.
    pub async fn ready(&self) -> Result<(), Failure> {
        let start = self.started.get_or_try_init(|| async {
            let end = self.store.feed_end().await.map_err(unavailable)?;
            let mut state = self.state.lock();
            for (lane, seq) in end {
                let seen = state.cursor.entry(lane).or_default();
                *seen = seq.max(*seen);
            }
            Ok(())
        });
        start.await.map(|_| ())
    }

    /// An entry that was learned of otherwise: if it is the next of its lane, it need not be read again.
    pub fn heard(&self, entry: &FeedEntry) {
        if !self.started.initialized() {
            return;
        }
        let mut state = self.state.lock();
        let lane = entry.request.lane;
        let seen = state.cursor.entry(lane).or_default();
        if entry.request.seq == *seen + 1 {
            *seen += 1;
        }
        if lane.by.agent != self.me.agent {
            state.peer_heard = Some(self.env.mono());
        }
    }

    /// A lane is known to hold entries up to `seq`: those that were not heard are worth reading at once.
    pub fn goes_to(&self, lane: LaneId, seq: u64) {
        let behind = |state: &State| state.cursor.get(&lane).is_none_or(|seen| *seen < seq);
        if self.started.initialized() && behind(&self.state.lock()) {
            self.behind.notify_one();
        }
    }

    /// Resolves when the feed is known to hold what was not read.
    pub async fn behind(&self) {
        self.behind.notified().await;
    }

    /// The next entries of all lanes. An error moves nothing.
    pub async fn poll(&self) -> Result<Polled, Failure> {
        self.ready().await?;
        let cursor = self.state.lock().cursor.clone();
        let entries = self.store.feed(&cursor, PAGE).await.map_err(unavailable)?;
        let full = entries.len() >= PAGE;
        let missed = self.advance(cursor, &entries);
        Ok(Polled {
            entries,
            missed,
            full,
        })
    }

    /// Moves the cursor past these entries, read from `asked` on; says whether there was a gap.
    fn advance(&self, mut asked: Cursor, entries: &[FeedEntry]) -> bool {
        let mut state = self.state.lock();
        let mut missed = false;
        for entry in entries {
            let lane = entry.request.lane;
            let last = asked.entry(lane).or_default();
            missed |= entry.request.seq > *last + 1;
            *last = entry.request.seq.max(*last);
            let seen = state.cursor.entry(lane).or_default();
            *seen = entry.request.seq.max(*seen);
            if lane.by.agent != self.me.agent {
                state.peer_heard = Some(self.env.mono());
            }
        }
        missed
    }

    /// Is there another agent whose commits somebody here may be waiting for? Each is heard of at least by its heartbeat.
    pub fn has_peers(&self) -> bool {
        let heard = self.state.lock().peer_heard;
        heard.is_some_and(|at| self.env.mono().saturating_sub(at) < PEER_REMEMBERED)
    }
}
