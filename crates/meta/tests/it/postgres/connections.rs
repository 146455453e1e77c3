//! Opening, and the cost of an update.
use std::time::Duration;

use futures::future::join_all;
use sh_meta::{
    MetaError, MetaStore, OpenError, PostgresStore,
    conformance::{story::*, thirty_two_updaters_never_deadlock_and_lose_nothing},
    open,
};
use tokio::time::Instant;

use super::{proxy::Proxy, server};

async fn refused(url: &str) -> OpenError {
    PostgresStore::open(url, &env(1))
        .await
        .err()
        .expect("it is refused")
}

#[tokio::test]
async fn an_update_is_two_round_trips() {
    let _shared = server::shared().await;
    let round_trip = Duration::from_millis(120);
    let proxy = Proxy::start(round_trip / 2).await;
    let store = server::open(&proxy.url(&server::schema().await)).await;
    let lane = lane(&store, 1);
    let keys = || vec![object(1), agent(1), head(1), head(2)];
    add_one(&lane, keys()).await.unwrap();
    let start = Instant::now();
    add_one(&lane, keys()).await.unwrap();
    let trips = start.elapsed().as_secs_f64() / round_trip.as_secs_f64();
    assert!(
        (2.0..2.9).contains(&trips),
        "it took {trips:.2} round trips"
    );
    let start = Instant::now();
    store.get(&keys()).await.unwrap();
    let trips = start.elapsed().as_secs_f64() / round_trip.as_secs_f64();
    assert!(
        (1.0..1.9).contains(&trips),
        "a read took {trips:.2} round trips"
    );
}

