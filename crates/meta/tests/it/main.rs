//! The stores keep their promises.
mod fake;
mod guard;
mod lane;
mod memory;
mod postgres;
mod rates;
mod sqlite;
