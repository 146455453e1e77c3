//! Real servers behind a bad line.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use sh_blob::{BlobError, BlobSettings, Bucket, Expect, PutIf, open};

use crate::{
    proxy::{
        Line::{self, Answers503, CutsReply, DropsReply, Good, Resets, Stalls},
        Proxy,
    },
    s3::{Server, servers, settings},
    world,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// A bucket by way of a bad line, and the same one by a good line.
async fn troubled(
    server: &Server,
    script: &[Line],
) -> (Arc<Proxy>, Arc<dyn Bucket>, Arc<dyn Bucket>) {
    let proxy = Proxy::start(&server.address(), script.iter().copied()).await;
    let impatient = BlobSettings {
        request_timeout: Duration::from_millis(700),
        call_timeout: CALL_TIMEOUT,
        ..settings()
    };
    let url = server.url("hostile");
    let troubled = url.replace(&server.address(), &proxy.address);
    let bucket = open(&troubled, &impatient, &world::env()).unwrap();
    (
        proxy,
        bucket,
        open(&url, &settings(), &world::env()).unwrap(),
    )
}

#[tokio::test]
async fn a_put_gets_through_a_bad_line() {
    for server in servers() {
        for script in [
            &[Answers503; 3][..],
            &[Stalls],
            &[DropsReply, Resets],
            &[CutsReply, Answers503, Stalls],
        ] {
            let (proxy, bucket, direct) = troubled(&server, script).await;
            let content = Bytes::from(vec![7; 300_000]);
            bucket.put("a", vec![content.clone()]).await.unwrap();
            assert!(direct.get_all("a").await.unwrap() == content);
            assert_eq!(proxy.requests(), script.len() + 1, "{script:?}");
        }
    }
}

#[tokio::test]
async fn a_get_gets_through_a_bad_line() {
    for server in servers() {
        let (_, bucket, direct) =
            troubled(&server, &[CutsReply, Answers503, DropsReply, Stalls, Good]).await;
        let content = Bytes::from(vec![7; 300_000]);
        direct.put("a", vec![content.clone()]).await.unwrap();
        assert!(bucket.get_all("a").await.unwrap() == content);
        assert_eq!(
            bucket
                .get("a", std::slice::from_ref(&(5..9)))
                .await
                .unwrap(),
            [Bytes::from(vec![7; 4])]
        );
    }
}

#[tokio::test]
async fn a_dead_line_is_an_unclear_outcome_within_the_bound() {
    let servers = servers();
    let cases = servers
        .iter()
        .flat_map(|server| [Answers503, Stalls, DropsReply, Resets].map(|line| (server, line)));
    join_all(cases.map(|(server, line)| a_dead_line(server, line))).await;
}

async fn a_dead_line(server: &Server, line: Line) {
    let (_, bucket, _) = troubled(server, &[line; 100]).await;
    let started = world::real_now();
    let result = bucket.put("a", vec!["x".into()]).await;
    assert!(
        matches!(result, Err(BlobError::Maybe(_))),
        "{line:?}: {result:?}"
    );
    let took = world::real_now().duration_since(started);
    assert!(
        took < CALL_TIMEOUT + Duration::from_secs(1),
        "{line:?}: {took:?}"
    );
}

#[tokio::test]
async fn nobody_listening_is_an_unclear_outcome_too() {
    let server = servers().remove(0).by_way_of("127.0.0.1:9");
    let bucket = open(&server.url("nobody"), &settings(), &world::env()).unwrap();
    assert!(matches!(
        bucket.put("a", vec!["x".into()]).await,
        Err(BlobError::Maybe(_))
    ));
}

#[tokio::test]
async fn a_conditional_put_knows_its_own_work_behind_a_bad_line() {
    for server in servers() {
        for script in [
            &[DropsReply][..],
            &[Answers503, Answers503],
            &[Stalls],
            &[Resets, CutsReply],
        ] {
            let (_, bucket, direct) = troubled(&server, script).await;
            let done = bucket
                .put_if("cluster.json", "mine".into(), Expect::Absent)
                .await
                .unwrap();
            let tag = direct.head("cluster.json").await.unwrap().unwrap().tag;
            assert_eq!(done, PutIf::Stored { tag }, "{script:?}");
            assert_eq!(
                bucket
                    .put_if("cluster.json", "other".into(), Expect::Absent)
                    .await
                    .unwrap(),
                PutIf::Lost
            );
        }
    }
}
