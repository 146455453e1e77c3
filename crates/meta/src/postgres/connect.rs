//! The URL, the connections, and what is asked of a server before it is trusted.
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime,
};
use futures::future::try_join_all;
use sh_base::Env;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    error::{explain, failed_to_open},
    read, schema,
    sql::Sql,
    tls::Wish,
};
use crate::{Identity, OpenError};

/// Connections of one agent: it has one update under way, a few reads, and the poll of the feed.
const CONNECTIONS_MAX: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for one of the connections.
const POOL_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that does not acknowledge for this long is gone.
const TCP_TIMEOUT: Duration = Duration::from_secs(6);

/// **Nobody holds locks for long**: a session that stops between its two trips is ended by the server after 2 s, a wait for
/// a lock or a statement that takes longer than these is given up. All access is by key, through the primary key's index and
/// in its order: planned once (planning costs more than running), never a plan that fits a small table only, and never
/// compiled (the price that a forbidden scan carries would make the server think that it pays).
const SESSION: &str = "-c idle_in_transaction_session_timeout=2000 -c lock_timeout=5000 -c statement_timeout=10000 \
                       -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off \
                       -c jit=off";

/// Where the database is, and which schema is ours.
pub(super) struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    schema: String,
}

/// The connections to a store that was found good.
pub(super) struct Link {
    pub pool: Pool,
    pub sql: Arc<Sql>,
    /// Set when a new connection found another store behind the same address.
    pub foreign: Arc<OnceLock<String>>,
}

impl Target {
    /// Reads a URL of tokio-postgres' form plus `schema=`, with libpq's `sslmode=` and `sslrootcert=`; its errors do not
    /// repeat the URL, which may hold a password.
    pub(super) fn parse(url: &str) -> Result<Target, OpenError> {
        let mut url = Url::new(url);
        let schema = url.take("schema")?.unwrap_or("streamhouse").to_owned();
        require_plain(&schema)?;
        let wish = Wish::new(url.take("sslmode")?, url.take("sslrootcert")?)?;
        let mut config: Config = url
            .rest()
            .parse()
            .map_err(|e| OpenError::Url(explain(&e)))?;
        config.ssl_mode(wish.mode);
        harden(&mut config);
        Ok(Target {
            config,
            tls: wish.connector()?,
            schema,
        })
    }

    /// Who and where, without the password.
    pub(super) fn describe(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        format!(
            "Postgres at {} port {}, database {}, user {}, schema {}",
            hosts.collect::<Vec<_>>().join(","),
            if ports.is_empty() {
                "5432".into()
            } else {
                ports.join(",")
            },
            self.config.get_dbname().unwrap_or("(the user's)"),
            self.config.get_user().unwrap_or("(ours)"),
            self.schema
        )
    }

    /// Checks the server, makes the tables if need be, and opens the pool.
    pub(super) async fn link(&self, env: &Env) -> Result<Link, OpenError> {
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(failed_to_open)?;
        let connection = tokio::spawn(connection);
        let sql = Arc::new(Sql::new(&self.schema));
        let identity = async {
            require_safe(&client).await?;
            schema::prepare(&client, &self.schema, env).await?;
            identify(&client, &sql).await.map_err(failed_to_open)
        };
        let identity = identity.await;
        connection.abort();
        let foreign = Arc::new(OnceLock::new());
        let pool = self.pool(sql.clone(), identity?, foreign.clone())?;
        Ok(Link { pool, sql, foreign })
    }

    fn pool(
        &self,
        sql: Arc<Sql>,
        known: Identity,
        foreign: Arc<OnceLock<String>>,
    ) -> Result<Pool, OpenError> {
        let config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), config);
        let greet = Hook::async_fn(move |client: &mut ClientWrapper, _| {
            let (sql, known, foreign) = (sql.clone(), known.clone(), foreign.clone());
            Box::pin(async move { greet(client, &sql, &known, &foreign).await })
        });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_TIMEOUT))
            .create_timeout(Some(POOL_TIMEOUT))
            .post_create(greet)
            .build();
        pool.map_err(|e| OpenError::Failed(e.to_string()))
    }
}

/// A URL whose parameters are partly ours; the rest is the driver's.
struct Url<'a> {
    base: &'a str,
    parameters: Vec<&'a str>,
}

impl<'a> Url<'a> {
    fn new(url: &'a str) -> Url<'a> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let parameters = query.split('&').filter(|part| !part.is_empty()).collect();
        Url { base, parameters }
    }

    /// Takes a parameter out.
    fn take(&mut self, name: &str) -> Result<Option<&'a str>, OpenError> {
        let value = |part: &&'a str| part.strip_prefix(name)?.strip_prefix('=');
        let found: Vec<&str> = self.parameters.iter().filter_map(value).collect();
        self.parameters.retain(|part| value(part).is_none());
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(OpenError::Url(format!("it says {name} twice"))),
        }
    }

    fn rest(&self) -> String {
        format!("{}?{}", self.base, self.parameters.join("&"))
    }
}

fn require_plain(schema: &str) -> Result<(), OpenError> {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if (1..=63).contains(&schema.len()) && schema.bytes().all(plain) {
        return Ok(());
    }
    Err(OpenError::Url(format!(
        "a schema has 1 to 63 of the characters a-z, 0-9 and _, not {schema:?}"
    )))
}

/// Timeouts on everything; what the URL sets stays.
fn harden(config: &mut Config) {
    let options = config.get_options().unwrap_or_default().to_owned();
    config.options(format!("{SESSION} {options}").trim());
    if config.get_application_name().is_none() {
        config.application_name("streamhouse");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_TIMEOUT);
        config.keepalives_idle(TCP_TIMEOUT / 3);
        config.keepalives_interval(TCP_TIMEOUT / 3);
        config.keepalives_retries(2);
    }
}

/// **A server that loses what it has committed is refused**, and so is a standby.
async fn require_safe(client: &Client) -> Result<(), OpenError> {
    let ask = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery()";
    let row = client.query_one(ask, &[]).await.map_err(failed_to_open)?;
    let setting = |n: usize| row.try_get::<_, String>(n).map_err(failed_to_open);
    let off = |name: &str| {
        let what = "it would lose commits in a power failure: set it to on";
        Err(OpenError::Unsafe(format!("{name} is off and {what}")))
    };
    if setting(0)? == "off" {
        return off("fsync");
    }
    if setting(1)? == "off" {
        return off("synchronous_commit");
    }
    match row.try_get::<_, bool>(2).map_err(failed_to_open)? {
        true => Err(OpenError::Unsafe(
            "it is a standby: name the primary".into(),
        )),
        false => Ok(()),
    }
}

async fn identify(client: &Client, sql: &Sql) -> Result<Identity, tokio_postgres::Error> {
    read::identity(&client.query_one(&sql.identity, &[]).await?)
}

/// Every new connection: **is it the store we know**, and is it still safe? Then the statements are prepared.
async fn greet(
    client: &ClientWrapper,
    sql: &Sql,
    known: &Identity,
    foreign: &OnceLock<String>,
) -> Result<(), HookError> {
    require_safe(client)
        .await
        .map_err(|e| HookError::message(e.to_string()))?;
    let found = identify(client, sql).await.map_err(HookError::Backend)?;
    if found != *known {
        let why = format!("it was {known:?} and is now {found:?}");
        return Err(HookError::message(foreign.get_or_init(|| why).clone()));
    }
    let usual = sql.usual();
    let prepare = usual.iter().map(|text| client.prepare_cached(text));
    try_join_all(prepare)
        .await
        .map(drop)
        .map_err(HookError::Backend)
}
