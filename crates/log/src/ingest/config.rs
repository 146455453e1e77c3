//! Settings of the ingest window. Each is a trade between latency, requests to the bucket and memory.
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// A window of this many bytes is closed at once. Larger: fewer, cheaper PUTs per GiB and better objects to read; smaller:
    /// less memory per window in flight. Default 8 MiB, what S3 moves well in one PUT.
    pub window_bytes_max: usize,
    /// A window is closed at this age at the latest. It bounds what a busy agent adds to a produce (half of it on average),
    /// and the PUTs of a busy second (1 s / 200 ms = 5).
    pub window_age_max: Duration,
    /// A window is closed early when no upload is in flight and nothing has arrived for this long: whoever is writing is
    /// waiting for us. Where PUTs are quick, a sixteenth of a PUT is waited instead.
    pub quiet_max: Duration,
    /// Early closes per second that may be spent, and how many may be saved up. They bound the request cost of producers that
    /// send one record at a time. A folder on disk costs nothing per write: it gets a large budget.
    pub early_closes_per_second: f64,
    pub early_closes_burst: f64,
    /// With this many windows uploading or waiting for their commit, an open one grows instead of being closed by age.
    pub windows_in_flight: usize,
    /// What the WAL may hold of records that are not committed; past it, acks=1 is answered as durable.
    pub wal_bytes_max: u64,
    /// How long a partition that was wanted by another agent takes no lease.
    pub lease_pause: Duration,
    /// How long a partition remembers a producer that no longer writes (`producer.id.expiration.ms`), milliseconds. Shorter:
    /// fewer rows; but a retry that comes later than this is stored again.
    pub producer_expiry_ms: i64,
    /// A lease that nothing was written under for this long is given up.
    pub lease_idle: Duration,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            window_bytes_max: 8 * 1024 * 1024,
            window_age_max: Duration::from_millis(200),
            quiet_max: Duration::from_millis(5),
            early_closes_per_second: 10.0,
            early_closes_burst: 20.0,
            windows_in_flight: 4,
            wal_bytes_max: 1024 * 1024 * 1024,
            lease_pause: Duration::from_secs(10),
            producer_expiry_ms: 86_400_000,
            lease_idle: Duration::from_secs(60),
        }
    }
}
