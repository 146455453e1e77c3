//! `streamctl produce`: rows of standard input or files become records.
mod csv_rows;
mod input;
mod line_rows;
mod progress;
mod row;
mod write;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sh_client::{Acks, Codec, ProducerOptions};

use crate::{
    failure::Failure,
    session::{Session, existing},
};

#[derive(Args)]
pub struct ProduceArgs {
    /// The topic
    topic: String,
    /// Files to read, one after the other; `-` is standard input
    #[arg(default_value = "-")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    shape: Shape,
    /// The partition of every record [default: by the key, as the Java client chooses]
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// When a record counts as written: all (durable in the bucket), 1 (on the server's disk), 0 (sent)
    #[arg(long, default_value = "all", value_name = "all|1|0", value_parser = acks)]
    acks: Acks,
    /// How batches are compressed
    #[arg(long, default_value = "none", value_enum)]
    compression: Compression,
    /// The size of a batch, before compression
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES", value_parser = batch_bytes)]
    batch_bytes: usize,
}

/// How a row becomes a record.
#[derive(Args, Clone)]
pub struct Shape {
    /// What a row is
    #[arg(long, value_enum, default_value_t = RowFormat::Lines)]
    pub format: RowFormat,
    /// The value of a CSV row
    #[arg(long, value_enum, default_value_t = CsvValue::Json)]
    pub csv_value: CsvValue,
    /// The field whose value is the key
    #[arg(long, value_name = "FIELD")]
    pub key: Option<String>,
    /// The field whose value is the timestamp: RFC 3339, YYYY-MM-DD HH:MM:SS (UTC), or milliseconds since 1970
    #[arg(long, value_name = "FIELD")]
    pub timestamp: Option<String>,
    /// With --format lines: what separates the key from the value. A line without it has no key
    #[arg(long, value_name = "TEXT")]
    pub key_separator: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// One line, as it is
    Lines,
    /// One line, which must be a JSON value
    Jsonl,
    /// A row of a CSV file whose first row names the fields
    Csv,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CsvValue {
    /// A JSON object of strings, by the names of the header
    Json,
    /// The row, as it stands in the file
    Row,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err("acks are all, 1 or 0".to_owned()),
    }
}

/// What a server takes by default, less what a batch needs beside its records.
const BATCH_BYTES_MAX: usize = 1_000_000;

fn batch_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (1..=BATCH_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "write a number of bytes from 1 to {BATCH_BYTES_MAX}"
        )),
    }
}

impl Shape {
    fn check(&self) -> Result<(), Failure> {
        let named = self.key.is_some() || self.timestamp.is_some();
        if self.format == RowFormat::Lines && named {
            return Err(Failure::usage(
                "lines have no fields: say --format csv or --format jsonl with --key and --timestamp",
            ));
        }
        if self
            .key_separator
            .as_deref()
            .is_some_and(|s| s.is_empty() || self.format != RowFormat::Lines)
        {
            return Err(Failure::usage(
                "--key-separator is some text, and for --format lines; the other formats have --key FIELD",
            ));
        }
        Ok(())
    }
}

impl ProduceArgs {
    fn options(&self) -> ProducerOptions {
        ProducerOptions {
            acks: self.acks,
            codec: self.compression.codec(),
            idempotent: self.acks == Acks::All,
            batch_bytes: self.batch_bytes,
            ..ProducerOptions::default()
        }
    }
}

pub async fn run(args: ProduceArgs, session: &Session) -> Result<(), Failure> {
    args.shape.check()?;
    let client = session.connect().await?;
    let topic = existing(&client, &args.topic).await?;
    if let Some(partition) = args.partition {
        topic.partition(partition)?;
    }
    let written = write::write(client, args).await?;
    session.output().show(&written, write::Written::text)
}
