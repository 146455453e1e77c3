//! A member's own connection to its coordinator. It has no other's requests on it: a JoinGroup may be answered minutes
//! later, and whoever shares its connection waits with it.
use std::{sync::Arc, time::Duration};

use kafka_protocol::protocol::Request;
use tokio::time::timeout;

use crate::{Client, Connection, CoordinatorKind, Error, Result};

/// The longest wait for a JoinGroup or SyncGroup: the other members may take their rebalance timeouts.
const REBALANCE_WAIT: Duration = Duration::from_secs(600);

pub(super) struct Link {
    client: Client,
    group: String,
    connection: Option<Arc<Connection>>,
}

impl Link {
    pub fn new(client: Client, group: String) -> Link {
        Link {
            client,
            group,
            connection: None,
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The next request asks who coordinates the group.
    pub fn forget(&mut self) {
        self.connection = None;
    }

    /// A request that is answered at once.
    pub async fn ask<R: Request>(&mut self, build: impl Fn(i16) -> R) -> Result<R::Response> {
        let (patience, open) = (
            self.client.options().request_timeout,
            self.connection().await?,
        );
        match timeout(patience, self.client.call(&open, build)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout {
                address: open.address().to_owned(),
                what: format!("a request about group {}", self.group),
                after: patience,
            }),
        }
    }

    /// A request that is answered when all members have come.
    pub async fn ask_patiently<R: Request>(
        &mut self,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response> {
        let open = self.connection().await?;
        self.client.call(&open, build).await
    }

    async fn connection(&mut self) -> Result<Arc<Connection>> {
        if let Some(open) = self.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok(open.clone());
        }
        let broker = self
            .client
            .find_coordinator(CoordinatorKind::Group, &self.group)
            .await?;
        let id = &self.client.options().client_id;
        let open = Connection::open(&broker.address(), id, REBALANCE_WAIT).await?;
        Ok(self.connection.insert(Arc::new(open)).clone())
    }
}
