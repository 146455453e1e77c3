//! What proves the house: the oracle that compares us with Apache Kafka, and the torture that servers must survive.
pub mod oracle;
pub mod sim;
pub mod torture;
