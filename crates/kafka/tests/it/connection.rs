//! The order rule and the bounds of one connection, over an in-memory stream and a service that answers when the test says.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use sh_kafka::{
    connection::{Answering, Limits, Service, run},
    frames::{Closing, Incoming},
};
use sh_wire::ApiKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    sync::{oneshot, watch},
    task::{JoinHandle, yield_now},
};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;

/// Answers request `n` when the test says so. Produce requests run ahead.
#[derive(Clone, Default)]
struct Puppet(Arc<Strings>);

type Outcome = Result<Vec<Bytes>, Closing>;

#[derive(Default)]
struct Strings {
    running: Mutex<HashMap<i32, oneshot::Sender<Outcome>>>,
    started: Mutex<Vec<i32>>,
    reserved: AtomicUsize,
}

struct Held(Arc<Strings>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Service for Puppet {
    type Charge = Held;
    type Request = Incoming<Held>;

    async fn reserve(&self, _api_key: i16, frame_bytes: usize) -> Held {
        self.0.reserved.fetch_add(frame_bytes, Ordering::Relaxed);
        Held(self.0.clone(), frame_bytes)
    }

    fn open(&self, incoming: Incoming<Held>) -> Result<Incoming<Held>, Closing> {
        Ok(incoming)
    }

    fn runs_ahead(&self, request: &Incoming<Held>) -> bool {
        request.header.api == ApiKey::Produce
    }

    fn waits_for_news(&self, request: &Incoming<Held>) -> bool {
        request.header.api == ApiKey::Fetch
    }

    fn start(&self, request: Incoming<Held>) -> Answering {
        let (answer, answered) = oneshot::channel();
        let id = request.header.correlation_id;
        self.0.started.lock().push(id);
        self.0.running.lock().insert(id, answer);
        Box::pin(async move {
            let _held = request.charge;
            answered.await.expect("the test answers")
        })
    }
}

impl Puppet {
    async fn started(&self) -> Vec<i32> {
        settle().await;
        self.0.started.lock().clone()
    }

    fn answer(&self, id: i32) {
        self.finish(
            id,
            Ok(vec![
                Bytes::from(format!("<{id}")),
                Bytes::from_static(b">"),
            ]),
        );
    }

    fn finish(&self, id: i32, outcome: Outcome) {
        let waiting = self.0.running.lock().remove(&id).expect("it has started");
        waiting.send(outcome).expect("the connection waits for it");
    }
}

struct Client {
    stream: DuplexStream,
    puppet: Puppet,
    stop: watch::Sender<bool>,
    connection: JoinHandle<Result<(), Closing>>,
}

fn limits() -> Limits {
    Limits {
        frame_bytes_max: 1 << 20,
        pipeline_bytes_max: 1 << 20,
        pipeline_requests_max: 100,
        idle_max: Duration::from_secs(600),
        stall_max: Duration::from_secs(60),
    }
}

fn connect(limits: Limits) -> Client {
    let (stream, served) = duplex(1 << 20);
    let (read, write) = split(served);
    let puppet = Puppet::default();
    let (stop, stopped) = watch::channel(false);
    let connection = tokio::spawn(run(read, write, puppet.clone(), limits, stopped));
    Client {
        stream,
        puppet,
        stop,
        connection,
    }
}

fn frame(key: i16, id: i32, body: usize) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(10 + body as i32);
    out.put_i16(key);
    out.put_i16(3);
    out.put_i32(id);
    out.put_i16(-1);
    out.put_bytes(0, body);
    out
}

impl Client {
    async fn send(&mut self, key: i16, id: i32) {
        self.stream.write_all(&frame(key, id, 100)).await.unwrap();
    }

    async fn expect(&mut self, text: &str) {
        let mut seen = vec![0; text.len()];
        self.stream.read_exact(&mut seen).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), text);
    }

    async fn ended(self) -> Result<(), Closing> {
        self.connection.await.expect("no panic")
    }
}

/// Lets the connection's task do what it can do now.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test]
async fn produce_requests_run_side_by_side_and_are_answered_in_order() {
    let mut client = connect(limits());
    for id in 1..=3 {
        client.send(PRODUCE, id).await;
    }
    assert_eq!(
        client.puppet.started().await,
        [1, 2, 3],
        "nobody waited for an answer"
    );
    client.puppet.answer(3);
    client.puppet.answer(1);
    client.expect("<1>").await;
    client.puppet.answer(2);
    client.expect("<2><3>").await;
}