#[tokio::test]
async fn tables_that_came_with_a_newer_version_are_added() {
    let _shared = server::shared().await;
    let schema = server::schema().await;
    let url = server::with_schema(&server::url(), &schema);
    let identity = server::open(&url).await.identity().await.unwrap();
    let drop = format!("DROP TABLE \"{schema}\".group_offset, \"{schema}\".txn_offset");
    server::admin().await.batch_execute(&drop).await.unwrap();
    let store = server::open(&url).await;
    assert_eq!(store.identity().await.unwrap(), identity);
    let all = sh_meta::KeyRange::all();
    assert_eq!(store.scan(all, 1, false).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn agents_that_start_at_once_make_the_tables_once() {
    let _shared = server::shared().await;
    let url = server::fresh_url().await;
    let opening = (0..8u64).map(|n| {
        let url = url.clone();
        tokio::spawn(async move {
            PostgresStore::open(&url, &env(n))
                .await
                .unwrap()
                .identity()
                .await
                .unwrap()
        })
    });
    let identities: Vec<_> = join_all(opening)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(
        identities.iter().all(|identity| *identity == identities[0]),
        "{identities:?}"
    );
    assert!(identities[0].timeline >= 1);
}

#[tokio::test]
async fn another_schema_is_another_store() {
    let _shared = server::shared().await;
    let (a, b) = (
        server::open(&server::fresh_url().await).await,
        server::open(&server::fresh_url().await).await,
    );
    assert_ne!(a.identity().await.unwrap(), b.identity().await.unwrap());
    set(&lane(&a, 1), &head(1), "x").await;
    assert_eq!(value(&b, &head(1)).await, None);
}

#[tokio::test]
async fn a_database_that_is_away_may_be_tried_again_and_no_password_is_told() {
    let e = refused("postgres://me:s3cret@127.0.0.1:1/db?schema=mine").await;
    assert!(e.is_retriable(), "{e}");
    let text = e.to_string();
    for part in [
        "127.0.0.1",
        "port 1",
        "database db",
        "user me",
        "schema mine",
        "refused",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_wrong_url_says_what_is_wrong_with_it() {
    for (url, part) in [
        ("postgres://me:s3cret@h/db?sslmode=encrypted", "verify-full"),
        (
            "postgres://me:s3cret@h/db?sslrootcert=ca.crt",
            "checks no certificate",
        ),
        ("postgres://me:s3cret@h/db?schema=No-Way", "No-Way"),
        ("postgres://me:s3cret@h/db?schema=a&schema=b", "twice"),
        ("postgres://me:s3cret@h/db?colour=red", "colour"),
        ("mysql://h/db", "postgres://"),
        ("sqlite://", "path"),
    ] {
        let e = open(url, &env(1)).await.err().expect("it is refused");
        assert!(
            matches!(e, OpenError::Url(_)) && !e.is_retriable(),
            "{url}: {e}"
        );
        assert!(
            e.to_string().contains(part) && !e.to_string().contains("s3cret"),
            "{url}: {e}"
        );
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_no_matter_of_time() {
    let _shared = server::shared().await;
    let url = server::url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let e = refused(&format!("{server}/nowhere")).await;
    assert!(
        !e.is_retriable() && e.to_string().contains("nowhere"),
        "{e}"
    );
}

#[tokio::test]
async fn a_session_that_does_not_wait_for_the_disk_is_refused() {
    let _shared = server::shared().await;
    let url = server::fresh_url().await;
    let e = refused(&format!("{url}&options=-c%20synchronous_commit%3Doff")).await;
    assert!(
        matches!(e, OpenError::Unsafe(_)) && e.to_string().contains("synchronous_commit"),
        "{e}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused() {
    let _alone = server::alone().await;
    let (url, admin) = (server::fresh_url().await, server::admin().await);
    let set = async |sql: &str| {
        admin.batch_execute(sql).await.unwrap();
        admin
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    set("ALTER SYSTEM SET fsync = off").await;
    let refused = PostgresStore::open(&url, &env(1)).await.err();
    set("ALTER SYSTEM RESET fsync").await;
    let e = refused.expect("it is refused");
    assert!(
        matches!(e, OpenError::Unsafe(_)) && e.to_string().contains("fsync is off"),
        "{e}"
    );
    server::open(&url).await;
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_alone() {
    let _shared = server::shared().await;
    let schema = server::schema().await;
    let url = server::with_schema(&server::url(), &schema);
    server::open(&url).await;
    let newer = format!("UPDATE {schema}.system SET format = 99");
    server::admin().await.batch_execute(&newer).await.unwrap();
    let e = refused(&url).await;
    assert!(
        matches!(e, OpenError::Format(_)) && e.to_string().contains("99"),
        "{e}"
    );
}

/// A fail-over behind the same address: the connection that would lead to the other store is never used.
#[tokio::test]
async fn a_new_connection_that_finds_another_store_ends_the_use_of_it() {
    let _shared = server::shared().await;
    let schema = server::schema().await;
    let store = server::open(&server::with_schema(&server::url(), &schema)).await;
    set(&lane(&store, 1), &head(1), "x").await;
    let admin = server::admin().await;
    admin
        .batch_execute(&format!("UPDATE {schema}.system SET id = 'another'"))
        .await
        .unwrap();
    server::kill_backends(&admin, &schema).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..2 {
        let answer = store.get(&[head(1)]).await;
        assert!(matches!(answer, Err(MetaError::Foreign(_))), "{answer:?}");
    }
}

/// What an operator's `ALTER DATABASE` may have set must not change what an update means.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_default_isolation_level_of_the_database_does_not_matter() {
    let _shared = server::shared().await;
    for level in ["serializable", "repeatable%5C%20read"] {
        let options = format!("options=-c%20default_transaction_isolation%3D{level}");
        let store = server::open(&format!("{}&{options}", server::fresh_url().await)).await;
        thirty_two_updaters_never_deadlock_and_lose_nothing(store).await;
    }
}

/// Whether the sessions of a store are encrypted.
async fn is_encrypted(schema: &str) -> bool {
    let ask = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
    let admin = server::admin().await;
    admin.query_one(ask, &[&schema]).await.unwrap().get(0)
}

#[tokio::test]
async fn connections_are_encrypted_where_the_url_says_so() {
    let _shared = server::shared().await;
    let ca = server::authority();
    for (parameters, encrypted) in [
        (String::new(), false),
        ("&sslmode=disable".into(), false),
        ("&sslmode=prefer".into(), true),
        ("&sslmode=require".into(), true),
        (format!("&sslmode=require&sslrootcert={ca}"), true),
        (format!("&sslmode=verify-ca&sslrootcert={ca}"), true),
        (format!("&sslmode=verify-full&sslrootcert={ca}"), true),
    ] {
        let schema = server::schema().await;
        let url = server::with_schema(&server::url(), &schema) + &parameters;
        let store = server::open(&url).await;
        store.identity().await.unwrap();
        assert_eq!(is_encrypted(&schema).await, encrypted, "{parameters}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_show_who_it_is_is_not_spoken_to() {
    let _shared = server::shared().await;
    let ca = server::authority();
    // The same server under a name that is not in its certificate.
    let renamed = server::url().replace("127.0.0.1", "db.example") + "?hostaddr=127.0.0.1";
    for (url, parameters, part) in [
        (
            server::url() + "?",
            "sslmode=verify-full".to_owned(),
            "UnknownIssuer",
        ),
        (
            server::url() + "?",
            "sslmode=verify-ca".to_owned(),
            "UnknownIssuer",
        ),
        (
            renamed.clone() + "&",
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "not valid for name",
        ),
    ] {
        let why = refused(&format!("{url}{parameters}")).await.to_string();
        assert!(why.contains(part), "{parameters}: {why}");
    }
    let schema = server::schema().await;
    let url = server::with_schema(&renamed, &schema);
    server::open(&format!("{url}&sslmode=verify-ca&sslrootcert={ca}")).await;
}
