//! The stores keep their promises.
mod memory;
mod postgres;
mod sqlite;