#[tokio::test]
async fn any_other_request_waits_for_those_before_it_and_is_waited_for() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    client.send(METADATA, 2).await;
    client.send(PRODUCE, 3).await;
    client.send(PRODUCE, 4).await;
    assert_eq!(client.puppet.started().await, [1]);
    client.puppet.answer(1);
    client.expect("<1>").await;
    assert_eq!(client.puppet.started().await, [1, 2]);
    client.puppet.answer(2);
    client.expect("<2>").await;
    assert_eq!(client.puppet.started().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_request_without_an_answer_leaves_no_byte_on_the_wire() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    client.send(PRODUCE, 2).await;
    assert_eq!(client.puppet.started().await, [1, 2]);
    client.puppet.finish(1, Ok(vec![]));
    client.puppet.answer(2);
    client.expect("<2>").await;
}

#[tokio::test]
async fn what_a_client_wrote_before_it_hung_up_is_done() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    client.send(METADATA, 2).await;
    client.send(FETCH, 9).await;
    client.send(PRODUCE, 3).await;
    assert_eq!(client.puppet.started().await, [1]);
    let Client {
        stream,
        puppet,
        stop: _stop,
        connection,
    } = client;
    drop(stream);
    for id in 1..=3 {
        assert_eq!(
            puppet.started().await.last(),
            Some(&id),
            "and no long poll is waited for"
        );
        puppet.answer(id);
    }
    connection
        .await
        .expect("no panic")
        .expect("a hang-up is no error");
}

#[tokio::test]
async fn a_full_pipeline_is_not_read_and_its_memory_is_given_back() {
    let mut client = connect(Limits {
        pipeline_bytes_max: 300,
        ..limits()
    });
    for id in 1..=9 {
        client.send(PRODUCE, id).await;
    }
    assert_eq!(
        client.puppet.started().await,
        [1, 2, 3],
        "110 bytes each, up to 300 or one more"
    );
    client.puppet.answer(1);
    client.expect("<1>").await;
    assert_eq!(client.puppet.started().await, [1, 2, 3, 4]);
    for id in 2..=9 {
        settle().await;
        client.puppet.answer(id);
    }
    client.expect("<2><3><4><5><6><7><8><9>").await;
    let strings = client.puppet.0.clone();
    assert_eq!(strings.reserved.load(Ordering::Relaxed), 0);
    drop(client.stream);
    client.connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection() {
    for bytes in [
        &(-1i32).to_be_bytes()[..],
        &i32::MAX.to_be_bytes()[..],
        &[0, 0, 0, 0],
        &[0, 0, 0, 2, 0, 3],
        &[0, 0, 0, 10, 0x7f, 0x7f, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 1, 0, 2, 0xff, 0xff],
    ] {
        let mut client = connect(limits());
        client.stream.write_all(bytes).await.unwrap();
        assert!(
            matches!(client.ended().await, Err(Closing::Wire(_))),
            "{bytes:?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_fails_ends_the_connection_after_the_answers_before_it() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    client.send(PRODUCE, 2).await;
    settle().await;
    client.puppet.finish(2, Err(Closing::AcksNoneFailed));
    client.puppet.answer(1);
    client.expect("<1>").await;
    assert!(matches!(client.ended().await, Err(Closing::AcksNoneFailed)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_for_an_answer_is_not_idle() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    settle().await;
    tokio::time::sleep(Duration::from_secs(700)).await;
    client.puppet.answer(1);
    client.expect("<1>").await;
    let since = tokio::time::Instant::now();
    client.ended().await.unwrap();
    assert_eq!(since.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_inside_a_frame_does_not_keep_its_memory() {
    let mut client = connect(limits());
    client
        .stream
        .write_all(&frame(PRODUCE, 1, 100)[..50])
        .await
        .unwrap();
    let strings = client.puppet.0.clone();
    let Client {
        stream, connection, ..
    } = client;
    assert!(matches!(
        connection.await.unwrap(),
        Err(Closing::Stalled(_))
    ));
    assert_eq!(strings.reserved.load(Ordering::Relaxed), 0);
    drop(stream);
}

#[tokio::test]
async fn a_stop_waits_for_the_requests_that_were_read_and_reads_no_more() {
    let mut client = connect(limits());
    client.send(PRODUCE, 1).await;
    client.send(METADATA, 2).await;
    settle().await;
    client.stop.send(true).unwrap();
    settle().await;
    client.send(PRODUCE, 3).await;
    client.puppet.answer(1);
    client.expect("<1>").await;
    settle().await;
    client.puppet.answer(2);
    client.expect("<2>").await;
    assert_eq!(client.puppet.started().await, [1, 2]);
    client.ended().await.unwrap();
}
