//! The stores keep their promises.
mod memory;
mod sqlite;
