//! Deleted topics that the server still keeps.
use serde::{Deserialize, Serialize};

use super::{ListArgs, UndeleteArgs};
use crate::{failure::Failure, http::Http, output::table, session::Session, timestamp};

#[derive(Deserialize, Serialize)]
struct Deleted {
    name: String,
    topic_id: String,
    partitions: i32,
    deleted_ms: i64,
}

pub async fn list(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let http = Http::new(&args.http, session.timeout())?;
    let deleted: Vec<Deleted> = http.get("/v1/deleted-topics").await?;
    session.output().show(&deleted, |topics| {
        let row = |t: &Deleted| {
            [
                t.name.clone(),
                t.partitions.to_string(),
                timestamp::shown(t.deleted_ms),
            ]
        };
        table(
            ["topic", "partitions", "deleted at"],
            topics.iter().map(row),
        )
    })
}

#[derive(Deserialize, Serialize)]
struct Undeleted {
    name: String,
    topic_id: String,
}

pub async fn undelete(args: UndeleteArgs, session: &Session) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !args.topic.chars().all(legal) {
        return Err(Failure::usage(format!(
            "{:?} cannot be the name of a topic",
            args.topic
        )));
    }
    let http = Http::new(&args.http, session.timeout())?;
    let undeleted: Undeleted = http
        .post(&format!("/v1/deleted-topics/{}/undelete", args.topic))
        .await?;
    session
        .output()
        .show(&undeleted, |t| format!("topic {} is back", t.name))
}
