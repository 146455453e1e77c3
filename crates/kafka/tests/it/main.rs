//! The Kafka door, told as stories.
mod admin;
mod away;
mod connection;
mod gate;
mod protocol;
mod records;
mod transactions;
mod world;
