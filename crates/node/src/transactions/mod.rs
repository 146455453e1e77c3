//! Transactions as a product (KIP-98, KIP-360, KIP-447, KIP-664, KIP-890). The rules are `sh_log::transaction`'s; here their
//! updates are put together and run.
//!
//! *Invariant:* all state is in the row of the transactional id. Any agent serves any transactional id, at any moment, and a
//! request that two of them run has the outcome of one.
mod add;
mod end;
mod expire;
mod init;
mod list;
mod markers;

use std::sync::Arc;

use sh_base::{ErrorCode, Failure, Org, limits::KEY_NAME_BYTES_MAX};
use sh_log::{codec::Malformed, transaction::TransactionRow};
use sh_meta::{Key, Lane, View, Write};

use crate::{
    Caller, Node, Operation, Resource,
    control::{damaged, fits_key, put},
};
pub use add::TransactionPartitions;
pub use end::EndTransaction;
pub(crate) use expire::Watch;
pub use list::{DescribedTransaction, ListedTransaction, TransactionFilter};
pub use markers::MarkerChoice;

/// The commit lanes of transactions.
pub(crate) struct Lanes(Vec<Arc<Lane>>);

impl Lanes {
    /// Without lanes of their own transactions share one.
    pub fn new(lanes: Vec<Arc<Lane>>, shared: Arc<Lane>) -> Lanes {
        match lanes.is_empty() {
            true => Lanes(vec![shared]),
            false => Lanes(lanes),
        }
    }

    /// The lane of a transactional id.
    fn of(&self, id: &str) -> &Lane {
        // FNV-1a. Which lane it is means nothing outside of this process.
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        &self.0[(hash % self.0.len() as u64) as usize]
    }
}

fn key(org: &Org, id: &str) -> Key {
    Key::Transaction(org.clone(), id.to_owned())
}

/// The row of a transactional id, as an update sees it.
fn row_in(view: &View, key: &Key) -> Result<Option<TransactionRow>, Failure> {
    TransactionRow::of(view.value(key)).map_err(malformed)
}

fn put_row(key: &Key, row: &TransactionRow) -> Write {
    put(key.clone(), row.encode())
}

fn malformed(Malformed(what): Malformed) -> Failure {
    damaged(what, "it does not decode")
}

impl Node {
    /// May the caller write with this transactional id? Kafka takes an empty one for none at all.
    fn check_id(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        if id.is_empty() {
            let text = "the transactional id is empty";
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
        check_id_fits(id)?;
        self.authorize(caller, Operation::Write, Resource::TransactionalId(id))
    }

    /// The row of a transactional id and its version, from the store.
    async fn transaction_row(
        &self,
        org: &Org,
        id: &str,
    ) -> Result<(u64, Option<TransactionRow>), Failure> {
        let row = self.row(key(org, id)).await?;
        let decoded = TransactionRow::of(row.value.as_ref()).map_err(malformed)?;
        Ok((row.version, decoded))
    }
}

pub(crate) fn check_id_fits(id: &str) -> Result<(), Failure> {
    fits_key("transactional id", id, KEY_NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_no_store_could_keep_is_refused_and_says_why() {
        let longest = "x".repeat(KEY_NAME_BYTES_MAX);
        assert!(check_id_fits(&longest).is_ok());
        let refused = check_id_fits(&(longest + "x")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        assert!(refused.message.contains("601 bytes"), "{refused:?}");
    }
}
