//! The real input: all flights from New York in 2013, keyed by carrier.
use std::{path::Path, process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// Columns of the file, counted from 0.
const CARRIER: usize = 9;

/// One line of the file.
#[derive(Clone, Debug)]
pub struct Flight {
    pub carrier: Bytes,
    pub line: Bytes,
}

/// All flights, in the order of the file: from `STREAMHOUSE_TEST_FLIGHTS`, a CSV file, or from the folder beside the clone.
pub fn load() -> Result<Arc<[Flight]>> {
    let text = match std::env::var("STREAMHOUSE_TEST_FLIGHTS") {
        Ok(path) => std::fs::read(&path).with_context(|| format!("cannot read {path}"))?,
        Err(_) => beside_the_clone()?,
    };
    let flights: Option<Vec<Flight>> = Bytes::from(text)
        .split(|byte| *byte == b'\n')
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(flight)
        .collect();
    let flights = flights.context("a line of the flights has no carrier")?;
    ensure!(
        flights.len() == 336_776,
        "{} flights, but there were 336776",
        flights.len()
    );
    Ok(flights.into())
}

fn beside_the_clone() -> Result<Vec<u8>> {
    let zip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/flights.csv.zip");
    ensure!(
        zip.exists(),
        "STREAMHOUSE_TEST_FLIGHTS is not set; run `cargo xtask test`, which gets the flights"
    );
    let out = Command::new("unzip").arg("-p").arg(zip).output()?;
    ensure!(
        out.status.success(),
        "unzip: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(out.stdout)
}

fn flight(line: &[u8]) -> Option<Flight> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let carrier = line.split(|byte| *byte == b',').nth(CARRIER)?;
    Some(Flight {
        carrier: Bytes::copy_from_slice(carrier),
        line: Bytes::copy_from_slice(line),
    })
}
