//! Settings: flags before environment before file before defaults. `docs/settings.md` lists them all.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use sh_base::batch::Codec;

/// What was set, by whichever way; unset ones are `None`. The names of the flags (`--window-bytes`), of the variables
/// (`STREAMHOUSE_WINDOW_BYTES`) and of the keys in the file (`window_bytes`) are one list.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// Folder of the WAL and the agent's id, and by default of the embedded bucket and metadata [default: ./streamhouse-data]
    #[arg(long, env = "STREAMHOUSE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where Kafka clients connect [default: 127.0.0.1:9092]
    #[arg(long, env = "STREAMHOUSE_KAFKA", value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// The address that clients are told, if it is not the one listened on
    #[arg(long, env = "STREAMHOUSE_KAFKA_ADVERTISED", value_name = "HOST:PORT")]
    pub kafka_advertised: Option<String>,
    /// Where /healthz, /readyz and /metrics are served [default: 127.0.0.1:8080]
    #[arg(long, env = "STREAMHOUSE_HTTP", value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// The address at which other agents reach --http, if it is not the one listened on
    #[arg(long, env = "STREAMHOUSE_HTTP_ADVERTISED", value_name = "HOST:PORT")]
    pub http_advertised: Option<String>,
    /// The bucket: file:///DIR or s3://BUCKET/PREFIX?endpoint=URL&region=NAME [default: a folder in --data]
    #[arg(long, env = "STREAMHOUSE_BUCKET", value_name = "URL")]
    pub bucket: Option<String>,
    /// The metadata store: sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE [default: a file in --data]
    #[arg(long, env = "STREAMHOUSE_METADATA", value_name = "URL")]
    pub metadata: Option<String>,
    /// Listen on an address that others can reach, without authentication
    #[arg(long, env = "STREAMHOUSE_INSECURE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<bool>,
    /// The availability zone of this agent; shown to clients as its rack
    #[arg(long, env = "STREAMHOUSE_ZONE", value_name = "NAME")]
    pub zone: Option<String>,
    /// What is logged, as in `info` or `info,sh_log=debug` [default: info]
    #[arg(long, env = "STREAMHOUSE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// What requests may hold in memory until they are committed; past it connections are not read [default: 256 MiB]
    #[arg(long, env = "STREAMHOUSE_MEMORY_BYTES", value_name = "BYTES")]
    pub memory_bytes: Option<usize>,
    /// Memory for object bytes that were written or read lately [default: 256 MiB on S3, 32 MiB in a folder, which the system keeps in memory itself]
    #[arg(long, env = "STREAMHOUSE_CACHE_BYTES", value_name = "BYTES")]
    pub cache_bytes: Option<usize>,
    /// What answers to consumers may hold in memory until they are sent; where it is short, an answer has fewer records [default: 256 MiB]
    #[arg(long, env = "STREAMHOUSE_ANSWER_BYTES", value_name = "BYTES")]
    pub answer_bytes: Option<usize>,
    /// What the WAL may hold of acks=1 records that are not committed [default: 1 GiB]
    #[arg(long, env = "STREAMHOUSE_WAL_BYTES", value_name = "BYTES")]
    pub wal_bytes: Option<u64>,
    /// Store the batches of a WAL that is older than producer.id.expiration.ms without asking; some may be stored twice
    #[arg(long, env = "STREAMHOUSE_REPLAY_OLD", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub replay_old: Option<bool>,
    /// The codec for batches that come uncompressed, where the topic's compression.type is producer: none, lz4 or zstd [default: none]
    #[arg(long, env = "STREAMHOUSE_SEGMENT_COMPRESSION", value_name = "CODEC")]
    pub segment_compression: Option<SegmentCompression>,
    /// An ingest window of this size is uploaded at once [default: 8 MiB]
    #[arg(long, env = "STREAMHOUSE_WINDOW_BYTES", value_name = "BYTES")]
    pub window_bytes: Option<usize>,
    /// An ingest window of this age is uploaded at the latest [default: 200]
    #[arg(long, env = "STREAMHOUSE_WINDOW_MS", value_name = "MS")]
    pub window_ms: Option<u64>,
    /// A window is uploaded early when nothing arrived for this long [default: 5]
    #[arg(long, env = "STREAMHOUSE_QUIET_MS", value_name = "MS")]
    pub quiet_ms: Option<u64>,
    /// Early uploads per second that may be spent; twice as many are saved up [default: 10 on S3, 1000 in a folder]
    #[arg(long, env = "STREAMHOUSE_EARLY_UPLOADS", value_name = "PER_SECOND")]
    pub early_uploads: Option<f64>,
    /// A Kafka broker setting, as in num.partitions=4 (repeatable)
    #[arg(
        long = "set",
        env = "STREAMHOUSE_SET",
        value_name = "NAME=VALUE",
        value_delimiter = ';'
    )]
    #[serde(skip)]
    pub set: Vec<String>,
    /// Kafka broker settings of the file.
    #[arg(skip)]
    pub kafka_table: BTreeMap<String, toml::Value>,
}

