//! Creating, altering and deleting topics.
use serde_json::json;
use sh_client::{Admin, ConfigResource, ErrorCode, NewTopic};

use super::{AlterArgs, CreateArgs};
use crate::{
    failure::Failure,
    session::{Session, existing},
};

pub async fn create(args: CreateArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let topic = NewTopic {
        name: args.topic,
        partitions: args.partitions.unwrap_or(-1),
        replication_factor: args.replication_factor.unwrap_or(-1),
        configs: args.config.into_iter().collect(),
    };
    let created = match Admin::new(client.clone())
        .create_topic(&topic, args.dry_run)
        .await
    {
        Ok(()) => !args.dry_run,
        Err(e) if args.if_not_exists && e.code() == Some(ErrorCode::TopicAlreadyExists) => false,
        Err(e) => return Err(e.into()),
    };
    let name = topic.name;
    let text = match (created, args.dry_run) {
        (true, _) => format!("created topic {name}"),
        (false, true) => format!("topic {name} could be created"),
        (false, false) => format!("topic {name} exists already"),
    };
    session
        .output()
        .show(&json!({ "topic": name, "created": created }), |_| text)
}

pub async fn alter(args: AlterArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    existing(&client, &args.topic).await?;
    let admin = Admin::new(client);
    let set = args
        .changes
        .set
        .into_iter()
        .map(|(name, value)| (name, Some(value)));
    let unset = args.changes.unset.into_iter().map(|name| (name, None));
    let changes: Vec<_> = set.chain(unset).collect();
    if !changes.is_empty() {
        let resource = ConfigResource::Topic(args.topic.clone());
        admin
            .alter_configs(&resource, &changes, args.dry_run)
            .await?;
    }
    if let Some(count) = args.changes.partitions {
        admin
            .create_partitions(&args.topic, count, args.dry_run)
            .await?;
    }
    let (name, altered) = (args.topic, !args.dry_run);
    let text = if altered {
        format!("altered topic {name}")
    } else {
        format!("topic {name} could be altered")
    };
    session
        .output()
        .show(&json!({ "topic": name, "altered": altered }), |_| text)
}

pub async fn delete(name: &str, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    existing(&client, name).await?;
    Admin::new(client).delete_topic(name).await?;
    let text = format!("deleted topic {name}; `streamctl topic undelete {name}` brings it back");
    session
        .output()
        .show(&json!({ "topic": name, "deleted": true }), |_| text)
}
