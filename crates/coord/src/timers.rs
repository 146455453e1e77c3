//! All timers of a group are one enum in one queue.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What may fall due. The text is a member id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Classic: the join phase has lasted long enough (or the initial delay is over).
    Join,
    /// Classic: who has not sent SyncGroup by now is removed.
    Sync,
    /// Both: nothing was heard of the member.
    Session(String),
    /// KIP-848: the member did not give up partitions in time. With the epoch in which it was asked to.
    Revocation(String, i32),
    /// A classic member of a KIP-848 group was told to rejoin and did not.
    Rejoin(String),
    /// A classic member of a KIP-848 group joined and did not send SyncGroup.
    MemberSync(String),
}

/// Deadlines on the monotonic clock. Setting a timer again moves it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<Timer, Duration>,
    queue: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(&timer);
        self.queue.insert((at, timer.clone()));
        self.deadlines.insert(timer, at);
    }
    pub fn set_if_absent(&mut self, timer: Timer, at: Duration) {
        if !self.deadlines.contains_key(&timer) {
            self.set(timer, at);
        }
    }
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.deadlines.remove_entry(timer) {
            self.queue.remove(&(at, timer));
        }
    }
    /// Cancels every timer of one member.
    pub fn cancel_member(&mut self, member: &str) {
        for make in [Timer::Session, Timer::Rejoin, Timer::MemberSync] {
            self.cancel(&make(member.to_owned()));
        }
        self.cancel_revocations(member);
    }
    pub fn cancel_revocations(&mut self, member: &str) {
        let from = Timer::Revocation(member.to_owned(), i32::MIN);
        let to = Timer::Revocation(member.to_owned(), i32::MAX);
        let found: Vec<Timer> = self
            .deadlines
            .range(from..=to)
            .map(|(t, _)| t.clone())
            .collect();
        found.iter().for_each(|timer| self.cancel(timer));
    }
    pub fn clear(&mut self) {
        self.deadlines.clear();
        self.queue.clear();
    }
    /// Moves all deadlines: time has passed that does not count.
    pub fn postpone(&mut self, by: Duration) {
        self.deadlines.values_mut().for_each(|at| *at += by);
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue
            .into_iter()
            .map(|(at, timer)| (at + by, timer))
            .collect();
    }
    pub fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| *at)
    }
    /// Takes the earliest timer that is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}
