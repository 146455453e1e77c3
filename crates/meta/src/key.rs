//! Every persisted key of the metadata store, in one file: layout, value, writer, lifetime.
//!
//! A key's bytes are its family tag and its fields, big-endian (signed numbers with the sign bit flipped), so that byte order
//! is field order. Tags are numbered so that key order is the order of locking (DESIGN 4):
//! object < agent < transaction < head < producer < the rest. Nobody locks in another order.
use bytes::Bytes;
use sh_base::{
    AgentId, Incarnation, ObjectId, Offset, Org, PartitionIndex, ProducerId, TopicId, TopicName,
    TopicPartition,
};

/// A key family: one table each on Postgres. Discriminants are on disk: never renumber.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    Object = 0x10,
    Agent = 0x20,
    Transaction = 0x30,
    Head = 0x40,
    Producer = 0x50,
    Extent = 0x60,
    AbortedTransaction = 0x61,
    Topic = 0x70,
    TopicName = 0x71,
    Config = 0x72,
    Counter = 0x73,
    Cluster = 0x74,
    Secret = 0x7f,
    GroupCoordinator = 0x80,
    Group = 0x81,
    GroupMember = 0x82,
    GroupOffset = 0x83,
    TxnOffset = 0x84,
}

impl Family {
    /// All families, in the order of their tags.
    pub const ALL: [Family; 18] = [
        Family::Object,
        Family::Agent,
        Family::Transaction,
        Family::Head,
        Family::Producer,
        Family::Extent,
        Family::AbortedTransaction,
        Family::Topic,
        Family::TopicName,
        Family::Config,
        Family::Counter,
        Family::Cluster,
        Family::Secret,
        Family::GroupCoordinator,
        Family::Group,
        Family::GroupMember,
        Family::GroupOffset,
        Family::TxnOffset,
    ];

    /// The family's name in text, and of its table on Postgres.
    pub fn name(self) -> &'static str {
        match self {
            Family::Object => "object",
            Family::Agent => "agent",
            Family::Transaction => "transaction",
            Family::Head => "head",
            Family::Producer => "producer",
            Family::Extent => "extent",
            Family::AbortedTransaction => "aborted_transaction",
            Family::Topic => "topic",
            Family::TopicName => "topic_name",
            Family::Config => "config",
            Family::Counter => "counter",
            Family::Cluster => "cluster",
            Family::Secret => "secret",
            Family::GroupCoordinator => "group_coordinator",
            Family::Group => "consumer_group",
            Family::GroupMember => "group_member",
            Family::GroupOffset => "group_offset",
            Family::TxnOffset => "txn_offset",
        }
    }
}

