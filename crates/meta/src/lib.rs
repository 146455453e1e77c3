//! The metadata seam: an ordered key-value space with short pessimistic transactions, and the documented keyspace.
//!
//! All metadata logic is pure functions (old values, command) -> (new values, reply) that run inside [`MetaStore::update`];
//! they live beside the thing they decide about and are tested without a database.
//!
//! [`open()`] gives a store by URL, [`Lane`] writes to it in order, [`FeedReader`] follows what everybody wrote, [`Guard`]
//! notices when the store is no longer the one that this process knows.
mod backoff;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod entry;
pub mod guard;
pub mod key;
pub mod lane;
pub mod memory;
pub mod open;
pub mod postgres;
mod rules;
mod serial;
pub mod sqlite;
pub mod store;
pub mod watch;

pub use guard::Guard;
pub use key::{Family, Key, KeyRange};
pub use lane::{Lane, Plan};
pub use memory::MemoryStore;
pub use open::{OpenError, open};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use store::{
    Apply, Change, Cursor, Decision, FeedEntry, Identity, LaneId, MetaError, MetaStore, Request,
    Row, Update, View, Write,
};
pub use watch::FeedReader;
