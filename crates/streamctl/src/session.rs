//! One run of the program: what every command takes, and the connection to the cluster.
use std::{sync::Arc, time::Duration};

use sh_client::{Client, ErrorCode, Options, Topic};

use crate::{cli::Common, failure::Failure, output::Format};

pub struct Session {
    common: Common,
}

impl Session {
    pub fn new(common: Common) -> Session {
        Session { common }
    }

    pub fn output(&self) -> Format {
        self.common.output
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.common.timeout)
    }

    /// Connects. An address where nobody listens is an error at once: whoever typed it waits.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let options = Options {
            client_id: "streamctl".into(),
            request_timeout: self.timeout(),
            retry_for: self.timeout(),
            ..Options::default()
        };
        let client = Client::new(&self.common.bootstrap, options);
        client.refresh(Some(&[])).await?;
        Ok(client)
    }
}

/// The topic, asked for once: a name that is not there will not come by asking again.
pub async fn existing(client: &Client, name: &str) -> Result<Arc<Topic>, Failure> {
    client
        .topic(name)
        .await
        .map_err(|error| match error.code() {
            Some(ErrorCode::UnknownTopicOrPartition) => Failure::no_topic(name),
            _ => error.into(),
        })
}

/// The partitions to work on: those that were named, or all.
pub fn partitions(topic: &Topic, named: &[i32]) -> Result<Vec<i32>, Failure> {
    if named.is_empty() {
        return Ok(topic.partitions.iter().map(|p| p.index).collect());
    }
    let known = |index: &i32| Ok(topic.partition(*index)?.index);
    named.iter().map(known).collect()
}
