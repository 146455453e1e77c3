//! The servers that the tests talk to.
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// A StreamHouse of its own, with an empty data folder; stopped when dropped.
pub struct OurServer {
    pub address: String,
    process: Child,
    _data: TempDir,
}

impl OurServer {
    pub async fn start() -> OurServer {
        let binary = wanted("STREAMHOUSE_BIN");
        let data = TempDir::new().expect("a temporary folder");
        let (kafka, http) = (free_address(), free_address());
        let process = Command::new(&binary)
            .arg("serve")
            .arg("--data")
            .arg(data.path())
            .args(["--kafka", &kafka, "--http", &http])
            .args(SETTINGS.iter().flat_map(|s| ["--set", *s]))
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{binary} does not start: {e}"));
        let server = OurServer {
            address: kafka,
            process,
            _data: data,
        };
        server.wait_until_it_answers().await;
        server
    }

    async fn wait_until_it_answers(&self) {
        for _ in 0..400 {
            if sh_client::Connection::open(&self.address, "test", Duration::from_secs(1))
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not answer on {} within 20 s", self.address);
    }
}

/// What the reference is run with, where it means something here too: so the same configs are static on both sides.
const SETTINGS: [&str; 13] = [
    "num.partitions=4",
    "auto.create.topics.enable=true",
    "default.replication.factor=1",
    "offsets.topic.replication.factor=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=100",
    "group.max.size=12",
    "group.consumer.min.heartbeat.interval.ms=100",
    "group.consumer.heartbeat.interval.ms=500",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.max.size=12",
];

impl Drop for OurServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The address of a running Apache Kafka 4.3.1.
pub fn reference() -> String {
    wanted("STREAMHOUSE_TEST_ORACLE")
}

fn wanted(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run `cargo xtask test`, which starts what the tests need")
    })
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
