//! The write path of one agent (DESIGN 5): a machine without I/O, and the driver that gives it hands.
pub mod config;
mod driver;
mod lease;
mod machine;
mod part;
#[cfg(test)]
mod sim;
mod window;

pub use config::IngestConfig;
pub use driver::{Drained, Driver, Hands, Mailbox, spawn};
pub(crate) use lease::read_producers;
pub use lease::{LeaseTaken, await_free, await_unleased, release_lease, take_lease};
pub use machine::{Committed, Effect, Event, Machine, Restored, RestoredEntry, Sealed, SealedRun};
pub use part::HeldLease;
