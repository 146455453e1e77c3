//! The tables, and who makes them.
use sh_base::Env;
use tokio_postgres::Client;

use super::error::failed_to_open;
use crate::{Family, OpenError};

/// What `system.format` says of the tables below.
const FORMAT: i32 = 1;
/// Names the moment of making the tables: an advisory lock that two agents that start together both take.
const MAKING: i64 = 0x73_7472_6561_6d68;

/// Makes the tables if they are not there, and checks their format. Safe to run from many agents at once.
pub(super) async fn prepare(client: &Client, schema: &str, env: &Env) -> Result<(), OpenError> {
    if format_of(client, schema).await?.is_none() || lacks_tables(client, schema).await? {
        make(client, schema, env).await?;
    }
    match format_of(client, schema).await? {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(OpenError::Format(format!(
            "the tables in schema {schema} have format {other} and this version knows format {FORMAT}: use the streamhouse that made them, or a newer one"
        ))),
        None => Err(OpenError::Format(format!(
            "schema {schema} has tables of its own but not ours: choose another with ?schema=NAME"
        ))),
    }
}

async fn format_of(client: &Client, schema: &str) -> Result<Option<i32>, OpenError> {
    let find = "SELECT to_regclass($1)::text";
    let table = format!("\"{schema}\".system");
    let found = client
        .query_one(find, &[&table])
        .await
        .map_err(failed_to_open)?;
    if found
        .try_get::<_, Option<String>>(0)
        .map_err(failed_to_open)?
        .is_none()
    {
        return Ok(None);
    }
    let rows = client
        .query(&format!("SELECT format FROM {table}"), &[])
        .await;
    let rows = rows.map_err(failed_to_open)?;
    rows.first()
        .map(|row| row.try_get(0).map_err(failed_to_open))
        .transpose()
}

/// Families that came with a newer version need no other format: their tables are added.
async fn lacks_tables(client: &Client, schema: &str) -> Result<bool, OpenError> {
    let find =
        "SELECT count(*) FROM unnest($1::text[]) AS t (name) WHERE to_regclass(name) IS NULL";
    let names = Family::ALL.map(|family| format!("\"{schema}\".{}", family.name()));
    let row = client.query_one(find, &[&&names[..]]).await;
    let missing: i64 = row.and_then(|row| row.try_get(0)).map_err(failed_to_open)?;
    Ok(missing > 0)
}

/// One transaction under one advisory lock. Whoever comes second finds everything there.
async fn make(client: &Client, schema: &str, env: &Env) -> Result<(), OpenError> {
    let tables = Family::ALL.map(|family| {
        format!(
            "CREATE TABLE IF NOT EXISTS \"{schema}\".{} (key bytea PRIMARY KEY, value bytea, version bigint NOT NULL);",
            family.name()
        )
    });
    let sql = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock({MAKING});
         CREATE SCHEMA IF NOT EXISTS \"{schema}\";
         {}
         CREATE TABLE IF NOT EXISTS \"{schema}\".feed
           (lane bytea NOT NULL, seq bigint NOT NULL, entry bytea, PRIMARY KEY (lane, seq));
         CREATE TABLE IF NOT EXISTS \"{schema}\".lane (lane bytea PRIMARY KEY);
         CREATE TABLE IF NOT EXISTS \"{schema}\".system (one bool PRIMARY KEY, format int NOT NULL, id text NOT NULL);
         INSERT INTO \"{schema}\".system VALUES (true, {FORMAT}, '{}') ON CONFLICT DO NOTHING;
         COMMIT",
        tables.concat(),
        env.uuid()
    );
    client.batch_execute(&sql).await.map_err(failed_to_open)
}
