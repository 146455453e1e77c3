//! The Kafka door, told as stories.
mod away;
mod connection;
mod gate;
mod protocol;
mod records;
mod world;
