//! Reading as a member of a consumer group: partitions are given by the group, positions are kept in it.
//!
//! Both protocols: the consumer protocol (KIP-848), where the server assigns, and the classic one, where a member does.
mod assignor;
mod classic;
mod consumer_protocol;
mod link;
mod membership;
pub(crate) mod protocol;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use futures::future::try_join_all;

use crate::{
    Admin, Author, Client, Consumer, ConsumerOptions, ConsumerRecord, ErrorCode, OffsetSpec,
    Result, TopicPartition,
};
use membership::{Change, Membership};

/// How a group shares out its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Members elect a leader that assigns.
    Classic,
    /// The server assigns (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// The consumer protocol if the server has it, unless `group` has classic members: one member more should not
    /// convert what others use.
    pub async fn of_group(admin: &Admin, group: &str) -> Result<GroupProtocol> {
        if !admin.knows_consumer_protocol().await? {
            return Ok(GroupProtocol::Classic);
        }
        match admin.describe_group(group).await {
            Ok(found) if !found.members.is_empty() && !found.is_consumer_protocol() => {
                Ok(GroupProtocol::Classic)
            }
            Ok(_) => Ok(GroupProtocol::Consumer),
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
                Ok(GroupProtocol::Consumer)
            }
            Err(error) => Err(error),
        }
    }
}

#[derive(Clone, Debug)]
pub struct GroupOptions {
    pub group: String,
    pub topics: Vec<String>,
    pub protocol: GroupProtocol,
    /// A UUID, a new one for each member: who repeats a lost request is known by it (KIP-1082).
    pub member_id: String,
    /// Makes the member a static one (KIP-345): who comes back under this name finds its partitions again.
    pub instance_id: Option<String>,
    /// Where to begin in a partition for which the group has no offset, or one that the log has no more.
    pub reset: OffsetSpec,
    /// How long a member may be silent before the group goes on without it. The consumer protocol leaves that to the server.
    pub session_timeout: Duration,
    /// How long the group waits for a member to give up its partitions.
    pub rebalance_timeout: Duration,
}

/// A member. Heartbeats are sent by [`GroupConsumer::poll`]: who does not call it within the session timeout is out of the
/// group, and its partitions go to others.
pub struct GroupConsumer {
    admin: Admin,
    options: GroupOptions,
    membership: Membership,
    consumer: Consumer,
    /// Fetched, not yet handed out.
    fetched: VecDeque<ConsumerRecord>,
    /// What the group is known to remember.
    committed: BTreeMap<TopicPartition, i64>,
    /// Where each partition ended when it was assigned.
    ends: BTreeMap<TopicPartition, i64>,
    has_assignment: bool,
    /// Whether offsets are left to the caller.
    offsets_in_transactions: bool,
}

impl GroupConsumer {
    /// Nothing is sent yet: the first [`GroupConsumer::poll`] joins.
    pub fn new(client: Client, options: GroupOptions, reading: ConsumerOptions) -> GroupConsumer {
        GroupConsumer {
            admin: Admin::new(client.clone()),
            membership: Membership::new(client.clone(), options.clone()),
            options,
            consumer: Consumer::new(client, reading),
            fetched: VecDeque::new(),
            committed: BTreeMap::new(),
            ends: BTreeMap::new(),
            has_assignment: false,
            offsets_in_transactions: false,
        }
    }

    /// The caller sends the offsets ([`GroupConsumer::positions`], as [`GroupConsumer::author`]) in transactions (KIP-447):
    /// this member commits nothing by itself. Between two polls a transaction must end, or the member must
    /// [`GroupConsumer::rewind`].
    pub fn with_offsets_in_transactions(mut self) -> GroupConsumer {
        self.offsets_in_transactions = true;
        self
    }

    /// Who this member is in its group at this moment.
    pub fn author(&self) -> Author {
        self.membership.author()
    }

    /// Goes back to what the group has committed: what was handed out since comes again.
    pub async fn rewind(&mut self) -> Result<()> {
        self.fetched.clear();
        self.membership.hurry();
        let owned = self.assignment();
        self.read_from_committed(&owned).await
    }

