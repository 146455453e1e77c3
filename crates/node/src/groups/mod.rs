//! Consumer groups: who coordinates which, the tasks that run the machines of `sh_coord`, and committed offsets.
//!
//! **A group belongs to the agent that holds its coordinator row.** Which agent should take it is a rendezvous hash over the
//! living ones; that is only advice. What is safe is the row: every change of a group locks it, checks that it still names
//! this agent and this coordinator epoch, and writes it (`change`). An agent that is told of a newer owner, or that finds
//! itself fenced, answers all that waits with `NotCoordinator` and forgets the group.
//!
//! The map: `shard` runs the machines, `slot` is one of them; `load` takes a group over, `writer` stores the changes of many
//! groups in one update, `staged` keeps those whole that need several; `names` finds topics; `committed`, `listing` and `expire` read and tidy rows; `transaction` is for
//! whoever ends one.
mod change;
mod committed;
mod expire;
mod listing;
mod load;
mod names;
mod place;
mod row;
mod settings;
mod shard;
mod slot;
mod staged;
mod topics;
mod transaction;
mod writer;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use sh_base::{Env, Incarnation, Org, limits::GROUP_ID_BYTES_MAX};
use sh_coord::{Client, Command, GroupError, Reply, reply::Listing};
use sh_meta::{Change, FeedEntry, Key, Lane, MetaStore, Row};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    BrokerConfig, Caller, Node, Operation, Resource, TopicTable, config::GROUP, group_configs,
    transactions::check_id_fits,
};
use load::Loader;
use names::Names;
use row::{CoordinatorRow, GroupKey};
use shard::{Message, Shard, Shards};
use slot::Ask;
use topics::OrgTopics;
use writer::Writer;

pub use committed::{CommittedPartition, CommittedTopic};
pub use listing::GroupFilter;
pub use place::CoordinatorKind;
pub use transaction::{PENDING_MAX, PendingOffsets};

/// Tasks that share the groups of an agent.
const SHARDS: usize = 4;

/// The groups that this agent coordinates. The tasks end with it.
pub(crate) struct Groups {
    me: Incarnation,
    shards: Vec<mpsc::UnboundedSender<Message>>,
    /// Says that topics have changed.
    topics_changed: mpsc::Sender<()>,
}

impl Groups {
    /// Starts the tasks; `lane` is for changes of groups alone.
    pub fn spawn(
        env: &Env,
        store: &Arc<dyn MetaStore>,
        lane: Arc<Lane>,
        table: Arc<TopicTable>,
    ) -> Groups {
        let me = lane.id().by;
        let broker = table.broker();
        let writer = Writer::spawn(env.clone(), lane);
        let topics = Arc::new(OrgTopics::new(table));
        let loader = Arc::new(Loader::new(store.clone(), writer, topics.clone()));
        let shard = |place: usize| {
            let (send, inbox) = mpsc::unbounded_channel();
            let (env, own) = (env.clone(), send.downgrade());
            let shard = Shard::new(place, env, loader.clone(), own, broker.clone());
            tokio::spawn(shard.run(inbox));
            send
        };
        let shards: Vec<_> = (0..SHARDS).map(shard).collect();
        let weak = shards
            .iter()
            .map(mpsc::UnboundedSender::downgrade)
            .collect();
        let (topics_changed, dirty) = mpsc::channel(1);
        tokio::spawn(topics.follow(dirty, Shards(weak)));
        Groups {
            me,
            shards,
            topics_changed,
        }
    }

    fn shard(&self, key: &GroupKey) -> &mpsc::UnboundedSender<Message> {
        let mut hash = DefaultHasher::new();
        key.hash(&mut hash);
        &self.shards[hash.finish() as usize % self.shards.len()]
    }

    /// Tells the shard of a group something; a shard that has ended has no groups.
    fn tell(&self, key: &GroupKey, message: Message) {
        let _ = self.shard(key).send(message);
    }

    async fn ask(&self, key: GroupKey, client: Client, command: Command, names: Names) -> Reply {
        let lost = Reply::refused(&command, GroupError::CoordinatorNotAvailable);
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(Ask {
            client,
            command,
            names,
            reply,
        });
        self.shard(&key)
            .send(Message::Request(key.clone(), ask))
            .ok();
        answer.await.unwrap_or(lost)
    }