/// `--segment-compression`: what plain batches are stored as.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SegmentCompression {
    #[default]
    None,
    Lz4,
    Zstd,
}

impl SegmentCompression {
    pub fn codec(self) -> Option<Codec> {
        match self {
            SegmentCompression::None => None,
            SegmentCompression::Lz4 => Some(Codec::Lz4),
            SegmentCompression::Zstd => Some(Codec::Zstd),
        }
    }
}

/// The settings of a server, complete and without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub data: PathBuf,
    pub kafka: SocketAddr,
    pub kafka_advertised: Option<(String, u16)>,
    pub http: SocketAddr,
    pub http_advertised: Option<(String, u16)>,
    pub bucket: String,
    pub metadata: String,
    pub zone: Option<String>,
    pub log: String,
    pub memory_bytes: usize,
    pub cache_bytes: usize,
    pub answer_bytes: usize,
    pub wal_bytes: u64,
    pub replay_old: bool,
    pub segment_compression: SegmentCompression,
    pub window_bytes: usize,
    pub window_ms: u64,
    pub quiet_ms: u64,
    pub early_uploads: f64,
    /// Kafka's own broker settings, unchecked.
    pub broker: BTreeMap<String, String>,
}

/// A setting that cannot be used; the text names it.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct BadSetting(pub String);

fn bad<T>(text: impl Into<String>) -> Result<T, BadSetting> {
    Err(BadSetting(text.into()))
}

/// Names of variables that begin like settings and are none: the tests' own.
const NOT_SETTINGS: [&str; 3] = ["STREAMHOUSE_TEST_", "STREAMHOUSE_BIN", "STREAMHOUSE_CONFIG"];

/// **An unknown setting is an error that names it**, in the environment too: a misspelt one would be ignored in silence.
pub fn check_environment(
    names: impl Iterator<Item = String>,
    known: &[String],
) -> Result<(), BadSetting> {
    for name in names.filter(|n| n.starts_with("STREAMHOUSE_")) {
        let foreign = NOT_SETTINGS.iter().any(|p| name.starts_with(p));
        if !foreign && !known.contains(&name) {
            return bad(format!(
                "there is no setting {name} (docs/settings.md lists them)"
            ));
        }
    }
    Ok(())
}

/// Reads a settings file. Its `[kafka]` table holds Kafka's broker settings; every other key is a setting of ours.
pub fn read_file(path: &Path) -> Result<Given, BadSetting> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| BadSetting(format!("{name} cannot be read: {e}")))?;
    parse_file(&text).map_err(|e| BadSetting(format!("{name}: {}", e.0)))
}

fn parse_file(text: &str) -> Result<Given, BadSetting> {
    let mut table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| BadSetting(e.to_string()))?;
    // `kafka` is an address as a string, and the broker settings as a table.
    let broker = match table.remove("kafka") {
        Some(toml::Value::Table(broker)) => broker,
        Some(address) => {
            table.insert("kafka".into(), address);
            toml::Table::new()
        }
        None => toml::Table::new(),
    };
    if table.contains_key("kafka_table") {
        return bad("unknown setting kafka_table");
    }
    if let Some(listen) = table.remove("kafka_listen") {
        table.insert("kafka".into(), listen);
    }
    let mut given: Given = table
        .try_into()
        .map_err(|e: toml::de::Error| BadSetting(e.message().to_owned()))?;
    given.kafka_table = broker.into_iter().collect();
    Ok(given)
}