/// One row's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// **The fate of an object id**: committed, with the answer of each batch, or aborted. Whoever inserts first decides, for
    /// ever. Written by the commit (or by an abort); lives until its agent needs it no more *and* the object is gone
    /// (model: `aw_forget_any`, `aw_forget_fenced`). Compact binary, `sh_log::fate`.
    Object(ObjectId),
    /// **An agent**: epoch, nonce, addresses, zone, heartbeat, and "I need nothing before (epoch, seq)". JSON,
    /// `sh_log::agent`. Written at its start and by its heartbeats; share-locked by each of its commits.
    Agent(AgentId),
    /// **A transactional id**: producer id and epoch, state of its transaction, its partitions and groups. JSON,
    /// `sh_log::transaction`. Locked by every transactional batch and by all that ends or fences the transaction (DESIGN 10).
    /// Written by InitProducerId, by what adds to the transaction, and by its end; expires with
    /// `transactional.id.expiration.ms`.
    Transaction(Org, String),
    /// **A partition's head**: next offset, last stable offset, log start, leader epoch, lease, deleted flag. Absent: an empty
    /// partition. Compact binary, `sh_log::head`. Locked by everything that changes the partition. Its row version is the
    /// chain of DESIGN 6: version v follows v - 1.
    Head(TopicPartition),
    /// **What a partition knows of a producer**: epoch and its last five batches. Compact binary, `sh_log::producer`.
    /// Written by the commit; expires with `producer.id.expiration.ms`.
    Producer(TopicPartition, ProducerId),
    /// **An extent**, by its base offset: a run of batches inside one object. Compact binary, `sh_log::extent`. Covered by the
    /// head's lock. Written by the commit; replaced by merges, deleted by retention.
    Extent(TopicPartition, Offset),
    /// **An aborted transaction of a partition**, by the offset of its marker: producer, first offset, last stable offset after
    /// it. Compact binary, `sh_log::row`. Covered by the head's lock. Written with the marker; deleted with the records.
    AbortedTransaction(TopicPartition, Offset),
    /// **A topic**: name, org, partitions, configs, times of creation and deletion. JSON, `sh_node::topic`.
    Topic(TopicId),
    /// The living topic of a name: its id, as text. Written with `Topic`.
    TopicName(Org, TopicName),
    /// Configs that were set while running: `(kind, name)`, kind being `broker`, `broker-logger`, `group`, `client-metrics`,
    /// and `features` for the levels of features.
    /// JSON object of strings, `sh_node::config`.
    Config(Org, String, String),
    /// A number that only grows, as decimal text: `agent-id`, `producer-id`.
    Counter(String),
    /// One row: cluster id and generation, JSON, `sh_log::cluster`. Written when the store is first used, and at repair,
    /// rebuild and restore.
    Cluster,
    /// A secret that the agents of the cluster share, by its name; `peers`: what they show each other, text, `sh_log::peers`.
    /// Written by the agent that first needs it, then never; nothing prints or logs its value, and it is not shipped to the
    /// bucket (DESIGN 9): a store that was rebuilt gets a new one.
    Secret(String),
    /// **Who coordinates a group**: the incarnation of an agent and the coordinator epoch. JSON, `sh_node::groups`. Locked *and
    /// written* by everything that changes a group, so that it covers the four families below, and fences every former
    /// coordinator. Written first when the group begins, last when it is deleted.
    GroupCoordinator(Org, String),
    /// **A group**, classic or of KIP-848: generation or epoch. JSON, `sh_coord::row`. Written at each completed rebalance;
    /// deleted with the group. Covered by `GroupCoordinator`.
    Group(Org, String),
    /// A member of a group, by its id, and what it was assigned. JSON, `sh_coord::row`; while a change is under way that one
    /// update cannot hold, `staged` of `sh_node`, then also a row of the empty id. Covered by `GroupCoordinator`.
    GroupMember(Org, String, String),
    /// **A committed offset** of a group, by topic id: a topic that is created anew has none. JSON, `sh_coord::offsets`.
    /// Written by commits and by the end of a transaction; goes with its retention, its topic or its group. Covered by
    /// `GroupCoordinator`.
    GroupOffset(Org, String, TopicId, PartitionIndex),
    /// **An offset that a transaction commits when it ends**; the same value. Its end makes it a `GroupOffset` or drops it.
    /// Covered by `GroupCoordinator`.
    TxnOffset(Org, String, ProducerId, TopicId, PartitionIndex),
}

/// A half-open range of key bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: Bytes,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("these bytes are not a key of this version: {0:02x?}")]
pub struct InvalidKey(pub Vec<u8>);

impl Key {
    pub fn family(&self) -> Family {
        match self {
            Key::Object(_) => Family::Object,
            Key::Agent(_) => Family::Agent,
            Key::Transaction(..) => Family::Transaction,
            Key::Head(_) => Family::Head,
            Key::Producer(..) => Family::Producer,
            Key::Extent(..) => Family::Extent,
            Key::AbortedTransaction(..) => Family::AbortedTransaction,
            Key::Topic(_) => Family::Topic,
            Key::TopicName(..) => Family::TopicName,
            Key::Config(..) => Family::Config,
            Key::Counter(_) => Family::Counter,
            Key::Cluster => Family::Cluster,
            Key::Secret(_) => Family::Secret,
            Key::GroupCoordinator(..) => Family::GroupCoordinator,
            Key::Group(..) => Family::Group,
            Key::GroupMember(..) => Family::GroupMember,
            Key::GroupOffset(..) => Family::GroupOffset,
            Key::TxnOffset(..) => Family::TxnOffset,
        }
    }

