//! The update of a store that has one writer: memory and SQLite. Locks are not needed where nobody else writes.
use crate::{FeedEntry, Key, KeyRange, MetaError, Request, Row, Update, View, rules};

/// What such a store offers to its one writer.
pub(crate) trait Serial {
    fn entry(&self, request: Request) -> Result<Option<FeedEntry>, MetaError>;
    fn row(&self, key: &Key) -> Result<Row, MetaError>;
    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError>;
    /// Writes the entry's changes and then the entry.
    fn append(&mut self, entry: &FeedEntry) -> Result<(), MetaError>;
}

/// [`crate::MetaStore::update`], inside the caller's transaction.
pub(crate) fn update(store: &mut impl Serial, update: &Update) -> Result<FeedEntry, MetaError> {
    let request = update.request;
    rules::require_place(request)?;
    if let Some(stored) = store.entry(request)? {
        return Ok(stored);
    }
    let before = Request {
        seq: request.seq - 1,
        ..request
    };
    rules::require_predecessor(request, request.seq > 1 && store.entry(before)?.is_some())?;
    let entry = rules::decide(update, &view(store, update)?)?;
    if !entry.changes.is_empty() {
        store.append(&entry)?;
    }
    Ok(entry)
}

fn view(store: &impl Serial, update: &Update) -> Result<View, MetaError> {
    let mut view = View::default();
    for key in update
        .locks
        .iter()
        .chain(&update.shares)
        .chain(&update.reads)
    {
        view.rows.insert(key.clone(), store.row(key)?);
    }
    for (range, limit) in &update.scans {
        view.scans.push(store.scan(range, *limit, false)?);
    }
    Ok(view)
}
