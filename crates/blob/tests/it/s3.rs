//! The servers that `cargo xtask test` starts: MinIO and versitygw.
use std::sync::Arc;

use sh_blob::{
    BlobError, BlobSettings, Bucket, Capabilities,
    conformance::{conformance, far_ranges_are_of_one_content},
    open, probe,
};

use crate::world;

/// A test server's URL, split where a prefix goes.
pub struct Server {
    pub before: String,
    pub query: String,
}

impl Server {
    /// A prefix of its own for each test: they run side by side.
    pub fn url(&self, test: &str) -> String {
        format!(
            "{}/{test}-{:x}?{}",
            self.before,
            world::env().next_u64(),
            self.query
        )
    }
    pub fn bucket(&self, test: &str) -> Arc<dyn Bucket> {
        open(&self.url(test), &settings(), &world::env()).unwrap()
    }
    /// `host:port` behind the endpoint.
    pub fn address(&self) -> String {
        let (_, rest) = self
            .query
            .split_once("endpoint=http://")
            .expect("a plain endpoint");
        rest.split('&').next().unwrap_or(rest).to_string()
    }
    /// The same server, by way of another address.
    pub fn by_way_of(&self, address: &str) -> Server {
        let query = self.query.replace(&self.address(), address);
        Server {
            before: self.before.clone(),
            query,
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests are told by the environment which servers run"
)]
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

pub fn settings() -> BlobSettings {
    BlobSettings {
        access_key_id: Some(variable("STREAMHOUSE_TEST_S3_KEY")),
        secret_access_key: Some(variable("STREAMHOUSE_TEST_S3_SECRET").into()),
        ..BlobSettings::default()
    }
}

pub fn servers() -> Vec<Server> {
    let urls = variable("STREAMHOUSE_TEST_S3");
    let split = |url: &str| {
        let (before, query) = url.split_once('?').expect("a URL with an endpoint");
        Server {
            before: before.trim_end_matches('/').into(),
            query: query.into(),
        }
    };
    urls.split(',').map(split).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_every_promise() {
    for server in servers() {
        conformance(server.bucket("suite")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_reads_far_ranges_of_one_content() {
    far_ranges_are_of_one_content(servers().remove(0).bucket("far")).await;
}

#[tokio::test]
async fn the_probe_finds_conditional_puts_and_leaves_nothing() {
    for server in servers() {
        let bucket = server.bucket("probe");
        let found = probe(&*bucket, &world::env()).await.unwrap();
        assert_eq!(
            found,
            Capabilities {
                conditional_put: true
            },
            "{}",
            server.query
        );
        assert_eq!(bucket.list("", None, 10).await.unwrap(), vec![]);
    }
}

#[tokio::test]
async fn a_listing_goes_past_one_page_of_the_store() {
    for server in servers() {
        let bucket = server.bucket("pages");
        let keys: Vec<String> = (0..1203).map(|i| format!("p/{i:05}")).collect();
        for some in keys.chunks(50) {
            let puts = some.iter().map(|key| bucket.put(key, vec![]));
            futures::future::try_join_all(puts).await.unwrap();
        }
        let found = bucket.list("p/", None, 5000).await.unwrap();
        assert_eq!(
            found.into_iter().map(|meta| meta.key).collect::<Vec<_>>(),
            keys
        );
        let rest = bucket.list("p/", Some("p/00099"), 1100).await.unwrap();
        assert_eq!((rest.len(), rest[0].key.as_str()), (1100, "p/00100"));
        bucket.delete(&keys).await.unwrap();
        assert_eq!(bucket.list("p/", None, 10).await.unwrap(), vec![]);
    }
}

#[tokio::test]
async fn wrong_credentials_and_a_missing_bucket_are_definite_and_told_without_secrets() {
    for server in servers() {
        let wrong = BlobSettings {
            secret_access_key: Some("hunter2-hunter2".into()),
            ..settings()
        };
        let bucket = open(&server.url("auth"), &wrong, &world::env()).unwrap();
        let refused = bucket.put("a", vec!["x".into()]).await.unwrap_err();
        let BlobError::Definite(why) = &refused else {
            panic!("{refused:?}")
        };
        assert!(why.contains("403") && !why.contains("hunter2"), "{why}");

        let url = format!("s3://no-such-bucket-here?{}", server.query);
        let bucket = open(&url, &settings(), &world::env()).unwrap();
        for refused in [
            bucket.put("a", vec![]).await.unwrap_err(),
            bucket.get_all("a").await.unwrap_err(),
        ] {
            assert!(
                matches!(&refused, BlobError::Definite(why) if why.contains("NoSuchBucket")),
                "{refused:?}"
            );
        }
    }
}
