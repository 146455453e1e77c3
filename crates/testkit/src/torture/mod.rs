//! The server under fire: real processes that are killed, stopped and cut off from their stores while real flights are
//! written; then everything is read and the [`history`] goes to the [`check`]er.
#![allow(
    clippy::disallowed_methods,
    reason = "this is a test of the real world: it reads the clock and the environment"
)]

pub mod agent;
pub mod chance;
pub mod check;
pub mod churn;
pub mod copies;
pub mod copying;
pub mod disk;
pub mod endurance;
pub mod flights;
pub mod frames;
pub mod history;
pub mod kills;
pub mod proxy;
pub mod reading;
pub mod scene;
pub mod services;
pub mod transaction;
pub mod watch;
pub mod wire;
pub mod writer;
