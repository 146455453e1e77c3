//! A member of a group, from the moment it comes to the moment it goes.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sh_client::{
    Client, ConsumerOptions, GroupConsumer, GroupOptions, GroupProtocol, OffsetSpec, Options,
    TopicPartition,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{TOPIC, crowd::Group};
use crate::torture::chance::Chance;

/// What a member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Stay,
    /// Says so, and goes.
    Leave,
    /// Goes without a word.
    Vanish,
}

/// Errors that ended members' lives, and how often.
pub type Ends = Arc<Mutex<BTreeMap<String, usize>>>;

/// How a member takes part.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    protocol: GroupProtocol,
    pub is_static: bool,
    /// Whether the group has members of both protocols.
    is_mixed: bool,
}

impl Manner {
    /// Groups differ by their number; in mixed ones, members by their slot.
    pub fn of(group: usize, slot: usize) -> Manner {
        use GroupProtocol::{Classic, Consumer};
        let manner = |protocol, is_static, is_mixed| Manner {
            protocol,
            is_static,
            is_mixed,
        };
        match group % 5 {
            0 => manner(Classic, false, false),
            1 => manner(Consumer, false, false),
            2 => manner(Classic, true, false),
            3 => manner(Consumer, true, false),
            _ if slot == 0 => manner(Classic, false, true),
            _ => manner(Consumer, false, true),
        }
    }

    pub fn name(self) -> &'static str {
        match (self.is_mixed, self.protocol, self.is_static) {
            (true, ..) => "mixed",
            (_, GroupProtocol::Classic, false) => "classic",
            (_, GroupProtocol::Classic, true) => "classic-static",
            (_, GroupProtocol::Consumer, false) => "consumer",
            (_, GroupProtocol::Consumer, true) => "consumer-static",
        }
    }
}

/// A member from the moment it comes to the moment it goes. After an error it begins anew, as a program that is restarted.
pub struct Life {
    pub bootstrap: String,
    pub group: Arc<Group>,
    pub manner: Manner,
    pub instance: Option<String>,
    pub owned: Arc<Mutex<BTreeSet<TopicPartition>>>,
    pub ends: Ends,
    pub orders: watch::Receiver<Order>,
    pub chance: Chance,
}

/// How long a member takes to leave before it just goes.
const LEAVE_MAX: Duration = Duration::from_secs(10);

impl Life {
    pub async fn run(mut self) {
        loop {
            let ended = self.live().await;
            self.owned.lock().clear();
            match ended {
                Ok(()) => return,
                Err(error) => {
                    let why = error
                        .code()
                        .map_or_else(|| error.to_string(), |c| format!("{c:?}"));
                    let why = format!("{}: {why}", self.manner.name());
                    *self.ends.lock().entry(why).or_default() += 1;
                }
            }
            if *self.orders.borrow() != Order::Stay {
                return;
            }
            sleep(self.chance.millis(100, 1_000)).await;
        }
    }

    async fn live(&mut self) -> sh_client::Result<()> {
        let mut member = self.member();
        loop {
            let order = *self.orders.borrow_and_update();
            match order {
                Order::Stay => {}
                Order::Vanish => return Ok(()),
                Order::Leave => {
                    // Whoever cannot say goodbye goes all the same.
                    let _ = timeout(LEAVE_MAX, member.leave()).await;
                    return Ok(());
                }
            }
            tokio::select! {
                step = step(&mut member, &self.group) => step?,
                _ = self.orders.changed() => {}
            }
            *self.owned.lock() = member.assignment();
        }
    }

    fn member(&mut self) -> GroupConsumer {
        let id = u128::from(self.chance.next()) << 64 | u128::from(self.chance.next());
        let id = uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid();
        let options = GroupOptions {
            group: self.group.name.clone(),
            topics: vec![TOPIC.to_owned()],
            protocol: self.manner.protocol,
            member_id: id.to_string(),
            instance_id: self.instance.clone(),
            reset: OffsetSpec::Earliest,
            session_timeout: Duration::from_secs(12),
            rebalance_timeout: Duration::from_secs(10),
        };
        let reading = ConsumerOptions {
            max_wait: Duration::from_millis(500),
            ..ConsumerOptions::default()
        };
        let patient = Options {
            request_timeout: Duration::from_secs(15),
            ..Options::default()
        };
        GroupConsumer::new(Client::new(&self.bootstrap, patient), options, reading)
    }
}

/// Reads once and commits it.
async fn step(member: &mut GroupConsumer, group: &Group) -> sh_client::Result<()> {
    let records = member.poll(1_000).await?;
    if records.is_empty() {
        return Ok(());
    }
    {
        let mut handed = group.handed.lock();
        for record in &records {
            let ranges = handed.entry(record.partition).or_default();
            match ranges.last_mut() {
                Some((_, to)) if *to == record.offset => *to += 1,
                _ => ranges.push((record.offset, record.offset + 1)),
            }
        }
    }
    member.commit().await.map(drop)
}