    /// The key's bytes; see the module for the layout.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![self.family() as u8];
        match self {
            Key::Object(id) => put_object(&mut out, id),
            Key::Agent(id) => out.extend(id.0.to_be_bytes()),
            Key::Transaction(org, id) => put_text(&mut out, [org.as_str(), id]),
            Key::Head(tp) => put_partition(&mut out, tp),
            Key::Producer(tp, id) => {
                put_partition(&mut out, tp);
                out.extend(ordered(id.0));
            }
            Key::Extent(tp, base) | Key::AbortedTransaction(tp, base) => {
                put_partition(&mut out, tp);
                out.extend(ordered(*base));
            }
            Key::Topic(id) => out.extend(id.0.as_bytes()),
            Key::TopicName(org, name) => put_text(&mut out, [org.as_str(), name.as_str()]),
            Key::Config(org, kind, name) => put_text(&mut out, [org.as_str(), kind, name]),
            Key::Counter(name) => put_text(&mut out, [name.as_str()]),
            Key::Cluster => {}
            Key::Secret(name) => put_text(&mut out, [name.as_str()]),
            Key::GroupCoordinator(org, group) | Key::Group(org, group) => {
                put_text(&mut out, [org.as_str(), group])
            }
            Key::GroupMember(org, group, member) => {
                put_group(&mut out, org, group);
                put_text(&mut out, [member.as_str()]);
            }
            Key::GroupOffset(org, group, topic, partition) => {
                put_group(&mut out, org, group);
                put_group_partition(&mut out, topic, *partition);
            }
            Key::TxnOffset(org, group, producer, topic, partition) => {
                put_group(&mut out, org, group);
                out.extend(ordered(producer.0));
                put_group_partition(&mut out, topic, *partition);
            }
        }
        out.into()
    }

    /// Reads a key back; every key has exactly one form.
    pub fn decode(bytes: &[u8]) -> Result<Key, InvalidKey> {
        let bad = || InvalidKey(bytes.to_vec());
        let mut r = Reader(bytes);
        let key = r.key().ok_or_else(bad)?;
        if r.0.is_empty() && key.encode() == bytes {
            Ok(key)
        } else {
            Err(bad())
        }
    }
}

