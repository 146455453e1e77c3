//! The Kafka door, told as stories.
mod connection;
