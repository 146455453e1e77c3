//! Sessions that begin over a transaction that is still open, and markers of version 2.
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        InitProducerIdRequest, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
        write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
    },
    protocol::{Decodable, Encodable},
};

use super::{
    scenarios,
    transactions::{NOBODY, Producer, ask_end, ask_write, begin, end, id, init, settled, write},
};
use crate::oracle::{Peer, Topic};

scenarios! {
    txn_taken_over: "a session begins over an open transaction: first the transaction is aborted",
    txn_taken_up: "a producer begins anew over its own open transaction",
    txn_markers_of_2: "markers that say which version of transactions they end",
}

/// Asks until the transaction before is over; only the last answer is written down.
async fn until_ready(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: InitProducerIdRequest,
) -> Result<Producer> {
    for _ in 0..200 {
        let answer = peer.quietly(version, &request).await?;
        if answer.error_code != 51 {
            peer.write_down(what, version, &answer);
            return Ok((answer.producer_id.0, answer.producer_epoch));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("no session within 5 s")
}

async fn txn_taken_over(peer: &mut Peer) -> Result<()> {
    for version in [0, 2, 3, 4, 5] {
        let topic = peer.topic(&format!("t{version}"), 1, &[]).await?;
        let tx = id(peer, &format!("tx{version}"));
        let old = begin(peer, &tx).await?;
        let batch = write(peer, 12, &topic, (&tx, 0), (old, 0));
        ask_write(peer, "a batch", 12, batch).await?;
        let request = init(&tx, NOBODY);
        peer.ask("over the open transaction", version, &request)
            .await?;
        let new = until_ready(peer, "once it is aborted", version, request).await?;
        settled(peer, &topic, 0, 2).await?;
        let late = write(peer, 12, &topic, (&tx, 0), (old, 1));
        ask_write(peer, "a batch of the session before", 12, late).await?;
        ask_end(peer, "its end", 5, end(&tx, old, true)).await?;
        let batch = write(peer, 12, &topic, (&tx, 0), (new, 0));
        ask_write(peer, "a batch of the new session", 12, batch).await?;
        ask_end(peer, "its end", 5, end(&tx, new, true)).await?;
    }
    Ok(())
}

async fn txn_taken_up(peer: &mut Peer) -> Result<()> {
    for version in [3, 4, 5] {
        let topic = peer.topic(&format!("t{version}"), 1, &[]).await?;
        let tx = id(peer, &format!("tx{version}"));
        let old = begin(peer, &tx).await?;
        let batch = write(peer, 12, &topic, (&tx, 0), (old, 0));
        ask_write(peer, "a batch", 12, batch).await?;
        let request = init(&tx, old);
        peer.ask("by its epoch", version, &request).await?;
        until_ready(
            peer,
            "by its epoch, asked until it is ready",
            version,
            request,
        )
        .await?;
        settled(peer, &topic, 0, 2).await?;
    }
    Ok(())
}

/// The body of version 2: that of version 1 with one byte more before the tagged fields of the marker and of the request.
fn marker_of_2(
    topic: &Topic,
    (producer, epoch): Producer,
    transaction_version: u8,
) -> Result<Vec<u8>> {
    let topic = WritableTxnMarkerTopic::default()
        .with_name(topic.name.clone())
        .with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch)
        .with_coordinator_epoch(3)
        .with_topics(vec![topic]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let mut body = BytesMut::new();
    request.encode(&mut body, 1)?;
    let tags = body.split_off(body.len() - 2);
    Ok([&body[..], &[transaction_version], &tags[..]].concat())
}

async fn txn_markers_of_2(peer: &mut Peer) -> Result<()> {
    for (version, off) in [(0, 0), (1, 0), (2, 0), (2, -1), (2, 1), (3, 0)] {
        let topic = peer.topic(&format!("t{version}{off}"), 1, &[]).await?;
        let tx = id(peer, &format!("tx{version}{off}"));
        begin(peer, &tx).await?;
        let now = begin(peer, &tx).await?;
        let batch = write(peer, 12, &topic, (&tx, 0), (now, 0));
        ask_write(peer, "a batch", 12, batch).await?;
        let body = marker_of_2(&topic, (now.0, now.1 + off), version)?;
        // The answer follows the tagged fields of its header.
        let mut answer = peer.raw((27, 2, 2), &body).await?.slice(1..);
        let answer = WriteTxnMarkersResponse::decode(&mut answer, 1)?;
        let what = format!("WriteTxnMarkers: of transaction version {version}, {off} epochs on");
        peer.write_down(
            &what,
            2,
            &answer.markers[0].topics[0].partitions[0].error_code,
        );
    }
    Ok(())
}
