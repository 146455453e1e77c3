#![allow(
    clippy::disallowed_methods,
    reason = "these tests are of the real world: they read the clock and the environment"
)]

mod client;
mod oracle;
mod servers;
mod sim;
mod torture;
