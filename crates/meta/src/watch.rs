//! Following what everybody wrote.
use std::sync::Arc;

use crate::{Cursor, FeedEntry, MetaError, MetaStore};

/// Entries of one poll: a page that a reader can apply without holding anything up.
const PAGE: usize = 256;

/// A reader of the feed that remembers how far it has come. Each entry is given once, each lane in order.
pub struct FeedReader {
    store: Arc<dyn MetaStore>,
    cursor: Cursor,
}

impl FeedReader {
    /// Reads on from `cursor`; see [`MetaStore::feed_end`] for where to start.
    pub fn new(store: Arc<dyn MetaStore>, cursor: Cursor) -> Self {
        FeedReader { store, cursor }
    }

    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next entries, at most a page; empty when there is nothing new. An error moves nothing: poll again.
    pub async fn poll(&mut self) -> Result<Vec<FeedEntry>, MetaError> {
        let mut entries = self.store.feed(&self.cursor, PAGE).await?;
        entries.retain(|entry| self.advance(entry));
        Ok(entries)
    }

    /// Tells the reader of an entry that was heard of elsewhere (an own commit, a hint), so that it is not read again.
    /// Only the next one of its lane is taken: past a hole the reader must see for itself. Says whether it was new.
    pub fn heard(&mut self, entry: &FeedEntry) -> bool {
        let seen = self.cursor.get(&entry.request.lane).copied().unwrap_or(0);
        entry.request.seq == seen + 1 && self.advance(entry)
    }

    fn advance(&mut self, entry: &FeedEntry) -> bool {
        let seen = self.cursor.entry(entry.request.lane).or_default();
        let new = entry.request.seq > *seen;
        *seen = entry.request.seq.max(*seen);
        new
    }
}
