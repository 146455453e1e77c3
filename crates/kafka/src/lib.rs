//! The Kafka door: the wire protocol over the calls of `node`.
//!
//! [`serve`] accepts connections; each is one task ([`connection`]) that reads frames, starts requests and writes answers in the
//! order of the requests. [`api`] holds one module for each API key and the table of the versions that are advertised;
//! [`errors`] the one table from the house's error codes to Kafka's.
pub mod api;
mod chunks;
pub mod connection;
pub mod door;
pub mod errors;
pub mod frames;
pub mod otlp;
mod places;
mod queue;
mod server;
pub mod sessions;

pub use door::{Ctx, Door, DoorConfig};
pub use server::serve;
