//! Frames that nobody should send, sent to a running server.
use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::chance::Chance;

/// Connections at once.
const SENDERS: usize = 8;
/// Frames on one connection, if the server keeps it so long.
const FRAMES_PER_CONNECTION: usize = 16;

/// Good requests of several APIs, without their length: what the mutations begin with.
pub fn seeds() -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/frames");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("no {}", folder.display()))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|path| Ok(fs::read(path)?)).collect()
}

/// Sends `count` mutations of the seeds. An error is one of connecting: the server is gone.
pub async fn send(
    address: &str,
    seeds: &[Vec<u8>],
    count: usize,
    chance: &mut Chance,
) -> Result<()> {
    let mut senders = JoinSet::new();
    for n in 0..SENDERS {
        let share = count / SENDERS + usize::from(n < count % SENDERS);
        let (address, seeds, chance) = (address.to_owned(), seeds.to_vec(), chance.fork());
        senders.spawn(async move { send_share(&address, &seeds, share, chance).await });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

async fn send_share(
    address: &str,
    seeds: &[Vec<u8>],
    mut left: usize,
    mut chance: Chance,
) -> Result<()> {
    while left > 0 {
        let connecting = timeout(Duration::from_secs(10), TcpStream::connect(address));
        let mut stream = connecting
            .await
            .context("the server takes no connections")??;
        for _ in 0..left.min(FRAMES_PER_CONNECTION) {
            left -= 1;
            let frame = framed(mutated(seeds, &mut chance), &mut chance);
            // Whatever the server does to this connection is its right.
            if stream.write_all(&frame).await.is_err() || is_closed(&mut stream).await {
                break;
            }
        }
    }
    Ok(())
}

/// Reads what is there; waits hardly at all, since many mutations are never answered.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 16 * 1024];
    match timeout(Duration::from_millis(2), stream.read(&mut buffer)).await {
        Ok(Ok(0) | Err(_)) => true,
        Ok(Ok(_)) | Err(_) => false,
    }
}

fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut frame = seeds[chance.below(seeds.len())].clone();
    for _ in 0..1 + chance.below(4) {
        mutate(&mut frame, seeds, chance);
    }
    frame
}

fn mutate(frame: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(frame.len());
    match chance.below(8) {
        0 if !frame.is_empty() => frame[at] ^= 1 << chance.below(8),
        1 if !frame.is_empty() => frame[at] = chance.next() as u8,
        2 => overwrite(
            frame,
            at,
            &chance
                .one_of(&[i32::MAX, i32::MIN, -1, 0, 1 << 24])
                .to_be_bytes(),
        ),
        3 => overwrite(
            frame,
            at,
            &chance.one_of(&[i16::MAX, i16::MIN, -1, 0]).to_be_bytes(),
        ),
        4 => frame.truncate(at),
        5 => frame.extend((0..chance.below(64)).map(|_| chance.next() as u8)),
        6 => {
            // The tail of another request behind this one's head.
            let other = &seeds[chance.below(seeds.len())];
            frame.truncate(at);
            frame.extend_from_slice(&other[at.min(other.len())..]);
        }
        // Another API key or version for the same body.
        _ => overwrite(
            frame,
            2 * chance.below(2),
            &(chance.below(95) as i16).to_be_bytes(),
        ),
    }
}

fn overwrite(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in frame.iter_mut().skip(at).zip(bytes) {
        *old = *new;
    }
}

/// The frame behind its length, which is wrong now and then.
fn framed(frame: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    let right = frame.len() as i32;
    let length = match chance.below(40) {
        0 => chance.one_of(&[-1, 0, i32::MIN, i32::MAX, 1 << 30]),
        1 => right + chance.below(100) as i32,
        2 => right / 2,
        _ => right,
    };
    [&length.to_be_bytes()[..], &frame].concat()
}