impl KeyRange {
    /// All keys that begin with these bytes.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> KeyRange {
        let start: Vec<u8> = prefix.into();
        let mut end = start.clone();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.push(u8::MAX),
        }
        KeyRange {
            start: start.into(),
            end: end.into(),
        }
    }
    /// Every key there is: no family's tag is 0xff.
    pub fn all() -> KeyRange {
        KeyRange::prefix([])
    }
    pub fn family(family: Family) -> KeyRange {
        KeyRange::prefix([family as u8])
    }
    /// The extents of a partition whose base offset lies in `[from, to)`.
    pub fn extents(tp: TopicPartition, from: Offset, to: Offset) -> KeyRange {
        KeyRange {
            start: Key::Extent(tp, from).encode(),
            end: Key::Extent(tp, to).encode(),
        }
    }
    /// The aborted transactions of a partition whose marker lies in `[from, to)`.
    pub fn aborted_transactions(tp: TopicPartition, from: Offset, to: Offset) -> KeyRange {
        KeyRange {
            start: Key::AbortedTransaction(tp, from).encode(),
            end: Key::AbortedTransaction(tp, to).encode(),
        }
    }
    /// The transactional ids of an org.
    pub fn transactions(org: &Org) -> KeyRange {
        let mut prefix = vec![Family::Transaction as u8];
        put_text(&mut prefix, [org.as_str()]);
        prefix.push(0);
        KeyRange::prefix(prefix)
    }
    /// The extents of all partitions of a topic, by partition and base offset.
    pub fn extents_of_topic(topic: TopicId) -> KeyRange {
        KeyRange::of_topic(Family::Extent, topic)
    }
    /// The heads of all partitions of a topic, by partition.
    pub fn heads_of_topic(topic: TopicId) -> KeyRange {
        KeyRange::of_topic(Family::Head, topic)
    }
    fn of_topic(family: Family, topic: TopicId) -> KeyRange {
        KeyRange::prefix([&[family as u8], &topic.0.as_bytes()[..]].concat())
    }
    /// What one partition knows of its producers.
    pub fn producers(tp: TopicPartition) -> KeyRange {
        let mut prefix = vec![Family::Producer as u8];
        put_partition(&mut prefix, &tp);
        KeyRange::prefix(prefix)
    }
    /// The fates of one incarnation's objects.
    pub fn objects(by: Incarnation) -> KeyRange {
        let mut prefix = vec![Family::Object as u8];
        put_incarnation(&mut prefix, &by);
        KeyRange::prefix(prefix)
    }
    /// The living topics of an org, by name.
    pub fn topic_names(org: &Org) -> KeyRange {
        let mut prefix = vec![Family::TopicName as u8];
        put_text(&mut prefix, [org.as_str()]);
        prefix.push(0);
        KeyRange::prefix(prefix)
    }
    /// The configs of one kind of an org.
    pub fn configs(org: &Org, kind: &str) -> KeyRange {
        let mut prefix = vec![Family::Config as u8];
        put_text(&mut prefix, [org.as_str(), kind]);
        prefix.push(0);
        KeyRange::prefix(prefix)
    }
    /// The groups of an org, by id.
    pub fn groups(org: &Org) -> KeyRange {
        let mut prefix = vec![Family::Group as u8];
        put_text(&mut prefix, [org.as_str()]);
        prefix.push(0);
        KeyRange::prefix(prefix)
    }
    /// The members of all groups of an org.
    pub fn members_of_org(org: &Org) -> KeyRange {
        let mut prefix = vec![Family::GroupMember as u8];
        put_text(&mut prefix, [org.as_str()]);
        prefix.push(0);
        KeyRange::prefix(prefix)
    }
    /// The members of one group.
    pub fn group_members(org: &Org, group: &str) -> KeyRange {
        KeyRange::of_group(Family::GroupMember, org, group)
    }
    /// The committed offsets of one group.
    pub fn group_offsets(org: &Org, group: &str) -> KeyRange {
        KeyRange::of_group(Family::GroupOffset, org, group)
    }
    /// What open transactions will commit for one group.
    pub fn txn_offsets(org: &Org, group: &str) -> KeyRange {
        KeyRange::of_group(Family::TxnOffset, org, group)
    }
    /// What the open transaction of one producer will commit for one group.
    pub fn txn_offsets_of(org: &Org, group: &str, producer: ProducerId) -> KeyRange {
        let mut prefix = vec![Family::TxnOffset as u8];
        put_group(&mut prefix, org, group);
        prefix.extend(ordered(producer.0));
        KeyRange::prefix(prefix)
    }
    fn of_group(family: Family, org: &Org, group: &str) -> KeyRange {
        let mut prefix = vec![family as u8];
        put_group(&mut prefix, org, group);
        KeyRange::prefix(prefix)
    }
    pub fn contains(&self, key: &[u8]) -> bool {
        &self.start[..] <= key && key < &self.end[..]
    }
}

/// An i64 whose byte order is its numeric order.
fn ordered(n: i64) -> [u8; 8] {
    ((n as u64) ^ (1 << 63)).to_be_bytes()
}

fn put_incarnation(out: &mut Vec<u8>, by: &Incarnation) {
    out.extend(by.agent.0.to_be_bytes());
    out.extend(by.epoch.to_be_bytes());
    out.extend(by.nonce.to_be_bytes());
}

fn put_object(out: &mut Vec<u8>, id: &ObjectId) {
    put_incarnation(out, &id.by);
    out.extend(id.seq.to_be_bytes());
}

fn put_partition(out: &mut Vec<u8>, tp: &TopicPartition) {
    out.extend(tp.topic.0.as_bytes());
    out.extend(tp.partition.to_be_bytes());
}

/// Texts, separated by a zero byte (none of ours contains one; the last may).
fn put_text<const N: usize>(out: &mut Vec<u8>, texts: [&str; N]) {
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            out.push(0);
        }
        out.extend(text.as_bytes());
    }
}

/// A group's name before other fields. It may hold any character, so that a zero byte in it is written `00 ff` and its end
/// `00 01`: byte order stays the order of names.
fn put_group(out: &mut Vec<u8>, org: &Org, group: &str) {
    put_text(out, [org.as_str()]);
    out.push(0);
    for byte in group.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(u8::MAX);
        }
    }
    out.extend([0, 1]);
}

