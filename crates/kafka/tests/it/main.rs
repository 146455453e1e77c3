//! The Kafka door, told as stories.
mod connection;
mod protocol;
mod records;
mod world;
