//! The rules of an update that do not depend on the database, one function each. Every store goes through all of them.
use std::collections::{BTreeMap, HashMap, HashSet};

use sh_base::limits::UPDATE_EXTENTS_MAX;

use crate::{Change, Decision, Family, FeedEntry, Key, MetaError, Request, Update, View, Write};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LockMode {
    Share,
    Exclusive,
}

/// **Everybody locks in key order**: object < agent < transaction < head < producer < the rest, each key once, the stronger
/// mode winning. With one order for all, no two updates can wait for each other.
pub(crate) fn lock_order(update: &Update) -> BTreeMap<&Key, LockMode> {
    let shares = update.shares.iter().map(|key| (key, LockMode::Share));
    let locks = update.locks.iter().map(|key| (key, LockMode::Exclusive));
    shares.chain(locks).collect()
}

/// **A row's version is its old version + 1, taken under the lock**: it only grows, without sequences.
pub(crate) fn next_version(old: u64) -> u64 {
    old + 1
}

/// **A lane has no gaps**: the entry before this one must be there. A lane writes one entry at a time, so a missing one was
/// written and is lost: the store went back in time.
pub(crate) fn require_predecessor(request: Request, present: bool) -> Result<(), MetaError> {
    if request.seq <= 1 || present {
        return Ok(());
    }
    Err(MetaError::Foreign(format!(
        "entry {} of lane {}.{} is not in the feed, so the store has lost commits (or the lane was not written in order)",
        request.seq - 1,
        request.lane.by,
        request.lane.lane
    )))
}

/// Entries are numbered from 1.
pub(crate) fn require_place(request: Request) -> Result<(), MetaError> {
    match request.seq {
        0 => Err(MetaError::Definite(
            "feed entries are numbered from 1, not from 0".into(),
        )),
        seq if i64::try_from(seq).is_err() => Err(MetaError::Definite(format!(
            "{seq} is not a place in a feed"
        ))),
        _ => Ok(()),
    }
}

/// Runs the pure function and turns its writes into changes. An entry without changes is not stored: its place stays free.
pub(crate) fn decide(update: &Update, view: &View) -> Result<FeedEntry, MetaError> {
    let decision = (update.apply)(view);
    require_bounded(&decision)?;
    let Decision { writes, reply } = decision;
    let locked: HashSet<&Key> = update.locks.iter().collect();
    let covers: HashSet<u64> = locked
        .iter()
        .map(|key| next_version(view.row(key).version))
        .collect();
    let mut written = HashSet::new();
    let mut changes = Vec::with_capacity(writes.len());
    for write in writes {
        let version = version_of(&write, &locked, &covers, view)?;
        if !written.insert(write.key.clone()) {
            return Err(misuse(format!("writes {:?} twice", write.key)));
        }
        changes.push(Change {
            key: write.key,
            value: write.value,
            version,
        });
    }
    Ok(FeedEntry {
        request: update.request,
        changes,
        reply,
    })
}

/// **Only what is locked, or covered by a locked row, may be written.** A covered row takes the new version of its cover.
fn version_of(
    write: &Write,
    locked: &HashSet<&Key>,
    covers: &HashSet<u64>,
    view: &View,
) -> Result<u64, MetaError> {
    let key = &write.key;
    match write.version {
        None if locked.contains(key) => Ok(next_version(view.row(key).version)),
        None => Err(misuse(format!("writes {key:?} without a lock on it"))),
        Some(_) if locked.contains(key) => Err(misuse(format!(
            "names a version for {key:?}, which it has locked"
        ))),
        Some(version) if covers.contains(&version) => Ok(version),
        Some(version) => Err(misuse(format!(
            "writes {key:?} at version {version}, which is the new version of no row that it has locked"
        ))),
    }
}

/// The values and the reply of one update, in bytes.
const UPDATE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// **At most 4,000 rows of one family an update**: locks are held for as long as the writes take. And a bound in bytes, far
/// below what a database's message can hold.
fn require_bounded(Decision { writes, reply }: &Decision) -> Result<(), MetaError> {
    let mut rows: HashMap<Family, usize> = HashMap::new();
    let mut bytes = reply.len();
    for write in writes {
        *rows.entry(write.key.family()).or_default() += 1;
        bytes += write.value.as_ref().map_or(0, |value| value.len());
    }
    if bytes > UPDATE_BYTES_MAX {
        return Err(misuse(format!(
            "writes {bytes} bytes; {UPDATE_BYTES_MAX} is the most"
        )));
    }
    match rows
        .into_iter()
        .find(|(_, count)| *count > UPDATE_EXTENTS_MAX)
    {
        None => Ok(()),
        Some((family, count)) => Err(misuse(format!(
            "writes {count} rows of {family:?}; split it, {UPDATE_EXTENTS_MAX} is the most"
        ))),
    }
}

fn misuse(what: String) -> MetaError {
    MetaError::Definite(format!("a bug in the caller: the update {what}"))
}

/// One page of the feed: every lane's first entry, then every lane's second, and so on: no busy lane hides the others.
pub(crate) fn in_turns(lanes: Vec<Vec<FeedEntry>>, limit: usize) -> Vec<FeedEntry> {
    let ranked = lanes
        .into_iter()
        .flat_map(|lane| lane.into_iter().enumerate());
    let mut ranked: Vec<(usize, FeedEntry)> = ranked.collect();
    ranked.sort_by_key(|(rank, entry)| (*rank, entry.request.lane));
    ranked
        .into_iter()
        .take(limit)
        .map(|(_, entry)| entry)
        .collect()
}
