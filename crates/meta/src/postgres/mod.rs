//! Postgres, and what speaks its protocol and plain SQL: row locks, `ON CONFLICT`, `unnest`. Never NOTIFY: inside a commit it
//! makes all commits of the database queue up.
mod connect;
mod error;
mod read;
mod schema;
mod session;
mod sql;
mod tls;
mod update;

use async_trait::async_trait;
use sh_base::Env;
use tokio::time::sleep;
use tokio_postgres::{Row as SqlRow, types::ToSql};

use crate::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MetaError, MetaStore, OpenError, Row, Update,
    backoff::Backoff, rules,
};
use connect::{Link, Target};
use error::{Failed, before_commit, definite, no_connection};
use session::{Late, Session};

/// How often a call is run again after others made the database roll it back.
const ATTEMPTS_MAX: usize = 10;

type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// A store in one schema of a Postgres database, shared by all agents.
pub struct PostgresStore {
    link: Link,
    env: Env,
}

impl PostgresStore {
    /// Connects, refuses an unsafe server, and makes the tables if they are not there. `OpenError::Away` may be retried.
    pub async fn open(url: &str, env: &Env) -> Result<PostgresStore, OpenError> {
        let target = Target::parse(url)?;
        let tried = |what: String| format!("{}: {what}", target.describe());
        let link = target.link(env).await.map_err(|e| match e {
            OpenError::Away(e) => OpenError::Away(tried(e)),
            OpenError::Failed(e) => OpenError::Failed(tried(e)),
            OpenError::Unsafe(e) => OpenError::Unsafe(tried(e)),
            other => other,
        })?;
        Ok(PostgresStore {
            link,
            env: env.clone(),
        })
    }

    async fn session(&self) -> Result<Session, MetaError> {
        let client = self.link.pool.get().await;
        match (self.link.foreign.get(), client) {
            (Some(why), _) => Err(MetaError::Foreign(why.clone())),
            (None, client) => Ok(Session::new(client.map_err(no_connection)?)),
        }
    }

    /// One statement by itself: one round trip, one moment.
    async fn read(
        &self,
        sql: &str,
        params: &(dyn Fn() -> Params + Sync),
    ) -> Result<Vec<SqlRow>, MetaError> {
        let mut attempts = Attempts::new(&self.env);
        loop {
            match ask(self.session().await?, sql, params()).await {
                Ok(rows) => return Ok(rows),
                Err(failed) => attempts.another(failed).await?,
            }
        }
    }

    async fn snapshot_pages(
        &self,
        session: &Session,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, Failed> {
        let sql = &self.link.sql;
        one(session, sql::BEGIN_SNAPSHOT, vec![]).await?;
        // No lock is held, so the consumer of the pages may take its time.
        one(
            session,
            "SET LOCAL idle_in_transaction_session_timeout = '60s'",
            vec![],
        )
        .await?;
        let end = one(session, &sql.feed_end, vec![]).await?;
        let mut range = KeyRange::all();
        loop {
            let found = one(session, &sql.scan(&range, false), read::range(&range, page)).await?;
            let rows = read::pairs(&found).map_err(Failed::For)?;
            let Some((last, _)) = rows.last() else { break };
            range.start = [&last.encode()[..], &[0]].concat().into();
            sink(rows);
        }
        read::ends(&end).map_err(Failed::For)
    }
}

/// **What the database rolled back because of others is run again**, after a pause that scatters the crowd.
struct Attempts<'a> {
    left: usize,
    backoff: Backoff,
    env: &'a Env,
}

impl Attempts<'_> {
    fn new(env: &Env) -> Attempts<'_> {
        Attempts {
            left: ATTEMPTS_MAX,
            backoff: Backoff::new(),
            env,
        }
    }

    /// Pauses if it is worth another attempt; otherwise the failure is the caller's answer.
    async fn another(&mut self, failed: Failed) -> Result<(), MetaError> {
        let why = match failed {
            Failed::For(e) => return Err(e),
            Failed::Again(why) => why,
        };
        self.left -= 1;
        if self.left == 0 {
            return Err(MetaError::Definite(format!(
                "rolled back {ATTEMPTS_MAX} times: {why}"
            )));
        }
        sleep(self.backoff.next(self.env)).await;
        Ok(())
    }
}

/// One statement outside of a transaction, and the connection goes back.
async fn ask(session: Session, sql: &str, params: Params) -> Result<Vec<SqlRow>, Failed> {
    let rows = one(&session, sql, params).await?;
    session.finish();
    Ok(rows)
}

async fn one(session: &Session, sql: &str, params: Params) -> Result<Vec<SqlRow>, Failed> {
    let call = session.call(sql, params).await.map_err(before_commit)?;
    let late = |Late| {
        Failed::For(MetaError::Definite(
            "Postgres did not answer in time".into(),
        ))
    };
    let answer = session.trip(&[call]).await.map_err(late)?.pop();
    answer.unwrap_or(Ok(Vec::new())).map_err(before_commit)
}

#[async_trait]
impl MetaStore for PostgresStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        let rows = self
            .read(&self.link.sql.get, &|| read::by_family(keys.iter()))
            .await?;
        let rows = read::rows(&rows)?;
        Ok(keys
            .iter()
            .map(|key| rows.get(key).cloned().unwrap_or_default())
            .collect())
    }

    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        let sql = self.link.sql.scan(&range, reverse);
        read::pairs(&self.read(&sql, &|| read::range(&range, limit)).await?)
    }

    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        rules::require_place(update.request)?;
        let mut attempts = Attempts::new(&self.env);
        loop {
            match update::attempt(self.session().await?, &self.link.sql, &update).await {
                Ok(entry) => return Ok(entry),
                Err(failed) => attempts.another(failed).await?,
            }
        }
    }

    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        read::entries(
            &self
                .read(&self.link.sql.feed, &|| read::cursor(cursor, limit))
                .await?,
        )
    }

    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        read::ends(&self.read(&self.link.sql.feed_end, &Vec::new).await?)
    }

    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        let session = self.session().await?;
        let end = self.snapshot_pages(&session, page.max(1), sink).await;
        session.abandon().await;
        end.map_err(|e| match e {
            Failed::Again(why) => MetaError::Definite(why),
            Failed::For(e) => e,
        })
    }

    async fn identity(&self) -> Result<Identity, MetaError> {
        let rows = self.read(&self.link.sql.identity, &Vec::new).await?;
        let row = rows
            .first()
            .ok_or_else(|| MetaError::Definite("no identity".into()))?;
        read::identity(row).map_err(definite)
    }
}
