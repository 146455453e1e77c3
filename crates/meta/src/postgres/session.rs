//! One borrowed connection: statements sent together, answered in one round trip.
use std::time::Duration;

use deadpool_postgres::Object;
use futures::{FutureExt, future::join_all};
use tokio::time::timeout;
use tokio_postgres::{Error, Row, Statement, types::ToSql};

use super::sql;

/// Longer than the server's own timeouts: past it the server is frozen, or the way to it is.
const TRIP_TIMEOUT: Duration = Duration::from_secs(15);

/// A statement with its parameters.
pub(super) struct Call {
    statement: Statement,
    params: Vec<Box<dyn ToSql + Sync + Send>>,
}

/// A connection with a transaction on it. SUBTLE: if it is dropped before [`Session::finish`] (the caller went away, a trip
/// timed out), the connection is closed: it must not go back to the pool with a transaction open.
pub(super) struct Session {
    client: Option<Object>,
}

/// No answer in time.
pub(super) struct Late;

impl Session {
    pub(super) fn new(client: Object) -> Session {
        Session {
            client: Some(client),
        }
    }

    fn client(&self) -> &Object {
        self.client
            .as_ref()
            .unwrap_or_else(|| unreachable!("taken only at the end"))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client().is_closed()
    }

    pub(super) async fn call(
        &self,
        sql: &str,
        params: Vec<Box<dyn ToSql + Sync + Send>>,
    ) -> Result<Call, Error> {
        Ok(Call {
            statement: self.client().prepare_cached(sql).await?,
            params,
        })
    }

    /// **One round trip**: sends all calls and then waits for all answers. A statement is sent when its future is first
    /// polled, and `join_all` polls in order.
    pub(super) async fn trip(&self, calls: &[Call]) -> Result<Vec<Result<Vec<Row>, Error>>, Late> {
        let answers = join_all(calls.iter().map(|call| async move {
            let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|p| &**p as _).collect();
            self.client().query(&call.statement, &params).await
        }));
        timeout(TRIP_TIMEOUT, answers).await.map_err(|_| Late)
    }

    /// Gives a connection back whose transaction has ended.
    pub(super) fn finish(mut self) {
        self.client = None;
    }

    /// Rolls back without waiting for it: whatever uses the connection next is behind it.
    pub(super) async fn abandon(self) {
        if let Ok(rollback) = self.client().prepare_cached(sql::ROLLBACK).await {
            let _ = self.client().query(&rollback, &[]).now_or_never();
            self.finish();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}
