//! The metadata seam: an ordered key-value space with short pessimistic transactions, and the documented keyspace.
//!
//! All metadata logic is pure functions (old values, command) -> (new values, reply) that run inside [`MetaStore::update`];
//! they live beside the thing they decide about and are tested without a database.
pub mod key;
pub mod store;

pub use key::{Family, Key, KeyRange};
pub use store::{
    Change, Cursor, Decision, FeedEntry, Identity, LaneId, MetaError, MetaStore, Request, Row,
    Update, View, Write,
};
