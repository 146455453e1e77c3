//! `streamctl offsets`: where each partition begins and ends, and what offset a time has.
use clap::Args;
use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{Admin, OffsetSpec};

use crate::{
    failure::Failure,
    output::{or_dash, table},
    session::{Session, existing, partitions},
    timestamp,
};

#[derive(Args)]
pub struct OffsetsArgs {
    /// The topic
    topic: String,
    /// Only this partition (repeatable)
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Also the first offset whose timestamp is at or after this time
    #[arg(long, value_name = "TIMESTAMP", value_parser = timestamp::parse)]
    at: Option<i64>,
}

/// Where a partition begins and ends: [earliest, latest).
#[derive(Clone, Copy, Serialize)]
pub struct Bounds {
    pub partition: i32,
    pub earliest: i64,
    pub latest: i64,
}

/// Asks for both ends of a partition.
pub async fn bounds(admin: &Admin, topic: &str, partition: i32) -> Result<Bounds, Failure> {
    let earliest = admin.list_offset(topic, partition, OffsetSpec::Earliest);
    let latest = admin.list_offset(topic, partition, OffsetSpec::Latest);
    let (earliest, latest) = tokio::try_join!(earliest, latest)?;
    let offset = |found: Option<(i64, i64)>| found.map_or(0, |(offset, _)| offset);
    Ok(Bounds {
        partition,
        earliest: offset(earliest),
        latest: offset(latest),
    })
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    bounds: Bounds,
    /// The offset and the timestamp that were found for `--at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Found>,
}

#[derive(Clone, Copy, Serialize)]
struct Found {
    offset: Option<i64>,
    timestamp: Option<i64>,
}

pub async fn run(args: OffsetsArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let topic = existing(&client, &args.topic).await?;
    let admin = Admin::new(client);
    let lines = partitions(&topic, &args.partition)?
        .into_iter()
        .map(async |partition| {
            let bounds = bounds(&admin, &topic.name, partition).await?;
            let at = match args.at {
                Some(time) => Some(find(&admin, &topic.name, partition, time).await?),
                None => None,
            };
            Ok::<_, Failure>(Line { bounds, at })
        });
    let lines = try_join_all(lines).await?;
    session.output().show(&lines, |lines| {
        if args.at.is_some() {
            text_with_time(lines)
        } else {
            text(lines)
        }
    })
}

async fn find(admin: &Admin, topic: &str, partition: i32, time: i64) -> Result<Found, Failure> {
    let found = admin
        .list_offset(topic, partition, OffsetSpec::AtOrAfter(time))
        .await?;
    Ok(Found {
        offset: found.map(|f| f.0),
        timestamp: found.map(|f| f.1),
    })
}

fn columns(line: &Line) -> [String; 3] {
    let Bounds {
        partition,
        earliest,
        latest,
    } = line.bounds;
    [
        partition.to_string(),
        earliest.to_string(),
        latest.to_string(),
    ]
}

fn text(lines: &[Line]) -> String {
    table(
        ["partition", "earliest", "latest"],
        lines.iter().map(columns),
    )
}

fn text_with_time(lines: &[Line]) -> String {
    let row = |line: &Line| {
        let [partition, earliest, latest] = columns(line);
        let offset = or_dash(line.at.and_then(|at| at.offset));
        let time = line
            .at
            .and_then(|at| at.timestamp)
            .map_or_else(|| "-".to_owned(), timestamp::shown);
        [partition, earliest, latest, offset, time]
    };
    table(
        [
            "partition",
            "earliest",
            "latest",
            "at or after",
            "timestamp",
        ],
        lines.iter().map(row),
    )
}
