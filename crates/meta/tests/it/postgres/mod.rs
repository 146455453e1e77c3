//! Real Postgres: the suite, and what only a database across a network can do.
mod connections;
mod failures;
mod proxy;
pub mod server;

sh_meta::conformance!(server::fresh);
