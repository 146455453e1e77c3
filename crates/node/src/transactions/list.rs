//! Looking at transactions (KIP-664, KIP-994): all of them, and one.
use std::collections::BTreeMap;

use sh_base::{ErrorCode, Failure, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use sh_coord::compile_pattern;
use sh_log::transaction::{TransactionRow, TransactionState};
use sh_meta::{Key, KeyRange};

use super::malformed;
use crate::{
    Caller, Node, Operation, Resource, TopicChoice, control::storage, topic_table::after,
    topics::CONSUMER_OFFSETS,
};

/// Rows of one page of a scan.
const PAGE: usize = 500;

/// Which transactions are listed; empty lists and `None` mean all.
#[derive(Clone, Debug, Default)]
pub struct TransactionFilter {
    pub states: Vec<TransactionState>,
    pub producers: Vec<ProducerId>,
    /// Begun longer ago than this, milliseconds.
    pub longer_than_ms: Option<i64>,
    /// By RE2's rules; it has to match the whole transactional id.
    pub pattern: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    pub id: String,
    pub producer: ProducerId,
    pub state: TransactionState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTransaction {
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// Of the open or last one; -1: there was none.
    pub started_ms: i64,
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    /// Of the open transaction, by topic. Groups are shown as the partitions of `__consumer_offsets` that Kafka would keep
    /// their offsets in.
    pub partitions: BTreeMap<String, Vec<PartitionIndex>>,
}

impl TransactionFilter {
    fn takes(&self, row: &TransactionRow, now_ms: i64) -> bool {
        // Kafka takes a session without transactions for one that began at the beginning of time.
        let lasted_ms = now_ms.saturating_sub(row.started_ms);
        let long = self.longer_than_ms.is_none_or(|longer| lasted_ms > longer);
        (self.states.is_empty() || self.states.contains(&row.state))
            && (self.producers.is_empty() || self.producers.contains(&row.producer()))
            && long
    }
}

impl Node {
    /// The transactional ids of the caller's org that pass the filter, by name. Errors: `InvalidRegularExpression`.
    pub async fn list_transactions(
        &self,
        caller: &Caller,
        filter: &TransactionFilter,
    ) -> Result<Vec<ListedTransaction>, Failure> {
        let pattern = filter.pattern.as_deref().map(compile_pattern).transpose();
        let pattern = pattern.map_err(|refusal| {
            Failure::new(ErrorCode::InvalidRegularExpression, refusal.message)
        })?;
        let named = |id: &str| pattern.as_ref().is_none_or(|p| p.is_match(id));
        let now_ms = self.env().wall_ms();
        let mut listed = Vec::new();
        let mut range = KeyRange::transactions(&caller.org);
        loop {
            let rows = self.store().scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(storage)?;
            let Some((last, _)) = rows.last() else {
                return Ok(listed);
            };
            range.start = after(last);
            for (key, row) in rows {
                let (Key::Transaction(_, id), Some(value)) = (key, row.value) else {
                    continue;
                };
                let row = TransactionRow::decode(&value).map_err(malformed)?;
                let shown = Resource::TransactionalId(&id);
                let allowed = self.authorize(caller, Operation::Describe, shown).is_ok();
                if allowed && named(&id) && filter.takes(&row, now_ms) {
                    listed.push(ListedTransaction {
                        id,
                        producer: row.producer(),
                        state: row.state,
                    });
                }
            }
        }
    }

    /// One transactional id. Errors: `TransactionalIdNotFound`, `InvalidRequest` for an empty one.
    pub async fn describe_transaction(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<DescribedTransaction, Failure> {
        if id.is_empty() {
            let text = "the transactional id is empty";
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
        self.authorize(caller, Operation::Describe, Resource::TransactionalId(id))?;
        let (_, row) = self.transaction_row(&caller.org, id).await?;
        let row = row.ok_or_else(|| {
            let text = format!("the transactional id {id} is not known");
            Failure::new(ErrorCode::TransactionalIdNotFound, text)
        })?;
        Ok(DescribedTransaction {
            state: row.state,
            timeout_ms: row.timeout_ms,
            started_ms: row.started_ms,
            producer: row.producer(),
            epoch: row.epoch,
            partitions: self.named_partitions(caller, &row).await,
        })
    }

    async fn named_partitions(
        &self,
        caller: &Caller,
        row: &TransactionRow,
    ) -> BTreeMap<String, Vec<PartitionIndex>> {
        let mut named = BTreeMap::new();
        for (topic, partitions) in &row.partitions {
            // A topic that was deleted has no name any more.
            let choice = TopicChoice::Id(TopicId(*topic));
            if let Ok(topic) = self.topic(caller, &choice).await {
                named.insert(topic.name.to_string(), partitions.iter().copied().collect());
            }
        }
        if !row.groups.is_empty() {
            let count = self.broker().number("offsets.topic.num.partitions");
            let partition = |group: &String| offsets_partition(group, count);
            let mut partitions: Vec<PartitionIndex> = row.groups.iter().map(partition).collect();
            partitions.sort_unstable();
            partitions.dedup();
            named.insert(CONSUMER_OFFSETS.to_owned(), partitions);
        }
        named
    }
}

/// The partition of `__consumer_offsets` that Kafka keeps a group in: Java's `String.hashCode`, without its sign.
fn offsets_partition(group: &str, partitions: i64) -> PartitionIndex {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    let hash = hash.checked_abs().unwrap_or(0);
    (i64::from(hash) % partitions.max(1)) as PartitionIndex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_where_java_puts_it() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        let partitions = ["", "a", "group", "polygenelubricants"].map(|g| offsets_partition(g, 50));
        assert_eq!(partitions, [0, 47, 47, 0]);
    }
}
