//! Ending a transaction that its producer does not end.
use serde_json::json;
use sh_client::Admin;

use super::{AbortArgs, show::existing_id};
use crate::{
    failure::{Exit, Failure},
    session::{Session, existing},
};

const ONGOING: &str = "Ongoing";

pub async fn abort(args: AbortArgs, session: &Session) -> Result<(), Failure> {
    match (args.id, args.topic, args.partition, args.start_offset) {
        (Some(id), ..) => by_id(&id, session).await,
        (None, Some(topic), Some(partition), Some(start)) => {
            in_partition(&topic, partition, start, session).await
        }
        _ => Err(Failure::usage(
            "name a transactional id, or --topic, --partition and --start-offset of a transaction that hangs",
        )),
    }
}

/// As the coordinator does it when a new producer comes with this id.
async fn by_id(id: &str, session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let found = existing_id(&admin, id).await?;
    if found.state != ONGOING {
        return Err(Failure::failed(format!(
            "{id} has no open transaction (it is {}); there is nothing to abort",
            found.state
        )));
    }
    admin.fence_producer(id, found.timeout_ms).await?;
    let text = format!(
        "aborted the transaction of {id}; its producer is fenced and must be started again"
    );
    session
        .output()
        .show(&json!({ "transactional_id": id, "aborted": true }), |_| {
            text
        })
}

/// By a marker in the partition, past all coordinators (KIP-664).
async fn in_partition(
    name: &str,
    partition: i32,
    start: i64,
    session: &Session,
) -> Result<(), Failure> {
    let client = session.connect().await?;
    existing(&client, name).await?.partition(partition)?;
    let admin = Admin::new(client);
    let producers = admin.describe_producers(name, partition).await?;
    let open = producers
        .iter()
        .find(|p| p.current_txn_start_offset == start && start >= 0);
    let Some(producer) = open else {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "no open transaction begins at offset {start} of {name} partition {partition}; `streamctl txn producers {name}` shows where they begin"
            ),
        ));
    };
    admin.abort_in_partition(name, partition, producer).await?;
    let id = producer.producer_id.0;
    let text = format!(
        "aborted the transaction of producer {id} in {name} partition {partition}, from offset {start} on"
    );
    let value = json!({
        "topic": name,
        "partition": partition,
        "start_offset": start,
        "producer_id": id,
        "aborted": true,
    });
    session.output().show(&value, |_| text)
}
