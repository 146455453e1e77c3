//! Every bound of the house, in one place; names end with the unit and a qualifier.

/// The largest Kafka request frame that is read (Kafka's `socket.request.max.bytes`).
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The largest record batch that is stored, whatever a topic's `max.message.bytes` says.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A batch of this many decompressed bytes is a bomb, not data.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How many rows of one kind one metadata update may write (DESIGN 4).
pub const UPDATE_EXTENTS_MAX: usize = 4_000;
/// How many batches of one producer and partition are remembered for the duplicate check (Kafka's own five).
pub const PRODUCER_BATCHES_KEPT: usize = 5;
/// A group's id, and a member's: they are parts of one key, and Postgres takes keys of 2,704 bytes at the most, escapes included.
pub const GROUP_ID_BYTES_MAX: usize = 600;
pub const MEMBER_ID_BYTES_MAX: usize = 600;
/// Any other name that clients choose and that is a part of a key: a transactional id, a client-metrics subscription.
pub const KEY_NAME_BYTES_MAX: usize = 600;
/// What one member of a group may have stored: its subscription, and its assignment (as Kafka's `message.max.bytes`).
pub const MEMBER_BYTES_MAX: usize = 1024 * 1024;
/// Partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: i32 = 100_000;

const _: () = assert!(BATCH_BYTES_MAX <= FRAME_BYTES_MAX);
