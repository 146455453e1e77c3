//! What each client instance was told, and when it may come again. Apache Kafka's rules, without I/O.
use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use sh_base::Org;
use uuid::Uuid;

/// Client instances that are remembered, as with Kafka; past that the one that was silent longest is forgotten, which costs it
/// nothing but its place in the interval.
const INSTANCES_MAX: usize = 16_384;
/// An instance that was silent for so many of its intervals is forgotten.
const SILENT_INTERVALS_MAX: u32 = 3;

/// What a client instance should push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub instance: Uuid,
    /// Changes with what is asked for.
    pub id: i32,
    /// Prefixes of names; `*`: all; none: the client is not asked for anything.
    pub metrics: Vec<String>,
    pub interval_ms: i32,
    /// The largest push, bytes.
    pub bytes_max: i32,
}

impl Subscribed {
    pub fn new(
        instance: Uuid,
        metrics: Vec<String>,
        interval_ms: i32,
        bytes_max: i32,
    ) -> Subscribed {
        Subscribed {
            instance,
            id: subscription_id(instance, &metrics, interval_ms),
            metrics,
            interval_ms,
            bytes_max,
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.interval_ms).unwrap_or(0))
    }
}

/// Of what is asked for and of whom, as Kafka computes it: every agent tells the same.
fn subscription_id(instance: Uuid, metrics: &[String], interval_ms: i32) -> i32 {
    let text = format!("[{}]{interval_ms}", metrics.join(", "));
    let (most, least) = instance.as_u64_pair();
    let both = most ^ least;
    (crc32c::crc32c(text.as_bytes()) ^ (both >> 32) as u32 ^ both as u32) as i32
}

pub(super) struct Instance {
    pub subscribed: Subscribed,
    /// It has said that it ends.
    pub terminating: bool,
    /// The subscriptions that `subscribed` reflects.
    version: u64,
    last_ask: Option<Duration>,
    last_push: Option<Duration>,
    last_seen: Duration,
}

impl Instance {
    fn new(subscribed: Subscribed, version: u64, now: Duration) -> Instance {
        Instance {
            subscribed,
            terminating: false,
            version,
            last_ask: None,
            last_push: None,
            last_seen: now,
        }
    }

    fn interval_is_over(&self, now: Duration) -> bool {
        let last = self.last_ask.max(self.last_push);
        last.is_none_or(|last| now.saturating_sub(last) >= self.subscribed.interval())
    }

    /// One question an interval.
    pub fn may_ask(&mut self, now: Duration) -> bool {
        let may = self.interval_is_over(now);
        if may {
            self.last_ask = Some(now);
        }
        may
    }

    /// One push an interval; the first after a question may come at once, because clients spread theirs.
    pub fn may_push(&mut self, now: Duration) -> bool {
        let may = self.last_ask > self.last_push || self.interval_is_over(now);
        if may {
            self.last_push = Some(now);
        }
        may
    }

    fn is_silent(&self, now: Duration) -> bool {
        let silence = now.saturating_sub(self.last_seen);
        silence > self.subscribed.interval() * SILENT_INTERVALS_MAX
    }
}

/// The client instances of this agent.
#[derive(Default)]
pub(super) struct Instances(HashMap<(Org, Uuid), Instance>);

impl Instances {
    /// The instance; one that is not known, or was told of what is no longer so, begins anew.
    pub fn of(
        &mut self,
        id: (Org, Uuid),
        version: u64,
        now: Duration,
        subscribe: impl FnOnce() -> Subscribed,
    ) -> &mut Instance {
        if !self.0.contains_key(&id) {
            self.make_room(now);
        }
        let instance = match self.0.entry(id) {
            Entry::Vacant(place) => place.insert(Instance::new(subscribe(), version, now)),
            Entry::Occupied(place) => {
                let known = place.into_mut();
                if known.version != version {
                    *known = Instance::new(subscribe(), version, now);
                }
                known
            }
        };
        instance.last_seen = now;
        instance
    }

    fn make_room(&mut self, now: Duration) {
        if self.0.len() < INSTANCES_MAX {
            return;
        }
        self.0.retain(|_, instance| !instance.is_silent(now));
        while self.0.len() >= INSTANCES_MAX {
            let silent = self.0.iter().min_by_key(|(_, instance)| instance.last_seen);
            let Some(longest) = silent.map(|(id, _)| id.clone()) else {
                return;
            };
            self.0.remove(&longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn instance(interval_ms: i32) -> Instance {
        let subscribed = Subscribed::new(Uuid::from_u128(7), vec![], interval_ms, 1);
        Instance::new(subscribed, 1, Duration::ZERO)
    }

    #[test]
    fn the_id_of_a_subscription_is_kafkas() {
        let instance = Uuid::from_u128(0xea20_cb8e_ab81_44c4_97fd_ee9d_9cfa_4870);
        assert_eq!(subscription_id(instance, &[], 300_000) as u32, 0x9e61_7279);
    }

    #[test]
    fn one_question_and_one_push_an_interval() {
        let mut client = instance(100);
        assert!(client.may_ask(MS));
        assert!(!client.may_ask(50 * MS));
        assert!(client.may_push(50 * MS), "the first after a question");
        assert!(!client.may_push(149 * MS));
        assert!(client.may_push(150 * MS));
        assert!(!client.may_ask(200 * MS));
        assert!(client.may_ask(250 * MS));
    }

    #[test]
    fn what_is_asked_for_anew_makes_every_instance_begin_anew() {
        let mut instances = Instances::default();
        let id = (Org::default(), Uuid::from_u128(7));
        let told =
            |interval_ms| move || Subscribed::new(Uuid::from_u128(7), vec![], interval_ms, 1);
        assert!(instances.of(id.clone(), 1, MS, told(100)).may_ask(MS));
        assert!(!instances.of(id.clone(), 1, MS, told(200)).may_ask(2 * MS));
        let anew = instances.of(id, 2, 2 * MS, told(200));
        assert!(anew.may_ask(2 * MS));
        assert_eq!(anew.subscribed.interval_ms, 200);
    }

    #[test]
    fn the_instance_that_was_silent_longest_makes_room() {
        let mut instances = Instances::default();
        let id = |n: usize| (Org::default(), Uuid::from_u128(n as u128));
        let told = || Subscribed::new(Uuid::nil(), vec![], 1_000_000, 1);
        for n in 0..=INSTANCES_MAX {
            instances.of(id(n), 1, n as u32 * MS, told);
        }
        assert_eq!(instances.0.len(), INSTANCES_MAX);
        assert!(!instances.0.contains_key(&id(0)));
        assert!(instances.0.contains_key(&id(1)));
    }
}
