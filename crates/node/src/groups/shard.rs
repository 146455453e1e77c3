//! The tasks that run the machines of groups: each group belongs to one of a few shards, each shard to one task.
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use sh_base::{Env, Org};
use sh_coord::{Event, GroupError, Topics, reply::Listing};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    change::Part,
    load::{Loaded, Loader, now},
    row::GroupKey,
    settings::{Configs, group_settings},
    slot::{Ask, Ready},
    writer::{Outcome, Writer},
};
use crate::BrokerConfig;

/// A group without members that was not asked for so long is forgotten here; its rows stay.
const IDLE_MAX: Duration = Duration::from_secs(600);
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What a shard can be told.
pub(super) enum Message {
    Request(GroupKey, Box<Ask>),
    /// The newest durable version of a group; see `sh_coord::Group::durable_version`.
    Version(GroupKey, oneshot::Sender<u64>),
    Loaded(GroupKey, u64, Result<Loaded, GroupError>),
    Stored(GroupKey, u64, Outcome),
    /// Another agent wrote the group's coordinator row, at this version.
    Taken(GroupKey, u64),
    /// Another agent should coordinate the group.
    GiveUp(GroupKey),
    Topics(Org, Arc<Topics>),
    Broker(Arc<BrokerConfig>),
    /// What is set for one group, at this version of its row.
    Configs(GroupKey, u64, Configs),
    List(Org, oneshot::Sender<Vec<Listing>>),
    /// Gives all groups up, for good.
    Drain(oneshot::Sender<()>),
}

/// The ways to all shards, without keeping them alive.
#[derive(Clone)]
pub(super) struct Shards(pub Vec<mpsc::WeakUnboundedSender<Message>>);

impl Shards {
    pub fn tell_all(&self, message: impl Fn() -> Message) {
        for shard in self.0.iter().filter_map(mpsc::WeakUnboundedSender::upgrade) {
            // A shard that has ended has no groups.
            let _ = shard.send(message());
        }
    }
}

/// Who waits for a group that is being read.
enum Waiting {
    Ask(Box<Ask>),
    Version(oneshot::Sender<u64>),
}

enum State {
    Loading(Vec<Waiting>),
    Ready(Box<Ready>),
}

struct Slot {
    /// Tells this life of the group here from former ones; what was begun for those is ignored.
    life: u64,
    state: State,
    /// When its machine wants to be polled.
    timeout: Option<Duration>,
    /// What is set for this group, and the version of the row that says so.
    configs: (u64, Configs),
}

pub(super) struct Shard {
    /// Its name in metrics.
    place: usize,
    env: Env,
    loader: Arc<Loader>,
    writer: Writer,
    own: mpsc::WeakUnboundedSender<Message>,
    broker: Arc<BrokerConfig>,
    groups: HashMap<GroupKey, Slot>,
    timeouts: BTreeSet<(Duration, GroupKey)>,
    lives: u64,
    draining: bool,
    swept: Duration,
}

impl Shard {
    pub fn new(
        place: usize,
        env: Env,
        loader: Arc<Loader>,
        own: mpsc::WeakUnboundedSender<Message>,
        broker: Arc<BrokerConfig>,
    ) -> Shard {
        Shard {
            place,
            swept: env.mono(),
            env,
            writer: loader.writer.clone(),
            loader,
            own,
            broker,
            groups: HashMap::new(),
            timeouts: BTreeSet::new(),
            lives: 0,
            draining: false,
        }
    }

