//! A simulated world: whole agents (the Kafka door, `node`, `log` and the logic of `meta`) on one thread, in virtual time, with
//! seeded chance, on one bucket and one metadata store that lie, beside producers and consumers that speak the wire protocol.
//!
//! [`Plan::of_seed`] says what happens, [`run()`] lets it happen and judges it, [`shrink()`] makes a plan that fails smaller. The
//! same plan gives the same run, byte for byte: nothing here reads a clock, and nothing iterates over a map in random order.
pub mod client;
pub mod consumer;
pub mod crash;
mod disk;
pub mod groups;
mod judge;
mod late;
mod liar;
pub mod life;
pub mod plan;
pub mod producer;
pub mod reads;
mod run;
pub mod shrink;
pub mod transactions;
pub mod world;

pub use plan::Plan;
pub use run::{Outcome, Problem, run};
pub use shrink::shrink;
