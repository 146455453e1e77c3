//! Kafka's own clients with their default settings.
use std::path::Path;

use anyhow::{Context, Result};

use crate::server::{java, output};

/// MiB per second of Kafka's ProducerPerformance with records of 1,000 bytes.
pub fn producer(
    jars: &Path,
    address: &str,
    topic: &str,
    records: u64,
    settings: &[&str],
) -> Result<f64> {
    let mut command = java(jars, "org.apache.kafka.tools.ProducerPerformance");
    command
        .args(["--topic", topic, "--num-records", &records.to_string()])
        .args([
            "--record-size",
            "1000",
            "--throughput",
            "-1",
            "--producer-props",
        ])
        .arg(format!("bootstrap.servers={address}"))
        .args(settings);
    let said = output(&mut command)?;
    // `250000 records sent, 12345.6 records/sec (11.77 MB/sec), ...`; the last such line is the whole run.
    let last = said
        .lines()
        .rev()
        .find_map(|line| line.split_once("records/sec ("));
    let rate = last.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    rate.with_context(|| format!("ProducerPerformance said:\n{said}"))
}

/// MiB per second of a consumer that is warm. The program is compiled as it is run.
pub fn consumer(
    jars: &Path,
    address: &str,
    topic: &str,
    partitions: i32,
    records: u64,
) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("ConsumerLoad.java");
    std::fs::write(&program, include_str!("../java/ConsumerLoad.java"))?;
    let mut command = java(jars, &program.display().to_string());
    let said = output(command.args([
        address,
        topic,
        &partitions.to_string(),
        &records.to_string(),
    ]))?;
    said.trim()
        .parse()
        .with_context(|| format!("ConsumerLoad said:\n{said}"))
}
