//! The server of the tests: one schema for each test.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests are told where their server is"
)]
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use sh_meta::{MetaStore, PostgresStore, conformance::story::env};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio_postgres::{Client, NoTls};

/// Most tests share the server; one that restarts or misconfigures it has it alone.
static SERVER: RwLock<()> = RwLock::const_new(());

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// The server's URL, without a schema.
pub fn url() -> String {
    variable("STREAMHOUSE_TEST_POSTGRES")
}

/// The file with the certificate of the authority that issued the server's; the server is `localhost` and 127.0.0.1 in it.
pub fn authority() -> String {
    variable("STREAMHOUSE_TEST_POSTGRES_CA")
}

pub fn restart() {
    let command = variable("STREAMHOUSE_TEST_POSTGRES_CTL");
    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}: {status}");
}

/// A connection beside the store's.
pub async fn admin() -> Client {
    let (client, connection) = tokio_postgres::connect(&url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A schema name that no other test has, and nothing under it.
pub async fn schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "t{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    admin()
        .await
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {name} CASCADE"))
        .await
        .unwrap();
    name
}

/// The URL with a fresh schema.
pub async fn fresh_url() -> String {
    with_schema(&url(), &schema().await)
}

/// Its sessions carry the schema's name, so that they can be told from those of other tests.
pub fn with_schema(url: &str, schema: &str) -> String {
    let next = if url.contains('?') { '&' } else { '?' };
    format!("{url}{next}schema={schema}&application_name={schema}")
}

pub async fn open(url: &str) -> Arc<dyn MetaStore> {
    static SEED: AtomicU32 = AtomicU32::new(0);
    let env = env(SEED.fetch_add(1, Ordering::Relaxed).into());
    Arc::new(PostgresStore::open(url, &env).await.unwrap())
}

pub async fn shared() -> RwLockReadGuard<'static, ()> {
    SERVER.read().await
}

pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    SERVER.write().await
}

pub async fn fresh() -> (RwLockReadGuard<'static, ()>, Arc<dyn MetaStore>) {
    (shared().await, open(&fresh_url().await).await)
}

/// Ends the sessions of the stores of one schema.
pub async fn kill_backends(admin: &Client, schema: &str) {
    let kill = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{schema}'"
    );
    admin.batch_execute(&kill).await.unwrap();
}
