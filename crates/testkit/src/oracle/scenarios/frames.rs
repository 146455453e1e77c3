//! Bytes that are no request: the connection ends, and nobody else notices.
use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};

use super::{requests::metadata, scenarios};
use crate::oracle::Peer;

scenarios! {
    frames_broken: "frames that cannot be read close their connection",
    frames_unknown: "API keys and versions that nobody knows",
}

/// A frame with header version 1: key, version, correlation id 7, client id, body.
fn frame(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(8 + 2 + 1 + body.len() as i32);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(7);
    out.put_i16(1);
    out.put_slice(b"c");
    out.put_slice(body);
    out.freeze()
}

async fn frames_broken(peer: &mut Peer) -> Result<()> {
    peer.ask_frame("a negative length", Bytes::from_static(b"\xff\xff\xff\xff"))
        .await?;
    peer.ask_frame("a length of zero", Bytes::from_static(b"\0\0\0\0"))
        .await?;
    peer.ask_frame("a length of 101 MiB", Bytes::from_static(b"\x06\x50\0\0"))
        .await?;
    peer.ask_frame(
        "a header that ends early",
        Bytes::from_static(b"\0\0\0\x05\0\x03\0\0\0"),
    )
    .await?;
    peer.ask_frame(
        "words of HTTP",
        Bytes::from_static(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    .await?;
    peer.ask_frame(
        "a metadata request whose array ends early",
        frame(3, 1, b"\0\0\0\x09"),
    )
    .await?;
    peer.ask_frame("a produce request without a body", frame(0, 3, b""))
        .await?;
    peer.ask_frame(
        "a metadata request with bytes after its end",
        frame(3, 1, b"\0\0\0\0more"),
    )
    .await?;
    peer.ask("an ordinary client, afterwards", 1, &metadata(&[]))
        .await?;
    Ok(())
}

async fn frames_unknown(peer: &mut Peer) -> Result<()> {
    for (key, version) in [
        (999, 0),
        (-1, 0),
        (93, 0),
        (3, 99),
        (3, -1),
        (1, 3),
        (0, 99),
        (19, 0),
        (32, 0),
    ] {
        peer.ask_frame(
            &format!("key {key} version {version}"),
            frame(key, version, b"\0\0\0\0"),
        )
        .await?;
    }
    Ok(())
}
