//! Writing an object: the batches' own bytes between a header and a footer, nothing copied.
use std::collections::BTreeMap;

use bytes::Bytes;
use sh_base::{ObjectId, Org, TopicPartition, batch::Batch};

use super::{
    BatchEntry, END_MAGIC, HEADER_BYTES, MAGIC, ObjectFooter, RunBytes, RunEntry, TRAILER_BYTES,
    VERSION,
};
use crate::{
    codec::put_list,
    row::{RunAnswers, put_object_id, put_partition},
};

/// Collects the runs of a window.
pub struct ObjectBuilder {
    id: ObjectId,
    replaces: Vec<ObjectId>,
    answers: Vec<(ObjectId, Vec<RunAnswers>)>,
    runs: BTreeMap<(Org, TopicPartition), Vec<Batch>>,
}

/// An object, ready to be put under `ObjectKey::L0(id)`.
#[derive(Clone, Debug)]
pub struct BuiltObject {
    pub id: ObjectId,
    /// Header, the batches in their own memory, footer: what `Bucket::put` takes.
    pub parts: Vec<Bytes>,
    /// Sorted as they lie in the object.
    pub runs: Vec<BuiltRun>,
    /// Bytes of all parts.
    pub size: u64,
}

/// Where a partition's batches lie in the object.
#[derive(Clone, Debug)]
pub struct BuiltRun {
    pub org: Org,
    pub partition: TopicPartition,
    /// The first byte of each batch, counted from the object's first byte.
    pub starts: Vec<u64>,
    /// Bytes of all its batches.
    pub len: u64,
    pub batches: Vec<Bytes>,
}

impl ObjectBuilder {
    /// `replaces`: aborted objects whose batches come again in this one. `answers`: what became of the batches of the agent's
    /// previous objects (DESIGN 9).
    pub fn new(
        id: ObjectId,
        replaces: Vec<ObjectId>,
        answers: Vec<(ObjectId, Vec<RunAnswers>)>,
    ) -> Self {
        ObjectBuilder {
            id,
            replaces,
            answers,
            runs: BTreeMap::new(),
        }
    }

    /// Adds batches of a partition, after those it has already.
    pub fn run(&mut self, org: Org, partition: TopicPartition, batches: &[Batch]) {
        let run = self.runs.entry((org, partition)).or_default();
        run.extend_from_slice(batches);
    }

    pub fn finish(self) -> BuiltObject {
        let mut at = HEADER_BYTES;
        let mut parts = vec![header()];
        let mut entries = Vec::with_capacity(self.runs.len());
        let mut runs = Vec::with_capacity(self.runs.len());
        for ((org, partition), batches) in self.runs {
            if batches.is_empty() {
                continue;
            }
            let run = BuiltRun::new(org, partition, at, &batches);
            entries.push(run.entry(at, &batches));
            parts.extend(run.batches.iter().cloned());
            at += run.len;
            runs.push(run);
        }
        let footer = ObjectFooter {
            id: self.id,
            replaces: self.replaces,
            runs: entries,
            answers: self.answers,
        };
        let tail = footer.encode();
        let size = at + tail.len() as u64;
        parts.push(tail);
        BuiltObject {
            id: self.id,
            parts,
            runs,
            size,
        }
    }
}

impl BuiltObject {
    /// What `Reader::remember` takes: the batches where they lie, so that tail reads never ask the bucket.
    pub fn memory(&self) -> Vec<RunBytes> {
        let run = |run: &BuiltRun| Some((*run.starts.first()?, run.batches.clone()));
        self.runs.iter().filter_map(run).collect()
    }
}

impl BuiltRun {
    fn new(org: Org, partition: TopicPartition, start: u64, batches: &[Batch]) -> BuiltRun {
        let mut at = start;
        let mut starts = Vec::with_capacity(batches.len());
        for batch in batches {
            starts.push(at);
            at += u64::from(batch.header().size);
        }
        BuiltRun {
            org,
            partition,
            starts,
            len: at - start,
            batches: batches.iter().map(|b| b.bytes().clone()).collect(),
        }
    }

    fn entry(&self, start: u64, batches: &[Batch]) -> RunEntry {
        RunEntry {
            org: self.org.clone(),
            partition: self.partition,
            start,
            batches: batches.iter().map(BatchEntry::of).collect(),
        }
    }
}

fn header() -> Bytes {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_be_bytes());
    out.into()
}

impl ObjectFooter {
    /// The footer and what follows it: the end of the object.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_bytes_about());
        put_object_id(&mut out, &self.id);
        put_list(&mut out, &self.replaces, put_object_id);
        put_list(&mut out, &self.runs, put_run);
        put_list(&mut out, &self.answers, |out, (id, runs)| {
            put_object_id(out, id);
            put_list(out, runs, RunAnswers::put);
        });
        let (len, crc) = (out.len() as u32, crc32c::crc32c(&out));
        out.extend(crc.to_be_bytes());
        out.extend(len.to_be_bytes());
        out.extend(END_MAGIC);
        out.into()
    }

    fn encoded_bytes_about(&self) -> usize {
        let runs: usize = self.runs.iter().map(|r| 64 + r.batches.len() * 41).sum();
        runs + TRAILER_BYTES + 64
    }
}

fn put_run(out: &mut Vec<u8>, run: &RunEntry) {
    let org = run.org.as_str().as_bytes();
    out.push(org.len() as u8);
    out.extend(org);
    put_partition(out, &run.partition);
    out.extend(run.start.to_be_bytes());
    put_list(out, &run.batches, put_batch);
}

fn put_batch(out: &mut Vec<u8>, batch: &BatchEntry) {
    out.extend(batch.len.to_be_bytes());
    out.extend(batch.offsets.to_be_bytes());
    out.extend(batch.attributes.to_be_bytes());
    out.push(batch.producer.is_some().into());
    if let Some(p) = &batch.producer {
        out.extend(p.id.0.to_be_bytes());
        out.extend(p.epoch.to_be_bytes());
        out.extend(p.base_sequence.to_be_bytes());
    }
    out.extend(batch.min_timestamp.to_be_bytes());
    out.extend(batch.max_timestamp.to_be_bytes());
}
