//! Group coordination: consumer groups of the classic protocol and of KIP-848, and the rules of committed offsets.
//!
//! A [`Group`] is a protocol machine without I/O: it takes an [`Event`] and the moment, and returns [`Output`]s: answers to
//! give and rows to store. It reads no clock, knows no database and no wire format. Whatever agent holds a group's
//! coordinator row drives its machine; any agent can [`Group::restore`] it from its rows. Committed offsets are rows too, but
//! no machine holds them: a transaction that ends elsewhere writes them as well, so the store alone knows them.
//!
//! The map: `group` is the door; `classic` and `consumer` are the two protocols, `migrate` leads from one to the other;
//! `outbox` holds answers back until what they rest on is durable; `assign` spreads partitions; `offsets` are the rules of
//! commits; `command`, `reply` and `row` are the plain data at the edges.
//!
//! *Invariants.* Every request is answered exactly once. A partition has at most one owner in a generation or epoch. A
//! take-over rebalances nothing. No answer leaves before what it rests on is durable.
pub mod assign;
mod classic;
pub mod command;
mod consumer;
mod embedded;
pub mod error;
mod group;
mod migrate;
#[cfg(any(test, feature = "testing"))]
pub mod mutant;
#[cfg(not(any(test, feature = "testing")))]
mod mutant;
pub mod offsets;
mod outbox;
pub mod reply;
pub mod row;
pub mod settings;
mod timers;
pub mod topics;

pub use command::{Client, Command, RequestId};
pub use consumer::compile_pattern;
pub use error::{GroupError, Refusal};
pub use group::{Event, Group, Now, Snapshot};
pub use outbox::{Change, Changes, OffsetChange, Output, Persist};
pub use reply::Reply;
pub use settings::GroupSettings;
pub use topics::{Topic, Topics};
