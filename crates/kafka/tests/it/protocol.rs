//! What the protocol itself promises: versions, frames that make no sense, connections at rest.
use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, ApiVersionsRequest, MetadataRequest},
    protocol::{Encodable, Request},
};
use sh_client::Connection;
use sh_kafka::{
    DoorConfig,
    connection::{Limits, run},
    door::{Session, Software},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::world::{PATIENCE, World, batch, fetch, list_offset, produce, text, write};

async fn exchange(world: &World, frame: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(&world.address).await.unwrap();
    stream.write_all(frame).await.unwrap();
    let mut length = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut length))
        .await
        .unwrap()
        .ok()?;
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).await.unwrap();
    Some(answer)
}

fn frame(key: i16, version: i16, flexible: bool, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(10 + i32::from(flexible) + body.len() as i32);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(42);
    out.put_i16(-1);
    out.put_bytes(0, flexible.into());
    out.put_slice(body);
    out.freeze()
}

#[tokio::test]
async fn api_versions_tells_what_is_served_and_nothing_else() {
    let world = World::start().await;
    let client = Connection::open_silent(&world.address, "test", PATIENCE)
        .await
        .unwrap();
    for version in 0..=4 {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1"));
        let answer = client.call(&request, version).await.unwrap();
        let range = |key: ApiKey| {
            let api = answer.api_keys.iter().find(|k| k.api_key == key as i16);
            api.map(|k| (k.min_version, k.max_version))
        };
        assert_eq!(range(ApiKey::Produce), Some((0, 13)));
        assert_eq!(range(ApiKey::Fetch), Some((4, 18)));
        assert_eq!(range(ApiKey::JoinGroup), Some((0, 9)));
        assert_eq!(range(ApiKey::ShareFetch), None);
        assert_eq!(answer.supported_features.is_empty(), version < 3);
        for api in &answer.api_keys {
            let key = ApiKey::try_from(api.api_key).unwrap();
            let coded = match key {
                // Its newest version is read by hand.
                ApiKey::WriteTxnMarkers => 2,
                key => key.valid_versions().max,
            };
            assert!(api.max_version <= coded, "{key:?}");
        }
    }
    let rude = ApiVersionsRequest::default().with_client_software_name(text("no spaces!"));
    assert_eq!(client.call(&rude, 3).await.unwrap().error_code, 42);
}

#[tokio::test]
async fn an_api_versions_of_the_future_is_answered_in_version_0() {
    let world = World::start().await;
    let answer = exchange(&world, &frame(18, 99, true, b"")).await.unwrap();
    let mut expected = BytesMut::new();
    expected.put_i32(42);
    expected.put_i16(35);
    expected.put_i32(1);
    [18, 0, 4].iter().for_each(|n| expected.put_i16(*n));
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn what_is_not_served_ends_the_connection() {
    let world = World::start().await;
    for (key, version) in [
        (0, 0),
        (0, 2),
        (0, 14),
        (1, 3),
        (3, 99),
        (4, 0),
        (99, 0),
        (-1, 0),
    ] {
        let answer = exchange(&world, &frame(key, version, false, &[0; 64])).await;
        assert_eq!(answer, None, "key {key} version {version}");
    }
    for malformed in [frame(0, 3, false, b"zz"), frame(3, 1, false, &[0x7f; 4])] {
        assert_eq!(exchange(&world, &malformed).await, None);
    }
    world.topic("t", 1, &[]).await;
    assert_eq!(
        list_offset(&world.connect().await, "t", -1).await,
        (0, -1, 0),
        "others go on"
    );
}

/// xorshift: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

fn encoded<R: Request + Encodable>(request: &R, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    frame(R::KEY, version, R::header_version(version) >= 2, &body)
}

/// A frame with some of its bytes changed, cut or doubled; its length is made to fit most of the time.
fn mutated(dice: &mut Dice, seed: &[u8]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(out.len());
        match dice.roll(5) {
            0 => out[at] = dice.roll(256) as u8,
            1 => out[at] ^= 1 << dice.roll(8),
            2 => out.truncate(at.max(8)),
            3 => out.extend_from_within(at..),
            _ => out[at] = [0, 0x7f, 0x80, 0xff][dice.roll(4)],
        }
    }
    if dice.roll(10) > 0 {
        let length = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&length.to_be_bytes());
    }
    out
}

/// One frame on a connection of its own: sends it, and waits a moment for what comes of it.
async fn poke(world: &World, frame: Vec<u8>) {
    let (mut client, served) = duplex(1 << 16);
    let (read, write) = split(served);
    let session = Session {
        door: world.door.clone(),
        host: "test".into(),
        software: Arc::new(Software::at(0)),
    };
    let limits = Limits {
        stall_max: Duration::from_millis(20),
        ..DoorConfig::default().limits
    };
    let (_stop, stopping) = watch::channel(false);
    let connection = run(read, write, session, limits, stopping);
    let talk = async {
        client.write_all(&frame).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_millis(20), client.read_to_end(&mut answer)).await;
        drop(client);
    };
    // How the connection ends does not matter here; that it does.
    let _ = tokio::join!(connection, talk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_mutated_frames_leave_the_server_serving() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let good = batch(&["a", "b", "c"]);
    let seeds = [
        encoded(&produce("t", 1, &[(0, &good), (1, &good)]), 8),
        encoded(&produce("t", -1, &[(0, &good)]), 11),
        encoded(&fetch("t", &[(0, 0), (1, 0)]).with_session_epoch(0), 12),
        encoded(&fetch("t", &[(0, 0)]), 5),
        encoded(&MetadataRequest::default().with_topics(None), 12),
        encoded(&ApiVersionsRequest::default(), 3),
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let pokes = (0..500).map(|_| {
            let seed = dice.roll(seeds.len());
            poke(&world, mutated(&mut dice, &seeds[seed]))
        });
        futures::future::join_all(pokes.collect::<Vec<_>>()).await;
    }
    let client = world.connect().await;
    assert_eq!(write(&client, "t", &good).await.error_code, 0);
    world.node.log().drain().await.unwrap();
    assert_eq!(
        world.node.log().memory_in_use(),
        0,
        "nothing is held for those who are gone"
    );
}
