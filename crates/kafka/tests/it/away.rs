//! What clients see while the bucket is away: nothing is lost, and they are told in time.
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::world::{World, batch, fetch, list_offset, produce, values, write};

#[tokio::test]
async fn acks_all_times_out_and_the_batch_is_stored_later() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    world.bucket.close();
    let hurried = produce("t", -1, &[(0, &batch(&["late"]))]).with_timeout_ms(300);
    let since = Instant::now();
    let answer = client.call(&hurried, 9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 7);
    assert!(since.elapsed() >= Duration::from_millis(300));
    world.bucket.open();
    assert_eq!(write(&client, "t", &batch(&["next"])).await.base_offset, 1);
    let answer = client.call(&fetch("t", &[(0, 0)]), 12).await.unwrap();
    assert_eq!(values(&answer, 0), [(0, "late".into()), (1, "next".into())]);
}

#[tokio::test]
async fn acks_1_goes_on() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let send = async |value: &str| {
        let request = produce("t", 1, &[(0, &batch(&[value]))]);
        let answer = client.call(&request, 9).await.unwrap();
        let p = &answer.responses[0].partition_responses[0];
        (p.error_code, p.base_offset)
    };
    assert_eq!(send("the first takes the lease").await, (0, 0));
    world.bucket.close();
    assert_eq!(send("b").await, (0, 1));
    assert_eq!(send("c").await, (0, 2));
    assert_eq!(
        list_offset(&client, "t", -1).await.2,
        1,
        "nobody sees what is not committed"
    );
    world.bucket.open();
    write(&client, "t", &batch(&["d"])).await;
    assert_eq!(list_offset(&client, "t", -1).await.2, 4);
}

#[tokio::test]
async fn connections_are_not_read_past_the_memory_there_is() {
    let world = World::with_memory(64 * 1024).await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    world.bucket.close();
    let big = batch(&["x".repeat(10_000).as_str()]);
    let answers: Vec<_> = (0..50)
        .map(|_| client.start(&produce("t", -1, &[(0, &big)]), 9).unwrap())
        .collect();
    sleep(Duration::from_millis(200)).await;
    assert!(world.node.log().memory_in_use() <= 64 * 1024);
    let reader = world.connect().await;
    assert_eq!(
        list_offset(&reader, "t", -1).await,
        (0, -1, 0),
        "those who do not write are read"
    );
    world.bucket.open();
    for (n, answer) in (0..).zip(answers) {
        let answer = answer.await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, n);
    }
    world.node.log().drain().await.unwrap();
    assert_eq!(world.node.log().memory_in_use(), 0);
}
