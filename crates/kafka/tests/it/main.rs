//! The Kafka door, told as stories.
mod admin;
mod away;
mod connection;
mod gate;
mod internal;
mod protocol;
mod records;
mod telemetry;
mod transactions;
mod world;
