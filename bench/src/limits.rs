//! What the machine and its stores could do at most, measured in the same run.
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use sh_blob::Bucket;

use crate::gauge::{Latencies, latencies, note};

const MIB: f64 = 1024.0 * 1024.0;
/// The file that is written again and again.
const ROOM: u64 = 64 * 1024 * 1024;

/// One limit: how much a second, and how long one takes.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    pub what: String,
    pub mib_per_second: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl Limit {
    fn new(what: String, bytes: f64, wall: Duration, seen: Option<&Latencies>) -> Limit {
        let quantile = |q| seen.map(|seen| seen.value_at_quantile(q) as f64 / 1e3);
        Limit {
            what,
            mib_per_second: bytes / MIB / wall.as_secs_f64(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

/// Appends of one size to an allocated file, each with its `fdatasync`: what a WAL cannot beat.
pub fn write_and_sync(folder: &Path, size: usize, time: Duration) -> Result<Limit> {
    // Written once before, as a WAL that has run for a while: the first write to a block costs the file system more.
    let file = tempfile::tempfile_in(folder)?;
    let room = ROOM.max(size as u64);
    let zeros = vec![0; 1024 * 1024];
    for at in (0..room).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let block = vec![7; size];
    let (mut seen, mut at, mut bytes) = (latencies(), 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        if at + size as u64 > room {
            at = 0;
        }
        let one = Instant::now();
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        note(&mut seen, one.elapsed());
        at += size as u64;
        bytes += size;
    }
    let wall = begun.elapsed();
    let what = format!("write + fdatasync of {}", human(size));
    Ok(Limit::new(what, bytes as f64, wall, Some(&seen)))
}

/// PUTs and then GETs of whole objects, `parallel` at once.
pub async fn bucket(bucket: &Arc<dyn Bucket>, what: &str, time: Duration) -> Result<[Limit; 2]> {
    const SIZE: usize = 8 * 1024 * 1024;
    const PARALLEL: usize = 4;
    let block = Bytes::from(vec![7; SIZE]);
    let begun = Instant::now();
    let mut puts = latencies();
    let keys = stream::iter(0_u32..)
        .take_while(|_| std::future::ready(begun.elapsed() < time))
        .map(|n| {
            let (bucket, block) = (bucket.clone(), block.clone());
            async move {
                let (key, one) = (format!("limit/{n:06}"), Instant::now());
                bucket.put(&key, vec![block]).await?;
                anyhow::Ok((key, one.elapsed()))
            }
        })
        .buffered(PARALLEL);
    let put: Vec<(String, Duration)> = keys.try_collect().await?;
    let put_wall = begun.elapsed();
    put.iter().for_each(|(_, took)| note(&mut puts, *took));
    let begun = Instant::now();
    let mut gets = latencies();
    let got: Vec<Duration> = stream::iter(&put)
        .map(|(key, _)| async move {
            let one = Instant::now();
            bucket.get_all(key).await?;
            anyhow::Ok(one.elapsed())
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let get_wall = begun.elapsed();
    got.iter().for_each(|took| note(&mut gets, *took));
    let keys: Vec<String> = put.into_iter().map(|(key, _)| key).collect();
    let bytes = (keys.len() * SIZE) as f64;
    bucket.delete(&keys).await?;
    Ok([
        Limit::new(
            format!("PUT of 8 MiB to {what}, {PARALLEL} at once"),
            bytes,
            put_wall,
            Some(&puts),
        ),
        Limit::new(
            format!("GET of 8 MiB from {what}, {PARALLEL} at once"),
            bytes,
            get_wall,
            Some(&gets),
        ),
    ])
}

/// One TCP connection over loopback, both ends in this process.
pub fn loopback(time: Duration) -> Result<Limit> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let block = vec![7; 256 * 1024];
        let begun = Instant::now();
        while begun.elapsed() < time {
            stream.write_all(&block)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let (mut block, mut bytes) = (vec![0; 256 * 1024], 0);
    let begun = Instant::now();
    loop {
        match stream.read(&mut block)? {
            0 => break,
            read => bytes += read,
        }
    }
    let wall = begun.elapsed();
    drop(sender.join());
    Ok(Limit::new(
        "loopback, one connection".into(),
        bytes as f64,
        wall,
        None,
    ))
}

/// What one core copies and checks.
pub fn memory() -> [Limit; 2] {
    let from = vec![7_u8; 64 * 1024 * 1024];
    let mut to = vec![0_u8; from.len()];
    to.copy_from_slice(&from);
    let begun = Instant::now();
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from));
    }
    let bytes = (from.len() * ROUNDS) as f64;
    let copy = Limit::new("memcpy, one core".into(), bytes, begun.elapsed(), None);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(crc32c::crc32c(std::hint::black_box(&from)));
    }
    let crc = Limit::new("CRC-32C, one core".into(), bytes, begun.elapsed(), None);
    [copy, crc]
}

/// `1 KiB`, `1.5 MiB`.
pub fn human(bytes: usize) -> String {
    match bytes as f64 {
        b if b < 1024.0 => format!("{bytes} B"),
        b if b < MIB => format!("{:.0} KiB", b / 1024.0),
        b => format!("{:.1} MiB", b / MIB),
    }
}
