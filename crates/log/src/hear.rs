//! Taking in an entry of the feed: each partition's changes to the index, its waiters and whoever listens to heads.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sh_base::{ObjectId, Offset, TopicPartition};
use sh_meta::{Change, FeedEntry, Key, Row};

use crate::{
    codec::Malformed,
    index::{Heard, PartChange, scan::head_of},
    reader::{HeadChange, Inner, told_next},
    row::{Extent, Head},
};

/// An object of up to this many bytes is fetched whole, however little of it is wanted: a round trip costs as much.
const SMALL_BYTES: u64 = 1024 * 1024;
/// A larger one is, if at least this part of it (one in so many bytes) belongs to partitions that are read here.
const WANTED_PART: u64 = 4;

/// What one entry says of one partition.
#[derive(Default)]
struct Part {
    head: Option<(u64, Arc<Head>)>,
    extents: Vec<(Offset, Option<Extent>)>,
    versions: HashSet<u64>,
}

impl Inner {
    /// An entry that cannot be understood makes its partitions be read anew.
    pub(crate) fn apply(&self, entry: &FeedEntry) {
        if let Some(listener) = self.listener.get() {
            listener(entry);
        }
        let parts = match parts_of(entry) {
            Ok(parts) => parts,
            Err(error) => return self.apply_unread(entry, error),
        };
        let whole = self.worth_whole(&parts);
        for (tp, part) in parts {
            self.apply_part(tp, part, &whole);
        }
    }

    fn apply_part(&self, tp: TopicPartition, part: Part, worth: &HashSet<ObjectId>) {
        let Some((version, head)) = part.head else {
            // Extents are covered by their head; who changes them writes it.
            return self.read_anew(&tp);
        };
        if part.versions.iter().any(|v| *v != version) {
            return self.read_anew(&tp);
        }
        let objects = part.extents.iter().filter_map(|(_, e)| e.as_ref()?.place);
        let whole = objects
            .map(|place| place.object)
            .all(|object| worth.contains(&object));
        let change = PartChange {
            version,
            head: head.clone(),
            extents: part.extents,
            heard: Some(Heard {
                at: self.env.mono(),
                whole,
            }),
        };
        self.index.hear(&tp, change);
        self.waiters.wake(&tp, told_next(&head));
        let partition = tp;
        // No listener is no error.
        let _ = self.heads.send(HeadChange {
            partition,
            version,
            head,
        });
    }

    fn apply_unread(&self, entry: &FeedEntry, error: Malformed) {
        tracing::error!(%error, request = ?entry.request, "an entry of the feed that cannot be read");
        for change in &entry.changes {
            if let Key::Head(tp) | Key::Extent(tp, _) = change.key {
                self.read_anew(&tp);
            }
        }
    }

    fn read_anew(&self, tp: &TopicPartition) {
        self.index.forget(tp);
        self.waiters.wake(tp, Offset::MAX);
    }

    /// The objects that this entry brings of which enough is read here to fetch them whole.
    fn worth_whole(&self, parts: &BTreeMap<TopicPartition, Part>) -> HashSet<ObjectId> {
        let mut shares: HashMap<ObjectId, (u64, u64)> = HashMap::new();
        for (tp, part) in parts {
            let wanted = self.index.wants(tp);
            for place in part.extents.iter().filter_map(|(_, e)| e.as_ref()?.place) {
                let share = shares.entry(place.object).or_default();
                share.0 += u64::from(place.len);
                share.1 += if wanted { u64::from(place.len) } else { 0 };
            }
        }
        shares.retain(|_, (all, wanted)| *all <= SMALL_BYTES || *wanted >= *all / WANTED_PART);
        shares.into_keys().collect()
    }
}

fn parts_of(entry: &FeedEntry) -> Result<BTreeMap<TopicPartition, Part>, Malformed> {
    let mut parts: BTreeMap<TopicPartition, Part> = BTreeMap::new();
    for Change {
        key,
        value,
        version,
    } in &entry.changes
    {
        match key {
            Key::Head(tp) => {
                let row = Row {
                    value: value.clone(),
                    version: *version,
                };
                let head = Arc::new(head_of(&row)?);
                parts.entry(*tp).or_default().head = Some((*version, head));
            }
            Key::Extent(tp, base) => {
                let extent = value.as_deref().map(Extent::decode).transpose()?;
                let part = parts.entry(*tp).or_default();
                part.extents.push((*base, extent));
                part.versions.insert(*version);
            }
            _ => {}
        }
    }
    Ok(parts)
}
