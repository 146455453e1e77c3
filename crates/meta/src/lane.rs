//! The serial writer of one commit lane.
//!
//! A lane has one update under way, and gives a number away only when an entry was written under it: that is what makes the
//! feed free of gaps. **An unknown outcome is asked again with the same request**, and until it is known nothing else is
//! written by this lane.
use std::{sync::Arc, time::Duration};

use sh_base::Env;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Decision, FeedEntry, Key, KeyRange, LaneId, MetaError, MetaStore, Request, Update, View,
    backoff::Backoff,
};

/// What an update locks and reads; see the fields of the same names in [`Update`].
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub locks: Vec<Key>,
    pub shares: Vec<Key>,
    pub reads: Vec<Key>,
    pub scans: Vec<(KeyRange, usize)>,
}

/// Called with every entry that a lane wrote, before the caller hears of it: the agent's caches learn of own commits here.
pub type EntryHook = Arc<dyn Fn(&FeedEntry) + Send + Sync>;

/// One commit lane of this incarnation; its updates run one after the other.
pub struct Lane {
    store: Arc<dyn MetaStore>,
    env: Env,
    id: LaneId,
    hooks: Vec<EntryHook>,
    state: Mutex<State>,
}

struct State {
    /// The newest entry that is known to be written.
    last: u64,
    /// SUBTLE: set before the store is asked and cleared when the outcome is known, so that a caller who goes away in
    /// between (a deadline, a dropped future) leaves the question behind and not a hole.
    pending: Option<Update>,
}

impl Lane {
    /// A lane that goes on after `last_seq`: 0 for a new incarnation.
    pub fn new(store: Arc<dyn MetaStore>, env: Env, id: LaneId, last_seq: u64) -> Self {
        let state = Mutex::new(State {
            last: last_seq,
            pending: None,
        });
        Lane {
            store,
            env,
            id,
            hooks: Vec::new(),
            state,
        }
    }

    /// Adds a hook. Hooks run in order and must not block.
    pub fn on_entry(mut self, hook: EntryHook) -> Self {
        self.hooks.push(hook);
        self
    }

    pub fn id(&self) -> LaneId {
        self.id
    }

    /// Runs one update after those before it, and keeps asking while its outcome is unknown, for up to `patience` in all.
    ///
    /// The entry has no changes when `apply` wrote nothing. Errors: `Definite`, nothing was written. `Maybe`, `patience`
    /// passed and nobody knows; the next call finds out before it does anything else. `Foreign`, stop.
    pub async fn update(
        &self,
        plan: Plan,
        patience: Duration,
        apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
    ) -> Result<FeedEntry, MetaError> {
        let deadline = deadline_after(patience);
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            return Err(MetaError::Definite(format!(
                "the updates before it in lane {} took all of the {patience:?} it had",
                self.id.lane
            )));
        };
        self.settle(&mut state, deadline).await?;
        let Plan {
            locks,
            shares,
            reads,
            scans,
        } = plan;
        let request = Request {
            lane: self.id,
            seq: state.last + 1,
        };
        let apply = Arc::new(apply);
        let update = Update {
            request,
            locks,
            shares,
            reads,
            scans,
            apply,
        };
        self.ask(&mut state, update, deadline, false).await
    }

    /// The newest entry that is known to be written, once nothing is in doubt.
    pub async fn last_seq(&self, patience: Duration) -> Result<u64, MetaError> {
        let mut state = self.state.lock().await;
        self.settle(&mut state, deadline_after(patience)).await?;
        Ok(state.last)
    }

    /// Finds out what became of an update that a caller gave up on: the same request and locks, deciding nothing. It waits
    /// for the one in doubt to end, and gets its entry if there is one; if there is none, there never will be.
    async fn settle(&self, state: &mut State, deadline: Instant) -> Result<(), MetaError> {
        let Some(mut question) = state.pending.clone() else {
            return Ok(());
        };
        question.apply = Arc::new(|_| Decision::default());
        match self.ask(state, question, deadline, true).await {
            Ok(_) => Ok(()),
            Err(MetaError::Foreign(why)) => Err(MetaError::Foreign(why)),
            Err(e) => Err(MetaError::Definite(format!(
                "it waits for the outcome of an earlier update of its lane: {e}"
            ))),
        }
    }

    /// SUBTLE: once an attempt is in doubt, a later `Definite` speaks of the later attempt only; the doubt stays.
    async fn ask(
        &self,
        state: &mut State,
        update: Update,
        deadline: Instant,
        mut doubtful: bool,
    ) -> Result<FeedEntry, MetaError> {
        if !doubtful {
            state.pending = Some(update.clone());
        }
        let mut backoff = Backoff::new();
        loop {
            let why = match self.attempt(&update, deadline).await {
                Ok(entry) => return Ok(self.accept(state, entry)),
                Err(MetaError::Definite(why)) if !doubtful => {
                    state.pending = None;
                    return Err(MetaError::Definite(why));
                }
                Err(MetaError::Foreign(why)) => return Err(MetaError::Foreign(why)),
                Err(MetaError::Definite(why) | MetaError::Maybe(why)) => why,
            };
            doubtful = true;
            let pause = backoff.next(&self.env);
            if Instant::now() + pause >= deadline {
                return Err(MetaError::Maybe(why));
            }
            tracing::warn!(lane = self.id.lane, %why, "asking again what became of an update");
            sleep(pause).await;
        }
    }

    async fn attempt(&self, update: &Update, deadline: Instant) -> Result<FeedEntry, MetaError> {
        let late = |_| Err(MetaError::Maybe("it did not answer in time".into()));
        timeout_at(deadline, self.store.update(update.clone()))
            .await
            .unwrap_or_else(late)
    }

    fn accept(&self, state: &mut State, entry: FeedEntry) -> FeedEntry {
        state.pending = None;
        if !entry.changes.is_empty() {
            state.last = entry.request.seq;
            self.hooks.iter().for_each(|hook| hook(&entry));
        }
        entry
    }
}

/// Forever is a year: the clock's arithmetic must not overflow.
fn deadline_after(patience: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + patience.min(YEAR)
}
