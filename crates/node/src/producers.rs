//! Producer ids (KIP-98): unique for ever, handed out from blocks that an agent takes from the store.
use parking_lot::Mutex;
use sh_base::{ErrorCode, Failure, ProducerEpoch, ProducerId};
use sh_meta::{Decision, Key, View};

use crate::{
    Caller, Node, Operation, Resource,
    control::{decision, put},
};

/// Ids of one block, Kafka's own number. What is left of it when an agent stops is never used.
const BLOCK: i64 = 1_000;

/// The rest of the block that this agent took last.
#[derive(Debug, Default)]
pub(crate) struct Block(Mutex<std::ops::Range<i64>>);

impl Block {
    fn next(&self) -> Option<ProducerId> {
        self.0.lock().next().map(ProducerId)
    }

    /// Takes over a fresh block. One that came second adds to nothing: its ids are lost, as they are at a restart.
    fn refill(&self, first: i64) {
        let mut block = self.0.lock();
        if block.is_empty() {
            *block = first..first + BLOCK;
        }
    }
}

impl Node {
    /// A new producer id, at epoch 0, for an idempotent producer.
    pub async fn init_producer_id(
        &self,
        caller: &Caller,
    ) -> Result<(ProducerId, ProducerEpoch), Failure> {
        self.authorize(caller, Operation::IdempotentWrite, Resource::Cluster)?;
        Ok((self.draw_producer_id().await?, 0))
    }

    /// A producer id that nobody has had.
    pub(crate) async fn draw_producer_id(&self) -> Result<ProducerId, Failure> {
        loop {
            if let Some(id) = self.producer_ids().next() {
                return Ok(id);
            }
            let key = Key::Counter("producer-id".into());
            let taken: Option<i64> = self.change(vec![key], take_block).await?;
            self.producer_ids().refill(taken.ok_or_else(exhausted)?);
        }
    }
}

/// Moves the counter by a block; the reply is the block's first id.
fn take_block(view: &View) -> Decision {
    let key = Key::Counter("producer-id".into());
    let first: i64 = match view.value(&key) {
        None => 0,
        Some(text) => match std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()) {
            Some(first) => first,
            None => return decision(Vec::new(), &None::<i64>),
        },
    };
    match first.checked_add(BLOCK) {
        Some(next) => decision(vec![put(key, next.to_string())], &Some(first)),
        None => decision(Vec::new(), &None::<i64>),
    }
}

fn exhausted() -> Failure {
    let text =
        "the counter of producer ids cannot be read or is used up; see `streamhouse inspect meta`";
    Failure::new(ErrorCode::Internal, text)
}

#[cfg(test)]
mod tests {
    use sh_meta::Row;

    use super::*;

    fn counter(text: Option<&str>) -> View {
        let value = text.map(|t| bytes::Bytes::from(t.to_owned()));
        let rows = [(
            Key::Counter("producer-id".into()),
            Row { value, version: 1 },
        )];
        View {
            rows: rows.into(),
            scans: vec![],
        }
    }

    #[test]
    fn blocks_follow_each_other() {
        let first = take_block(&counter(None));
        assert_eq!(&first.reply[..], b"0");
        assert_eq!(first.writes[0].value.as_deref(), Some(&b"1000"[..]));
        let second = take_block(&counter(Some("1000")));
        assert_eq!(&second.reply[..], b"1000");
    }

    #[test]
    fn a_counter_that_cannot_be_read_gives_no_ids() {
        for text in ["", "x", "9223372036854775807"] {
            let decided = take_block(&counter(Some(text)));
            assert_eq!(
                (&decided.reply[..], decided.writes.len()),
                (&b"null"[..], 0),
                "{text}"
            );
        }
    }

    #[test]
    fn a_block_is_used_up_before_the_next_one_counts() {
        let block = Block::default();
        assert_eq!(block.next(), None);
        block.refill(5_000);
        block.refill(6_000);
        let ids: Vec<i64> = std::iter::from_fn(|| block.next()).map(|id| id.0).collect();
        assert_eq!(ids, (5_000..6_000).collect::<Vec<_>>());
    }
}
