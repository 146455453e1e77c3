//! Who coordinates a group or a transactional id, and requests that only this broker answers.
use std::sync::Arc;

use kafka_protocol::{
    messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse},
    protocol::Request,
};

use crate::{Broker, Client, Connection, Error, Result, client::text};

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

impl CoordinatorKind {
    fn number(self) -> i8 {
        match self {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
        }
    }
    fn noun(self) -> &'static str {
        match self {
            CoordinatorKind::Group => "group",
            CoordinatorKind::Transaction => "transactional id",
        }
    }
}

impl Client {
    /// The broker that coordinates `key`, asked for each time: it moves when brokers come and go. One try.
    pub async fn find_coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Broker> {
        let connection = self.any().await?;
        let build = |version| {
            let request = FindCoordinatorRequest::default().with_key_type(kind.number());
            if version >= 4 {
                request.with_coordinator_keys(vec![text(key)])
            } else {
                request.with_key(text(key))
            }
        };
        let answer = self.call(&connection, build).await?;
        read_coordinator(
            &answer,
            &format!("the coordinator of {} {key}", kind.noun()),
        )
    }

    /// The connection to the coordinator of `key`.
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Arc<Connection>> {
        let broker = self.find_coordinator(kind, key).await?;
        self.connection(&broker.address()).await
    }

    /// Asks the coordinator of `key` at the highest version up to `max` that both sides speak, until `read` finds no
    /// retriable error in the answer, or the client's time for that is over.
    pub(crate) async fn ask_coordinator<R: Request, T>(
        &self,
        (kind, key): (CoordinatorKind, &str),
        what: &str,
        max: i16,
        build: impl Fn(i16) -> R,
        read: impl Fn(R::Response) -> Result<T>,
    ) -> Result<T> {
        self.retry(what, || async {
            let connection = self.coordinator(kind, key).await?;
            let version = connection.version_of::<R>()?.min(max);
            read(connection.call(&build(version), version).await?)
        })
        .await
    }
}

fn read_coordinator(answer: &FindCoordinatorResponse, what: &str) -> Result<Broker> {
    let broker = |id: &BrokerId, host: &str, port| Broker {
        id: id.0,
        host: host.to_owned(),
        port,
        rack: None,
    };
    match answer.coordinators.first() {
        Some(found) => {
            Error::check(what, found.error_code, found.error_message.as_deref())?;
            Ok(broker(&found.node_id, &found.host, found.port))
        }
        None => {
            Error::check(what, answer.error_code, answer.error_message.as_deref())?;
            Ok(broker(&answer.node_id, &answer.host, answer.port))
        }
    }
}
