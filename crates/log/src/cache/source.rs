//! Where bytes come from that are not in memory: the peer that should have them, else the bucket.
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use sh_base::ObjectId;
use sh_blob::{BlobError, Bucket, ObjectKey};

use super::Age;
use crate::peers::{Loan, Part, Peers};

/// Who wants the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    Here,
    /// A peer, of this agent as the holder. **It is not sent on to another peer**: two agents that disagree about the ring would
    /// send it in circles.
    Peer,
}

pub struct Source {
    bucket: Arc<dyn Bucket>,
    peers: Arc<OnceLock<Peers>>,
}

impl Source {
    pub fn new(bucket: Arc<dyn Bucket>, peers: Arc<OnceLock<Peers>>) -> Source {
        Source { bucket, peers }
    }

    /// All batches of an object: of the bucket, the whole object.
    pub async fn whole(&self, id: ObjectId, age: Age, asker: Asker) -> Result<Loan, BlobError> {
        let part = match age {
            Age::Tail => Part::Tail,
            Age::Part | Age::History => Part::Whole,
        };
        if let Some(loan) = self.borrow(id, part, age, asker).await {
            return Ok(loan);
        }
        count(if age == Age::Tail { "tail" } else { "whole" });
        let bytes = self.bucket.get_all(&key(id)).await?;
        Ok(Loan { start: 0, bytes })
    }

    /// These bytes of an object, exactly.
    pub async fn block(
        &self,
        id: ObjectId,
        range: Range<u64>,
        age: Age,
        asker: Asker,
    ) -> Result<Loan, BlobError> {
        let part = Part::Bytes(range.clone());
        if let Some(loan) = self.borrow(id, part, age, asker).await {
            return Ok(loan);
        }
        count("block");
        let start = range.start;
        let got = self.bucket.get(&key(id), &[range]).await?;
        let bytes = got.into_iter().next().unwrap_or_default();
        Ok(Loan { start, bytes })
    }

    async fn borrow(&self, id: ObjectId, part: Part, age: Age, asker: Asker) -> Option<Loan> {
        match (asker, self.peers.get()) {
            (Asker::Here, Some(peers)) => peers.borrow(id, part, age).await,
            _ => None,
        }
    }
}

fn count(what: &'static str) {
    metrics::counter!("streamhouse_cache_fetches_total", "what" => what).increment(1);
}

fn key(object: ObjectId) -> String {
    ObjectKey::L0(object).to_string()
}