impl Given {
    /// What is set here, and what is set there where nothing is set here.
    pub fn or(self, other: Given) -> Given {
        Given {
            data: self.data.or(other.data),
            kafka: self.kafka.or(other.kafka),
            kafka_advertised: self.kafka_advertised.or(other.kafka_advertised),
            http: self.http.or(other.http),
            http_advertised: self.http_advertised.or(other.http_advertised),
            bucket: self.bucket.or(other.bucket),
            metadata: self.metadata.or(other.metadata),
            insecure: self.insecure.or(other.insecure),
            zone: self.zone.or(other.zone),
            log: self.log.or(other.log),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            cache_bytes: self.cache_bytes.or(other.cache_bytes),
            answer_bytes: self.answer_bytes.or(other.answer_bytes),
            wal_bytes: self.wal_bytes.or(other.wal_bytes),
            replay_old: self.replay_old.or(other.replay_old),
            segment_compression: self.segment_compression.or(other.segment_compression),
            window_bytes: self.window_bytes.or(other.window_bytes),
            window_ms: self.window_ms.or(other.window_ms),
            quiet_ms: self.quiet_ms.or(other.quiet_ms),
            early_uploads: self.early_uploads.or(other.early_uploads),
            set: if self.set.is_empty() {
                other.set
            } else {
                self.set
            },
            kafka_table: if self.kafka_table.is_empty() {
                other.kafka_table
            } else {
                self.kafka_table
            },
        }
    }

    /// Fills in the defaults and refuses what contradicts itself.
    pub fn complete(self) -> Result<Settings, BadSetting> {
        let broker = self.broker()?;
        let data = self.data.unwrap_or_else(|| "streamhouse-data".into());
        let kafka = address("kafka", self.kafka.as_deref().unwrap_or("127.0.0.1:9092"))?;
        let http = address("http", self.http.as_deref().unwrap_or("127.0.0.1:8080"))?;
        let insecure = self.insecure.unwrap_or(false);
        for (name, address) in [("kafka", kafka), ("http", http)] {
            if !address.ip().is_loopback() && !insecure {
                return bad(format!(
                    "--{name} {address} can be reached by others, and nobody is asked who they are: say --insecure if that is meant"
                ));
            }
        }
        let kafka_advertised = self
            .kafka_advertised
            .as_deref()
            .map(host_and_port)
            .transpose()?;
        let http_advertised = self
            .http_advertised
            .as_deref()
            .map(host_and_port)
            .transpose()?;
        if kafka.ip().is_unspecified() && kafka_advertised.is_none() {
            return bad(format!(
                "--kafka {kafka} is no address that clients can connect to: say --kafka-advertised HOST:PORT"
            ));
        }
        let bucket = self
            .bucket
            .unwrap_or_else(|| format!("file://{}", data.join("bucket").display()));
        let metadata = self
            .metadata
            .unwrap_or_else(|| format!("sqlite://{}", data.join("meta.db").display()));
        let remote = is_remote(&bucket);
        let early_uploads = self
            .early_uploads
            .unwrap_or(if remote { 10.0 } else { 1000.0 });
        if !early_uploads.is_finite() || early_uploads <= 0.0 {
            return bad("early_uploads must be greater than 0");
        }
        const MIB: usize = 1024 * 1024;
        // What lies in a folder is in the system's memory already: there it would only be kept twice.
        let cache = if remote { 256 * MIB } else { 32 * MIB };
        let settings = Settings {
            kafka,
            kafka_advertised,
            http,
            http_advertised,
            bucket,
            metadata,
            zone: self.zone,
            log: self.log.unwrap_or_else(|| "info".into()),
            memory_bytes: self.memory_bytes.unwrap_or(256 * MIB),
            cache_bytes: self.cache_bytes.unwrap_or(cache),
            answer_bytes: self.answer_bytes.unwrap_or(256 * MIB),
            wal_bytes: self.wal_bytes.unwrap_or(1024 * MIB as u64),
            replay_old: self.replay_old.unwrap_or(false),
            segment_compression: self.segment_compression.unwrap_or_default(),
            window_bytes: self.window_bytes.unwrap_or(8 * MIB),
            window_ms: self.window_ms.unwrap_or(200),
            quiet_ms: self.quiet_ms.unwrap_or(5),
            early_uploads,
            broker,
            data,
        };
        settings.check_relations()
    }

