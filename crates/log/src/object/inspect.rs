//! `streamhouse inspect object`: an object as text.
use std::fmt::Write;

use bytes::Bytes;
use sh_base::batch::Batch;

use super::{ObjectError, ObjectFooter, RunEntry, parse::check_header};
use crate::row::RunAnswers;

/// A whole object, one line for each batch; every batch's CRC is checked, and a damaged one is named.
pub fn describe(object: &Bytes) -> Result<String, ObjectError> {
    check_header(object)?;
    let footer = ObjectFooter::parse(object, object.len() as u64)?;
    let mut out = format!("object {}, {} bytes\n", footer.id, object.len());
    for id in &footer.replaces {
        line(&mut out, format_args!("replaces {id}"));
    }
    for run in &footer.runs {
        describe_run(&mut out, object, run);
    }
    for (id, runs) in &footer.answers {
        line(&mut out, format_args!("answers of {id}"));
        runs.iter().for_each(|run| describe_answers(&mut out, run));
    }
    Ok(out)
}

fn describe_run(out: &mut String, object: &Bytes, run: &RunEntry) {
    let (org, partition, len) = (&run.org, run.partition, run.len());
    let batches = run.batches.len();
    line(
        out,
        format_args!("run of {org} {partition:?}: {batches} batches, {len} bytes"),
    );
    let mut at = run.start;
    for entry in &run.batches {
        // The footer was checked against the size of this very object.
        let bytes = object.slice(at as usize..at as usize + entry.len as usize);
        line(
            out,
            format_args!(
                "  at {at}: {}",
                describe_batch(bytes, entry.offsets, entry.max_timestamp)
            ),
        );
        at += u64::from(entry.len);
    }
}

fn describe_batch(bytes: Bytes, offsets: u32, max_timestamp: i64) -> String {
    let len = bytes.len();
    let batch = match Batch::parse(bytes) {
        Ok(batch) => batch,
        Err(error) => return format!("{len} bytes, DAMAGED: {error}"),
    };
    let header = batch.header();
    let producer = match header.producer {
        Some(p) => format!(
            ", producer {} epoch {} sequence {}",
            p.id.0, p.epoch, p.base_sequence
        ),
        None => String::new(),
    };
    let (count, codec) = (header.count, header.codec());
    format!(
        "{len} bytes, {count} records, {offsets} offsets, {codec:?}, max timestamp {max_timestamp}{producer}"
    )
}

fn describe_answers(out: &mut String, run: &RunAnswers) {
    line(
        out,
        format_args!("  {:?}: {:?}", run.partition, run.answers),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
