//! The history, held against the promises (DESIGN 2, the invariants of `WritePath.tla`).
use std::collections::{BTreeMap, HashMap};

use futures::executor::block_on;
use sh_base::{Offset, batch::Batch};
use sh_meta::{Key, KeyRange};

use super::{
    client::{PARTITIONS, Sent, number_of, tp},
    world::World,
};
use crate::{api::Ack, row::Extent};

/// Where each record is.
type Places = HashMap<usize, Offset>;

impl World {
    pub(super) fn extents(&self, partition: usize) -> Vec<(Offset, Extent)> {
        let range = KeyRange::extents(tp(partition), 0, Offset::MAX);
        let rows = block_on(self.store.scan(range, 100_000, false)).unwrap();
        let decode = |(key, row): (Key, sh_meta::Row)| {
            let Key::Extent(_, base) = key else {
                panic!("not an extent")
            };
            (base, Extent::decode(&row.value.unwrap()).unwrap())
        };
        rows.into_iter().map(decode).collect()
    }

    /// What a partition holds, through its extents and the bucket: every referenced byte is there.
    fn read(&self, partition: usize) -> BTreeMap<Offset, usize> {
        let mut log = BTreeMap::new();
        let mut next = 0;
        for (base, extent) in self.extents(partition) {
            assert_eq!(base, next, "Stable: extents tile");
            next = extent.end;
            let Some(place) = extent.place else { continue };
            let object = self.bucket.get(&place.object);
            let object = object.unwrap_or_else(|| {
                panic!(
                    "Present: {} is referenced and not in the bucket",
                    place.object
                )
            });
            let (start, end) = (
                place.start as usize,
                place.start as usize + place.len as usize,
            );
            assert!(
                end <= object.len(),
                "Present: the object is the one that was committed"
            );
            let mut rest = object.slice(start..end);
            let mut offset = base;
            while !rest.is_empty() {
                let (batch, after) = Batch::split_trusted(rest)
                    .expect("Present: a batch lies where the extent says");
                rest = after;
                log.insert(offset, number_of(&batch));
                offset += batch.offsets();
            }
            assert_eq!(offset, extent.end, "Present: an extent holds its offsets");
        }
        assert_eq!(
            next,
            self.head(tp(partition)).next_offset,
            "Stable: extents end at the log end"
        );
        log
    }

    /// What a reader saw at an offset stays there.
    pub(super) fn look(&mut self) {
        for partition in 0..PARTITIONS {
            let log = self.read(partition);
            for (offset, number) in &self.visible[partition] {
                assert_eq!(
                    log.get(offset),
                    Some(number),
                    "Stable: p{partition} offset {offset} changed"
                );
            }
            self.visible[partition] = log;
        }
    }

    pub(super) fn check(&self) {
        let places = self.places();
        for (number, sent) in self.sent.iter().enumerate() {
            self.check_answers(number, sent, places.get(&number).copied());
        }
        self.check_connections(&places);
        self.check_producers(&places);
    }

    fn places(&self) -> Places {
        let mut places = Places::new();
        for partition in 0..PARTITIONS {
            for (offset, number) in self.read(partition) {
                assert_eq!(
                    self.sent[number].partition, partition,
                    "Present: a record is in its partition"
                );
                assert_eq!(
                    places.insert(number, offset),
                    None,
                    "Once: record {number} is stored twice"
                );
            }
        }
        places
    }

    /// Nothing acknowledged is lost, but acks=1 with its disk; and it is where the client was told, unless the lease of the
    /// promise was taken away.
    fn check_answers(&self, number: usize, sent: &Sent, place: Option<Offset>) {
        for told in &sent.told {
            let (kept, lost) = match told.lease {
                Some(_) => ("LeaderKept", told.disk_lost),
                None => ("DurableKept", false),
            };
            let Some(place) = place else {
                assert!(lost, "{kept}: acknowledged record {number} is lost");
                continue;
            };
            let taken_away = told
                .lease
                .is_some_and(|lease| self.ended.contains(&(sent.partition, lease)));
            let excused = taken_away || lost;
            assert!(
                place == told.offset || excused,
                "OwnOffset: record {number} is at {place}, told {}",
                told.offset
            );
        }
    }

    /// Records of one connection to one partition keep their order, whatever their acks.
    fn check_connections(&self, places: &Places) {
        let mut last: HashMap<(usize, (usize, u32)), (usize, Offset)> = HashMap::new();
        for (number, sent) in self.sent.iter().enumerate() {
            let ([on], Some(offset)) = (&sent.on[..], places.get(&number)) else {
                continue;
            };
            if let Some((before, at)) = last.insert((sent.partition, *on), (number, *offset)) {
                assert!(
                    at < *offset,
                    "InOrder: records {before} and {number} of one connection changed places"
                );
            }
        }
    }

    /// So do the durable records of an idempotent producer, wherever it sent them.
    fn check_producers(&self, places: &Places) {
        let mut last: HashMap<usize, (usize, Offset)> = HashMap::new();
        let durable = |s: &Sent| s.idempotent && s.ack == Ack::Durable;
        for (number, sent) in self.sent.iter().enumerate().filter(|(_, s)| durable(s)) {
            let Some(offset) = places.get(&number) else {
                continue;
            };
            if let Some((before, at)) = last.insert(sent.partition, (number, *offset)) {
                assert!(
                    at < *offset,
                    "InOrder: records {before} and {number} of a producer changed places"
                );
            }
        }
    }
}