    fn broker(&self) -> Result<BTreeMap<String, String>, BadSetting> {
        let mut broker = BTreeMap::new();
        for (name, value) in &self.kafka_table {
            let text = match value {
                toml::Value::String(s) => s.clone(),
                toml::Value::Table(_) | toml::Value::Array(_) => {
                    return bad(format!(
                        "[kafka] {name} must be text, a number or a boolean; write the name in quotes: \"{name}\""
                    ));
                }
                other => other.to_string(),
            };
            broker.insert(name.clone(), text);
        }
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return bad(format!("--set {pair} must be NAME=VALUE"));
            };
            broker.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(broker)
    }
}

/// Does a request to this bucket cost time and money?
fn is_remote(bucket: &str) -> bool {
    bucket.starts_with("s3://")
}

impl Settings {
    /// Does a request to the bucket cost time and money? Not so in a folder.
    pub fn bucket_is_remote(&self) -> bool {
        is_remote(&self.bucket)
    }

    fn check_relations(self) -> Result<Settings, BadSetting> {
        if self.window_bytes == 0 || self.memory_bytes < 2 * self.window_bytes {
            let (window, memory) = (self.window_bytes, self.memory_bytes);
            return bad(format!(
                "memory_bytes ({memory}) must hold at least two windows of window_bytes ({window}), and those must not be empty"
            ));
        }
        Ok(self)
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), BadSetting> {
    let parts = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port != 0 => {
            Ok((host.trim_matches(['[', ']']).to_owned(), port))
        }
        _ => bad(format!("{text:?} is not HOST:PORT")),
    }
}

/// An address to listen on. A name may stand for several; IPv4 goes first, as Kafka clients expect of `localhost`.
fn address(name: &str, text: &str) -> Result<SocketAddr, BadSetting> {
    let Ok(found) = text.to_socket_addrs() else {
        return bad(format!(
            "--{name} {text:?} is not HOST:PORT, or the host is not known"
        ));
    };
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|a| matches!(a.ip(), IpAddr::V6(_)));
    found
        .first()
        .copied()
        .map_or_else(|| bad(format!("--{name} {text:?} has no address")), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_loopback_and_embedded() {
        let s = Given::default().complete().unwrap();
        assert_eq!(s.kafka.to_string(), "127.0.0.1:9092");
        assert_eq!(s.http.to_string(), "127.0.0.1:8080");
        assert_eq!(s.bucket, "file://streamhouse-data/bucket");
        assert_eq!(s.metadata, "sqlite://streamhouse-data/meta.db");
    }

    #[test]
    fn flags_go_before_the_file() {
        let file =
            parse_file("data = \"a\"\nwindow_ms = 50\n[kafka]\n\"num.partitions\" = 4\n").unwrap();
        let flags = Given {
            data: Some("b".into()),
            ..Given::default()
        };
        let s = flags.or(file).complete().unwrap();
        assert_eq!((s.data, s.window_ms), ("b".into(), 50));
        assert_eq!(s.broker["num.partitions"], "4");
    }

    #[test]
    fn an_unknown_or_contradictory_setting_is_named() {
        assert!(
            parse_file("windw_ms = 50")
                .unwrap_err()
                .0
                .contains("windw_ms")
        );
        let open = Given {
            kafka: Some("0.0.0.0:9092".into()),
            ..Given::default()
        };
        assert!(
            open.clone()
                .complete()
                .unwrap_err()
                .0
                .contains("--insecure")
        );
        let nowhere = Given {
            insecure: Some(true),
            ..open
        };
        assert!(
            nowhere
                .complete()
                .unwrap_err()
                .0
                .contains("--kafka-advertised")
        );
        let no_value = Given {
            set: vec!["num.partitions".into()],
            ..Given::default()
        };
        assert!(
            no_value
                .complete()
                .unwrap_err()
                .0
                .contains("num.partitions")
        );
        let known = ["STREAMHOUSE_DATA".to_owned()];
        let names = |n: &str| std::iter::once(n.to_owned());
        assert!(
            check_environment(names("STREAMHOUSE_DATE"), &known)
                .unwrap_err()
                .0
                .contains("STREAMHOUSE_DATE")
        );
        assert!(check_environment(names("STREAMHOUSE_DATA"), &known).is_ok());
    }
}