    /// The partitions that this member reads.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.consumer.assigned().cloned().collect()
    }

    /// Whether the group has told this member what it reads, be it nothing.
    pub fn has_assignment(&self) -> bool {
        self.has_assignment
    }

    /// Whether everything was handed out that the assigned partitions had when they were assigned.
    pub fn is_at_end(&self) -> bool {
        self.has_assignment
            && self
                .positions()
                .iter()
                .all(|(place, at)| self.ends.get(place).is_none_or(|end| at >= end))
    }

    /// At most `max` records. None after the longest wait of a fetch, or when the assignment has changed. What was handed
    /// out earlier counts as processed.
    pub async fn poll(&mut self, max: usize) -> Result<Vec<ConsumerRecord>> {
        let owned = self.assignment();
        match self.membership.keep(&owned).await? {
            Change::None => {}
            Change::Lost => {
                self.drop_partitions(&owned);
                self.has_assignment = false;
                return Ok(Vec::new());
            }
            Change::Assigned(wanted) => {
                self.reassign(&owned, &wanted).await?;
                return Ok(Vec::new());
            }
        }
        if self.fetched.is_empty() {
            self.fetch().await?;
        }
        let count = max.min(self.fetched.len());
        Ok(self.fetched.drain(..count).collect())
    }

    async fn fetch(&mut self) -> Result<()> {
        if self.consumer.assigned().next().is_none() {
            tokio::time::sleep(self.membership.pause()).await;
            return Ok(());
        }
        match self.consumer.poll().await {
            Ok(records) => self.fetched.extend(records),
            Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                let owned = self.assignment();
                self.begin(&owned, &self.positions()).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next offset of each partition, behind what was handed out.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        let mut positions = BTreeMap::new();
        for place in self.consumer.assigned() {
            let at = self.consumer.position(&place.0, place.1).unwrap_or(0);
            positions.insert(place.clone(), at);
        }
        for record in self.fetched.iter().rev() {
            positions.insert((record.topic.clone(), record.partition), record.offset);
        }
        positions
    }

    /// Tells the group how far this member is. `false`: the group is changing, and will be told after the next
    /// [`GroupConsumer::poll`].
    pub async fn commit(&mut self) -> Result<bool> {
        if self.offsets_in_transactions {
            return Ok(true);
        }
        let news: BTreeMap<TopicPartition, i64> = self
            .positions()
            .into_iter()
            .filter(|(place, at)| self.committed.get(place) != Some(at))
            .collect();
        if news.is_empty() {
            return Ok(true);
        }
        let author = self.membership.author();
        match self
            .admin
            .commit_offsets_as(&self.options.group, &author, &news)
            .await
        {
            Ok(()) => {
                self.committed.extend(news);
                Ok(true)
            }
            Err(error) if error.code().is_some_and(membership::must_ask_again) => {
                self.membership.hurry();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Commits, and leaves the group, so that others take over at once.
    pub async fn leave(mut self) -> Result<()> {
        for _ in 0..10 {
            if self.commit().await? {
                break;
            }
            let owned = self.assignment();
            match self.membership.keep(&owned).await? {
                Change::None => {}
                Change::Lost => self.drop_partitions(&owned),
                Change::Assigned(kept) => {
                    self.drop_partitions(&owned.difference(&kept).cloned().collect());
                }
            }
        }
        self.membership.leave().await
    }

    /// Leaves the group without committing what was handed out since the last commit.
    pub async fn abandon(mut self) -> Result<()> {
        self.membership.leave().await
    }

    async fn reassign(
        &mut self,
        owned: &BTreeSet<TopicPartition>,
        wanted: &BTreeSet<TopicPartition>,
    ) -> Result<()> {
        let revoked: BTreeSet<_> = owned.difference(wanted).cloned().collect();
        if !revoked.is_empty() {
            self.commit().await?;
            self.drop_partitions(&revoked);
            self.membership.has_revoked();
        }
        let added: BTreeSet<_> = wanted.difference(owned).cloned().collect();
        self.read_from_committed(&added).await?;
        self.has_assignment = true;
        Ok(())
    }

    async fn read_from_committed(&mut self, places: &BTreeSet<TopicPartition>) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let offsets = self
            .admin
            .group_offsets(&self.options.group, Some(places))
            .await?;
        let offsets = offsets.into_iter().map(|(place, c)| (place, c.offset));
        let offsets: BTreeMap<_, _> = offsets.collect();
        self.committed
            .extend(offsets.iter().map(|(place, at)| (place.clone(), *at)));
        self.begin(places, &offsets).await
    }

    fn drop_partitions(&mut self, places: &BTreeSet<TopicPartition>) {
        for place in places {
            self.consumer.unassign(&place.0, place.1);
            self.committed.remove(place);
            self.ends.remove(place);
        }
        self.fetched
            .retain(|r| !places.contains(&(r.topic.clone(), r.partition)));
    }

    /// Reads these partitions from `offsets` on, or from where the options say if the log has no such offset. All at the same
    /// time: meanwhile nobody sends heartbeats.
    async fn begin(
        &mut self,
        places: &BTreeSet<TopicPartition>,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<()> {
        let this = &*self;
        let found = places
            .iter()
            .map(|place| this.place_to_begin(place, offsets.get(place).copied()));
        for (place, (at, end)) in places.iter().zip(try_join_all(found).await?) {
            self.consumer.assign(&place.0, place.1, at);
            self.ends.insert(place.clone(), end);
        }
        Ok(())
    }

    /// Where to begin in a partition for which the group has this offset, and its end.
    async fn place_to_begin(
        &self,
        (topic, partition): &TopicPartition,
        offset: Option<i64>,
    ) -> Result<(i64, i64)> {
        self.membership.know(topic, *partition).await?;
        let end = self.offset(topic, *partition, OffsetSpec::Latest).await?;
        let start = self.offset(topic, *partition, OffsetSpec::Earliest).await?;
        let at = match offset {
            Some(at) if (start..=end).contains(&at) => at,
            _ => self.offset(topic, *partition, self.options.reset).await?,
        };
        Ok((at, end))
    }

    async fn offset(&self, topic: &str, partition: i32, spec: OffsetSpec) -> Result<i64> {
        match self.admin.list_offset(topic, partition, spec).await? {
            Some((offset, _)) => Ok(offset),
            // A time after the last record is the end.
            None if spec != OffsetSpec::Latest => {
                let end = self
                    .admin
                    .list_offset(topic, partition, OffsetSpec::Latest)
                    .await?;
                Ok(end.map_or(0, |(offset, _)| offset))
            }
            None => Ok(0),
        }
    }
}