    /// The durable version of a group, which is read if need be; `None`: it is not coordinated here.
    async fn durable_version(&self, key: GroupKey) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.tell(&key, Message::Version(key.clone(), reply));
        answer.await.ok()
    }

    /// The groups of an org that are in memory here.
    async fn list(&self, org: &Org) -> Vec<Listing> {
        let mut groups = Vec::new();
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            let _ = shard.send(Message::List(org.clone(), reply));
            groups.extend(answer.await.unwrap_or_default());
        }
        groups
    }

    /// Takes in what an update changed: another agent's take-overs, configs of groups, topics.
    pub fn hear(&self, entry: &FeedEntry) {
        let mut topics = false;
        for change in &entry.changes {
            match &change.key {
                Key::GroupCoordinator(org, group) if entry.request.lane.by != self.me => {
                    self.hear_coordinator(GroupKey::new(org, group), change);
                }
                Key::Config(org, kind, group) if kind == GROUP => {
                    self.hear_configs(GroupKey::new(org, group), change);
                }
                Key::Topic(_) | Key::TopicName(..) => topics = true,
                _ => {}
            }
        }
        if topics {
            // One that is already said is enough.
            let _ = self.topics_changed.try_send(());
        }
    }

    fn hear_coordinator(&self, key: GroupKey, change: &Change) {
        let owner = change.value.as_deref().map(CoordinatorRow::decode);
        let ours = matches!(owner, Some(Ok(owner)) if owner.is_of(self.me));
        if !ours {
            self.tell(&key, Message::Taken(key.clone(), change.version));
        }
    }

    /// Takes in new broker configs.
    pub fn set_broker(&self, broker: &Arc<BrokerConfig>) {
        for shard in &self.shards {
            let _ = shard.send(Message::Broker(broker.clone()));
        }
    }

    fn hear_configs(&self, key: GroupKey, change: &Change) {
        let row = Row {
            value: change.value.clone(),
            version: change.version,
        };
        match group_configs::configs_of(&row) {
            Ok(configs) => self.tell(&key, Message::Configs(key.clone(), row.version, configs)),
            Err(error) => tracing::error!(%error, "configs of a group that cannot be read"),
        }
    }

    async fn drain(&self) {
        for shard in &self.shards {
            let (done, drained) = oneshot::channel();
            let _ = shard.send(Message::Drain(done));
            let _ = drained.await;
        }
    }
}

impl Node {
    /// Asks one group. The answer is the group's, or a refusal in the same shape: `NotCoordinator` (another agent should be
    /// asked), `CoordinatorLoadInProgress`, `CoordinatorNotAvailable` (the metadata store is away),
    /// `GroupAuthorizationFailed`; of single topics `UnknownTopicOrPartition`.
    ///
    /// JoinGroup and SyncGroup wait as long as the group's rebalance takes; a commit is given up after
    /// `offsets.commit.timeout.ms`. A caller that goes away leaves the request with the group.
    pub async fn group(
        &self,
        caller: &Caller,
        group: &str,
        client: Client,
        command: Command,
    ) -> Reply {
        if let Err(code) = self.may_ask(caller, group, &command).await {
            return Reply::refused(&command, code);
        }
        let named = match self.name_topics(caller, command).await {
            Ok(named) => named,
            Err(refused) => return *refused,
        };
        let key = GroupKey::new(&caller.org, group);
        let reply = match named.asks {
            true => {
                self.ask_in_time(key, client, named.command, named.names)
                    .await
            }
            false => names::nothing(&named.command),
        };
        names::join(reply, named.unknown)
    }

    async fn may_ask(
        &self,
        caller: &Caller,
        group: &str,
        command: &Command,
    ) -> Result<(), GroupError> {
        let denied = |_| GroupError::GroupAuthorizationFailed;
        self.authorize(caller, right_for(command), Resource::Group(group))
            .map_err(denied)?;
        let unnamed = group.is_empty() && !works_without_name(command);
        if unnamed || group.len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        if let Command::OffsetCommit(commit) = command
            && let Some(transaction) = &commit.transaction
        {
            let fits = check_id_fits(&transaction.transactional_id);
            fits.map_err(|_| GroupError::InvalidRequest)?;
        }
        let cluster = self.cluster().await.map_err(|e| committed::away(&e))?;
        let place = cluster.coordinator(&caller.org, CoordinatorKind::Group, group);
        if place.is_some_and(|agent| agent.id == self.agent()) {
            return Ok(());
        }
        // SUBTLE: its members will not be heard of here any more; they must not seem to fall silent.
        let key = GroupKey::new(&caller.org, group);
        self.groups().tell(&key, Message::GiveUp(key.clone()));
        Err(GroupError::NotCoordinator)
    }

    async fn ask_in_time(
        &self,
        key: GroupKey,
        client: Client,
        command: Command,
        names: Names,
    ) -> Reply {
        if !matches!(command, Command::OffsetCommit(_)) {
            return self.groups().ask(key, client, command, names).await;
        }
        let late = Reply::refused(&command, GroupError::CoordinatorNotAvailable);
        let ms = self.broker().number("offsets.commit.timeout.ms");
        let patience = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let answer = timeout(patience, self.groups().ask(key, client, command, names));
        answer.await.unwrap_or(late)
    }

    /// Gives all groups up, for good: what waits is answered with `NotCoordinator`. For a stop.
    pub async fn drain_groups(&self) {
        self.groups().drain().await;
    }
}

fn right_for(command: &Command) -> Operation {
    match command {
        Command::JoinGroup(_)
        | Command::SyncGroup(_)
        | Command::Heartbeat(_)
        | Command::LeaveGroup(_)
        | Command::OffsetCommit(_)
        | Command::ConsumerGroupHeartbeat(_) => Operation::Read,
        Command::DescribeGroup | Command::ConsumerGroupDescribe | Command::OffsetFetch(_) => {
            Operation::Describe
        }
        Command::OffsetDelete(_) | Command::DeleteGroup | Command::ExpireOffsets(_) => {
            Operation::Delete
        }
    }
}

/// Consumers that manage their partitions themselves may commit and read offsets under the empty name, as ever; so that group
/// can be seen and deleted. What KIP-848 says of the empty name the group says itself.
fn works_without_name(command: &Command) -> bool {
    matches!(
        command,
        Command::OffsetCommit(_)
            | Command::OffsetFetch(_)
            | Command::DescribeGroup
            | Command::DeleteGroup
            | Command::ConsumerGroupHeartbeat(_)
    )
}