    /// Works until nobody can ask any more.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = sleep(self.until_next()) => {}
            }
            self.poll_due();
        }
    }

    fn until_next(&self) -> Duration {
        let sweep = self.swept + SWEEP_EVERY;
        let next = self
            .timeouts
            .first()
            .map_or(sweep, |(at, _)| sweep.min(*at));
        next.saturating_sub(self.env.mono())
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Request(key, ask) => self.wait(key, Waiting::Ask(ask)),
            Message::Version(key, reply) => self.wait(key, Waiting::Version(reply)),
            Message::Loaded(key, life, loaded) => self.loaded(key, life, loaded),
            Message::Stored(key, life, outcome) => self.stored(key, life, outcome),
            Message::Taken(key, version) => self.taken(key, version),
            Message::GiveUp(key) => self.give_up(&key, GroupError::NotCoordinator),
            Message::Topics(org, topics) => self.tell(|key| key.org == org, Event::Topics(topics)),
            Message::Broker(broker) => {
                self.broker = broker;
                let keys = self.keys(|_| true);
                keys.iter().for_each(|key| self.set_settings(key));
            }
            Message::Configs(key, version, configs) => self.configs(&key, version, configs),
            Message::List(org, reply) => {
                let _ = reply.send(self.list(&org));
            }
            Message::Drain(done) => {
                self.draining = true;
                let keys = self.keys(|_| true);
                keys.iter()
                    .for_each(|key| self.give_up(key, GroupError::NotCoordinator));
                let _ = done.send(());
            }
        }
    }

    /// Hands a request to its group, which is read first if need be.
    fn wait(&mut self, key: GroupKey, waiting: Waiting) {
        if self.draining {
            return refuse(waiting, GroupError::NotCoordinator);
        }
        match self.groups.get_mut(&key).map(|slot| &mut slot.state) {
            Some(State::Loading(queue)) => queue.push(waiting),
            Some(State::Ready(_)) => {
                self.give(&key, waiting);
                self.look_after(&key);
            }
            None => self.begin(key, waiting),
        }
    }

    fn begin(&mut self, key: GroupKey, waiting: Waiting) {
        self.lives += 1;
        let life = self.lives;
        let slot = Slot {
            life,
            state: State::Loading(vec![waiting]),
            timeout: None,
            configs: Default::default(),
        };
        self.groups.insert(key.clone(), slot);
        self.load(key, life);
    }

    fn load(&self, key: GroupKey, life: u64) {
        let (loader, own) = (self.loader.clone(), self.own.clone());
        tokio::spawn(async move {
            let loaded = loader.load(&key, life).await;
            tell(&own, Message::Loaded(key, life, loaded));
        });
    }

    fn loaded(&mut self, key: GroupKey, life: u64, loaded: Result<Loaded, GroupError>) {
        let Some(slot) = self.groups.get_mut(&key).filter(|slot| slot.life == life) else {
            return;
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(code) => return self.give_up(&key, code),
        };
        // A change may have been heard of while the row was read.
        if loaded.configs.0 > slot.configs.0 {
            slot.configs = loaded.configs.clone();
        }
        let settings = Arc::new(group_settings(&self.broker, &slot.configs.1));
        let rng = self.env.rng.clone();
        let ready = Ready::new(key.clone(), loaded, settings, rng, now(&self.env));
        let waiting = match std::mem::replace(&mut slot.state, State::Ready(Box::new(ready))) {
            State::Loading(waiting) => waiting,
            State::Ready(_) => Vec::new(),
        };
        waiting
            .into_iter()
            .for_each(|waiting| self.give(&key, waiting));
        self.look_after(&key);
    }

    fn give(&mut self, key: &GroupKey, waiting: Waiting) {
        let now = now(&self.env);
        self.run_group(key, |ready| match waiting {
            Waiting::Ask(ask) => ready.ask(now, *ask),
            Waiting::Version(reply) => {
                let _ = reply.send(ready.group().durable_version());
                None
            }
        });
    }

    fn stored(&mut self, key: GroupKey, life: u64, outcome: Outcome) {
        let now = now(&self.env);
        if self.groups.get(&key).is_none_or(|slot| slot.life != life) {
            return;
        }
        let mut lost = None;
        self.with(&key, |ready| {
            ready.stored(now, outcome).unwrap_or_else(|code| {
                lost = Some(code);
                None
            })
        });
        if let Some(code) = lost {
            metrics::counter!("streamhouse_groups_fenced_total").increment(1);
            self.give_up(&key, code);
        }
    }

    fn taken(&mut self, key: GroupKey, version: u64) {
        let taken = match self.groups.get(&key).map(|slot| &slot.state) {
            Some(State::Ready(ready)) => ready.is_taken_by(version),
            Some(State::Loading(_)) | None => false,
        };
        if taken {
            self.give_up(&key, GroupError::NotCoordinator);
        }
    }

    fn tell(&mut self, who: impl Fn(&GroupKey) -> bool, event: Event) {
        let now = now(&self.env);
        let keys = self.keys(who);
        for key in keys {
            self.with(&key, |ready| ready.handle(now, event.clone()));
        }
    }

    /// Groups in their order: what is done to several is done in the same order each time.
    fn keys(&self, who: impl Fn(&GroupKey) -> bool) -> Vec<GroupKey> {
        let mut keys: Vec<GroupKey> = self.groups.keys().filter(|key| who(key)).cloned().collect();
        keys.sort_unstable();
        keys
    }

    fn configs(&mut self, key: &GroupKey, version: u64, configs: Configs) {
        if let Some(slot) = self.groups.get_mut(key)
            && version > slot.configs.0
        {
            slot.configs = (version, configs);
            self.set_settings(key);
        }
    }

    fn set_settings(&mut self, key: &GroupKey) {
        if let Some(slot) = self.groups.get(key) {
            let settings = Arc::new(group_settings(&self.broker, &slot.configs.1));
            let now = now(&self.env);
            self.with(key, |ready| ready.handle(now, Event::Settings(settings)));
        }
    }

    fn poll_due(&mut self) {
        let now = now(&self.env);
        while let Some((at, _)) = self.timeouts.first()
            && *at <= now.mono
            && let Some((_, key)) = self.timeouts.pop_first()
        {
            if let Some(slot) = self.groups.get_mut(&key) {
                slot.timeout = None;
            }
            self.with(&key, |ready| ready.poll(now));
        }
        if now.mono >= self.swept + SWEEP_EVERY {
            self.swept = now.mono;
            self.sweep(now.mono.saturating_sub(IDLE_MAX));
        }
    }

    fn sweep(&mut self, since: Duration) {
        self.groups.retain(|_, slot| match &slot.state {
            State::Ready(ready) => !ready.is_idle_since(since),
            State::Loading(_) => true,
        });
        metrics::gauge!("streamhouse_groups", "shard" => self.place.to_string())
            .set(self.groups.len() as f64);
    }

    /// Runs one group that is ready, stores what it wants, and looks after it.
    fn with(&mut self, key: &GroupKey, run: impl FnOnce(&mut Ready) -> Option<Part>) {
        self.run_group(key, run);
        self.look_after(key);
    }

    fn run_group(&mut self, key: &GroupKey, run: impl FnOnce(&mut Ready) -> Option<Part>) {
        let Some(slot) = self.groups.get_mut(key) else {
            return;
        };
        let State::Ready(ready) = &mut slot.state else {
            return;
        };
        let part = run(ready);
        let life = slot.life;
        if let Some(part) = part {
            let (own, key) = (self.own.clone(), key.clone());
            let done = move |outcome| tell(&own, Message::Stored(key, life, outcome));
            self.writer.store(part, Box::new(done));
        }
    }

    /// Sets the group's timer, and forgets a group that does not exist.
    fn look_after(&mut self, key: &GroupKey) {
        let Some(slot) = self.groups.get_mut(key) else {
            return;
        };
        let State::Ready(ready) = &slot.state else {
            return;
        };
        let timeout = ready
            .group()
            .next_timeout()
            .filter(|_| !ready.is_disposable());
        let disposable = ready.is_disposable();
        if slot.timeout != timeout {
            if let Some(at) = slot.timeout.take() {
                self.timeouts.remove(&(at, key.clone()));
            }
            slot.timeout = timeout;
            self.timeouts.extend(timeout.map(|at| (at, key.clone())));
        }
        if disposable {
            self.groups.remove(key);
        }
    }

    /// Answers all that wait for the group, and forgets it.
    fn give_up(&mut self, key: &GroupKey, code: GroupError) {
        let Some(slot) = self.groups.remove(key) else {
            return;
        };
        if let Some(at) = slot.timeout {
            self.timeouts.remove(&(at, key.clone()));
        }
        match slot.state {
            State::Loading(waiting) => waiting.into_iter().for_each(|w| refuse(w, code)),
            State::Ready(ready) => ready.abandon(now(&self.env), code),
        }
    }

    fn list(&self, org: &Org) -> Vec<Listing> {
        let listed = self.groups.iter().filter(|(key, _)| key.org == *org);
        let listing = |(_, slot): (_, &Slot)| match &slot.state {
            State::Ready(ready) => ready.group().listing(),
            State::Loading(_) => None,
        };
        listed.filter_map(listing).collect()
    }
}

fn refuse(waiting: Waiting, code: GroupError) {
    match waiting {
        Waiting::Ask(ask) => ask.refuse(code),
        // Who waits for a version sees that there will be none.
        Waiting::Version(reply) => drop(reply),
    }
}

/// Tells a shard something; one that has ended does not miss it.
fn tell(shard: &mpsc::WeakUnboundedSender<Message>, message: Message) {
    if let Some(shard) = shard.upgrade() {
        let _ = shard.send(message);
    }
}
