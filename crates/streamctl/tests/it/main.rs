//! The binary as scripts meet it, against the real server.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start processes, wait for them, and are told where they are"
)]
mod consume;
mod failures;
mod groups;
mod produce;
mod running;
mod topics;
mod transactions;
mod writer;
