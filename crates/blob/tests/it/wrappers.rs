use std::{sync::Arc, time::Duration};

use sh_base::Env;
use sh_blob::{
    BlobError, Bucket, Expect, Hedged, MemoryBucket, Metered, PutIf, RetryLimits, Retrying,
    conformance::{conformance, far_ranges_are_of_one_content},
};
use tokio::time::Instant;

use crate::{
    troubled::{
        Fault::{
            self, DoneUnheard, LostUnheard, Never, Refused, Slow, SlowlyRefused, SlowlyUnheard,
        },
        Troubled,
    },
    world,
};

const LIMITS: RetryLimits = RetryLimits {
    request_timeout: Duration::from_secs(2),
    call_timeout: Duration::from_secs(10),
};

fn retrying(script: impl IntoIterator<Item = Fault>) -> (Arc<Troubled>, Retrying) {
    let env = world::env();
    let troubled = Troubled::new(Arc::new(MemoryBucket::new(&env)), script);
    let bucket = Retrying::new(troubled.clone(), LIMITS, &env);
    (troubled, bucket)
}

fn all_wrappers(env: &Env) -> Arc<dyn Bucket> {
    let metered = Arc::new(Metered::new(Arc::new(MemoryBucket::new(env)), env));
    let hedged = Arc::new(Hedged::new(metered, env));
    Arc::new(Retrying::new(hedged, LIMITS, env))
}

#[tokio::test]
async fn wrappers_keep_every_promise() {
    conformance(all_wrappers(&world::env())).await;
    far_ranges_are_of_one_content(all_wrappers(&world::env())).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_without_an_answer_is_repeated() {
    let (troubled, bucket) = retrying([LostUnheard, Never, DoneUnheard]);
    bucket.put("a", vec!["x".into()]).await.unwrap();
    assert_eq!(troubled.calls(), 4);
    assert_eq!(bucket.get_all("a").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_repeated() {
    let (troubled, bucket) = retrying([Refused]);
    assert!(matches!(
        bucket.put("a", vec![]).await,
        Err(BlobError::Definite(_))
    ));
    assert_eq!(troubled.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_never_hangs_past_its_bound() {
    let (_, bucket) = retrying([Never; 100]);
    let started = Instant::now();
    assert!(matches!(
        bucket.put("a", vec![]).await,
        Err(BlobError::Maybe(_))
    ));
    assert!(started.elapsed() <= LIMITS.call_timeout);
    let started = Instant::now();
    assert!(matches!(
        bucket.put_if("a", "x".into(), Expect::Absent).await,
        Err(BlobError::Maybe(_))
    ));
    assert!(started.elapsed() <= LIMITS.call_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_is_not_buried_in_repeats() {
    let (troubled, bucket) = retrying([LostUnheard; 1000]);
    for _ in 0..100 {
        assert!(bucket.put("a", vec![]).await.is_err());
    }
    assert!(
        troubled.calls() <= 150,
        "100 calls and the budget of 50 repeats, not {}",
        troubled.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_that_was_done_unheard_is_found_to_be_ours() {
    let (troubled, bucket) = retrying([DoneUnheard]);
    let done = bucket
        .put_if("c", "mine".into(), Expect::Absent)
        .await
        .unwrap();
    let tag = bucket.head("c").await.unwrap().unwrap().tag;
    assert_eq!(done, PutIf::Stored { tag });
    assert_eq!(troubled.calls(), 1, "not put again");
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_that_did_not_arrive_is_made_again() {
    let (troubled, bucket) = retrying([LostUnheard, LostUnheard]);
    assert!(matches!(
        bucket.put_if("c", "mine".into(), Expect::Absent).await,
        Ok(PutIf::Stored { .. })
    ));
    assert_eq!(troubled.calls(), 3);
    let tag = bucket.head("c").await.unwrap().unwrap().tag;
    assert_eq!(
        bucket
            .put_if("c", "other".into(), Expect::Absent)
            .await
            .unwrap(),
        PutIf::Lost
    );
    assert!(matches!(
        bucket.put_if("c", "next".into(), Expect::Tag(tag)).await,
        Ok(PutIf::Stored { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_whose_place_another_took_stays_unclear() {
    // Ours may have been first and been replaced: "lost" would be a lie that costs a cluster its identity.
    let (troubled, bucket) = retrying([LostUnheard]);
    troubled
        .inner
        .put("c", vec!["theirs".into()])
        .await
        .unwrap();
    let unclear = bucket.put_if("c", "mine".into(), Expect::Absent).await;
    assert!(matches!(unclear, Err(BlobError::Maybe(_))), "{unclear:?}");
    assert_eq!(bucket.get_all("c").await.unwrap(), "theirs");
}

fn hedged(script: impl IntoIterator<Item = Fault>) -> (Arc<Troubled>, Hedged) {
    let env = world::env();
    let troubled = Troubled::new(Arc::new(MemoryBucket::new(&env)), script);
    let bucket = Hedged::new(troubled.clone(), &env);
    (troubled, bucket)
}

/// A pace of 10 ms, then the rest of the script.
fn after_a_steady_pace(rest: impl IntoIterator<Item = Fault>) -> Vec<Fault> {
    let steady = std::iter::repeat_n(Slow(Duration::from_millis(10)), 100);
    steady.chain(rest).collect()
}

async fn put_times(bucket: &dyn Bucket, n: usize) {
    for _ in 0..n {
        bucket.put("a", vec!["x".into()]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_slower_than_the_rest_is_overtaken_by_a_second() {
    let (troubled, bucket) = hedged(after_a_steady_pace([
        Slow(Duration::from_secs(60)),
        Slow(Duration::from_millis(10)),
    ]));
    put_times(&bucket, 100).await;
    let started = Instant::now();
    put_times(&bucket, 1).await;
    assert!(
        started.elapsed() < Duration::from_millis(50),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(troubled.calls(), 102);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_not_asked_everything_twice() {
    let (troubled, bucket) = hedged(after_a_steady_pace([Slow(Duration::from_secs(1)); 2000]));
    put_times(&bucket, 1100).await;
    assert!(troubled.calls() <= 1100 + 1100 / 20, "{}", troubled.calls());
}

#[tokio::test(start_paused = true)]
async fn without_a_known_pace_nothing_is_hedged() {
    let (troubled, bucket) = hedged([Slow(Duration::from_secs(5))]);
    put_times(&bucket, 1).await;
    assert_eq!(troubled.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedged_put_that_failed_twice_is_definite_only_if_both_are() {
    let slow = Duration::from_secs(1);
    for (script, definite) in [
        ([SlowlyUnheard(slow), Refused], false),
        ([SlowlyRefused(slow), LostUnheard], false),
        ([SlowlyRefused(slow), Refused], true),
    ] {
        let (_, bucket) = hedged(after_a_steady_pace(script));
        put_times(&bucket, 100).await;
        let failed = bucket.put("a", vec![]).await.unwrap_err();
        assert_eq!(
            matches!(failed, BlobError::Definite(_)),
            definite,
            "{script:?}"
        );
    }
}
