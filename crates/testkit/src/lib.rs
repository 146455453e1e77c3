//! What proves the house: the oracle that compares us with Apache Kafka.
pub mod oracle;