/// Clients may commit for partitions of any number, negative ones too.
fn put_group_partition(out: &mut Vec<u8>, topic: &TopicId, partition: PartitionIndex) {
    out.extend(topic.0.as_bytes());
    out.extend(((partition as u32) ^ (1 << 31)).to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn key(&mut self) -> Option<Key> {
        Some(match self.array::<1>()?[0] {
            0x10 => Key::Object(ObjectId {
                by: Incarnation {
                    agent: AgentId(u32::from_be_bytes(self.array()?)),
                    epoch: u32::from_be_bytes(self.array()?),
                    nonce: u64::from_be_bytes(self.array()?),
                },
                seq: u64::from_be_bytes(self.array()?),
            }),
            0x20 => Key::Agent(AgentId(u32::from_be_bytes(self.array()?))),
            0x30 => Key::Transaction(self.org()?, self.rest()?),
            0x40 => Key::Head(self.partition()?),
            0x50 => Key::Producer(self.partition()?, ProducerId(self.number()?)),
            0x60 => Key::Extent(self.partition()?, self.number()?),
            0x61 => Key::AbortedTransaction(self.partition()?, self.number()?),
            0x70 => Key::Topic(TopicId(uuid::Uuid::from_bytes(self.array()?))),
            0x71 => Key::TopicName(self.org()?, self.rest()?.as_str().try_into().ok()?),
            0x72 => Key::Config(self.org()?, self.word()?, self.rest()?),
            0x73 => Key::Counter(self.rest()?),
            0x74 => Key::Cluster,
            0x7f => Key::Secret(self.rest()?),
            0x80 => Key::GroupCoordinator(self.org()?, self.rest()?),
            0x81 => Key::Group(self.org()?, self.rest()?),
            0x82 => Key::GroupMember(self.org()?, self.escaped()?, self.rest()?),
            0x83 => {
                let (org, group) = (self.org()?, self.escaped()?);
                let (topic, partition) = self.group_partition()?;
                Key::GroupOffset(org, group, topic, partition)
            }
            0x84 => {
                let (org, group) = (self.org()?, self.escaped()?);
                let producer = ProducerId(self.number()?);
                let (topic, partition) = self.group_partition()?;
                Key::TxnOffset(org, group, producer, topic, partition)
            }
            _ => return None,
        })
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    fn number(&mut self) -> Option<i64> {
        Some((u64::from_be_bytes(self.array()?) ^ (1 << 63)) as i64)
    }
    fn partition(&mut self) -> Option<TopicPartition> {
        let topic = TopicId(uuid::Uuid::from_bytes(self.array()?));
        Some(TopicPartition {
            topic,
            partition: i32::from_be_bytes(self.array()?),
        })
    }
    fn group_partition(&mut self) -> Option<(TopicId, PartitionIndex)> {
        let topic = TopicId(uuid::Uuid::from_bytes(self.array()?));
        let partition = u32::from_be_bytes(self.array()?) ^ (1 << 31);
        Some((topic, partition as i32))
    }
    /// The reverse of [`put_group`].
    fn escaped(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            match self.array::<1>()?[0] {
                0 if self.array::<1>()?[0] == 1 => return String::from_utf8(text).ok(),
                byte => text.push(byte),
            }
        }
    }
    fn word(&mut self) -> Option<String> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let word = std::str::from_utf8(&self.0[..end]).ok()?.to_owned();
        self.0 = &self.0[end + 1..];
        Some(word)
    }
    fn org(&mut self) -> Option<Org> {
        self.word()?.as_str().try_into().ok()
    }
    fn rest(&mut self) -> Option<String> {
        let text = std::str::from_utf8(self.0).ok()?.to_owned();
        self.0 = &[];
        Some(text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn any_partition() -> impl Strategy<Value = TopicPartition> {
        // Few topics, so that keys often share a prefix.
        (0..3u128, 0..=i32::MAX).prop_map(|(topic, partition)| {
            TopicPartition::new(TopicId(Uuid::from_u128(topic << 64)), partition)
        })
    }

    fn any_org() -> impl Strategy<Value = Org> {
        "[a-z0-9-]{1,4}".prop_map(|org| Org::try_from(org.as_str()).unwrap())
    }

    pub(crate) fn any_key() -> impl Strategy<Value = Key> {
        let incarnation =
            (0..3u32, any::<u32>(), any::<u64>()).prop_map(|(agent, epoch, nonce)| Incarnation {
                agent: AgentId(agent),
                epoch,
                nonce,
            });
        let name =
            "[a-zA-Z0-9_-]{1,4}".prop_map(|name| TopicName::try_from(name.as_str()).unwrap());
        prop_oneof![
            (incarnation, any::<u64>()).prop_map(|(by, seq)| Key::Object(ObjectId { by, seq })),
            any::<u32>().prop_map(|id| Key::Agent(AgentId(id))),
            (any_org(), ".{0,4}").prop_map(|(org, id)| Key::Transaction(org, id)),
            any_partition().prop_map(Key::Head),
            (any_partition(), any::<i64>()).prop_map(|(tp, id)| Key::Producer(tp, ProducerId(id))),
            (any_partition(), any::<i64>()).prop_map(|(tp, base)| Key::Extent(tp, base)),
            (any_partition(), any::<i64>())
                .prop_map(|(tp, marker)| Key::AbortedTransaction(tp, marker)),
            any::<u128>().prop_map(|id| Key::Topic(TopicId(Uuid::from_u128(id)))),
            (any_org(), name).prop_map(|(org, name)| Key::TopicName(org, name)),
            (any_org(), "[a-z-]{1,4}", ".{0,4}")
                .prop_map(|(o, kind, name)| Key::Config(o, kind, name)),
            ".{0,4}".prop_map(Key::Counter),
            Just(Key::Cluster),
            ".{0,4}".prop_map(Key::Secret),
            any_group_key(),
        ]
    }

    fn any_group_key() -> impl Strategy<Value = Key> {
        // Names that hold, and end in, what separates fields.
        let group = || "[a\u{0}\u{1}\u{ff}]{0,3}";
        let topic = || (0..3u128).prop_map(|id| TopicId(Uuid::from_u128(id << 64)));
        prop_oneof![
            (any_org(), group()).prop_map(|(org, group)| Key::GroupCoordinator(org, group)),
            (any_org(), group()).prop_map(|(org, group)| Key::Group(org, group)),
            (any_org(), group(), group()).prop_map(|(org, g, m)| Key::GroupMember(org, g, m)),
            (any_org(), group(), topic(), any::<i32>())
                .prop_map(|(org, g, t, p)| Key::GroupOffset(org, g, t, p)),
            (any_org(), group(), any::<i64>(), topic(), any::<i32>())
                .prop_map(|(org, g, id, t, p)| Key::TxnOffset(org, g, ProducerId(id), t, p)),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_bytes_is_the_order_of_keys(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn a_key_reads_back_and_lies_in_its_family(key in any_key()) {
            let bytes = key.encode();
            prop_assert_eq!(Key::decode(&bytes), Ok(key.clone()));
            prop_assert!(KeyRange::family(key.family()).contains(&bytes));
            prop_assert!(KeyRange::all().contains(&bytes));
        }

        #[test]
        fn bytes_from_anywhere_are_a_key_of_that_form_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(key) = Key::decode(&bytes) {
                prop_assert_eq!(&key.encode()[..], &bytes[..]);
            }
        }

        #[test]
        fn a_prefix_holds_exactly_what_begins_with_it(
            prefix in prop::collection::vec(prop_oneof![Just(254u8), Just(255)], 0..3),
            key in prop::collection::vec(prop_oneof![Just(253u8), Just(254), Just(255)], 1..4),
        ) {
            prop_assume!(key[0] != 255);
            prop_assert_eq!(KeyRange::prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }
    }

    #[test]
    fn families_are_locked_in_the_order_of_the_design() {
        let order = [
            Family::Object,
            Family::Agent,
            Family::Transaction,
            Family::Head,
            Family::Producer,
        ];
        assert_eq!(Family::ALL[..5], order, "the rest follows");
        assert!(Family::ALL.is_sorted());
    }

    #[test]
    fn the_names_of_an_org_do_not_run_into_another_org() {
        let org = |name| Org::try_from(name).unwrap();
        let key = |o, name| Key::TopicName(org(o), TopicName::try_from(name).unwrap()).encode();
        let names = KeyRange::topic_names(&org("a"));
        assert!(names.contains(&key("a", "t")) && !names.contains(&key("a-b", "t")));
    }
}
