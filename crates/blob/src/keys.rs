//! Every object name of the house, in one file: layout, content, writer, lifetime.
//!
//! A key is `/`-separated segments of `[A-Za-z0-9._=-]` that do not begin with a dot, at most [`KEY_BYTES_MAX`] bytes in all:
//! such a key means the same on every store, as a path and in a URL. Numbers that order keys are zero padded to 20 digits.
use std::{fmt, str::FromStr};

use sh_base::{Incarnation, ObjectId, Org};
use uuid::Uuid;

use crate::BlobError;

/// S3 allows 1,024; what is left is for the prefix in the bucket's URL.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest name a file system takes.
const SEGMENT_BYTES_MAX: usize = 255;

/// All L0 objects.
pub const L0_PREFIX: &str = "l0/";
/// All that belongs to orgs.
pub const ORGS_PREFIX: &str = "orgs/";
/// All of the shipped feed.
pub const META_LOG_PREFIX: &str = "meta/log/";
/// All snapshots of the metadata store.
pub const META_SNAP_PREFIX: &str = "meta/snap/";
/// All scratch objects of [`crate::probe`].
pub const PROBE_PREFIX: &str = "probe/";

/// One object's name. Its text is its key; every key has exactly one form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectKey {
    /// `l0/{agent}/{epoch}-{nonce}/{seq}`: **one window of one agent**, of many partitions, in the L0 format. Put by the agent
    /// (and by whoever replays its WAL, with the same bytes); lives until merged and past the grace period.
    L0(ObjectId),
    /// `orgs/{org}/org.json`: **what an org is**, as JSON. Put when the org is created or changed; deleted last of all its objects.
    Org(Org),
    /// `orgs/{org}/l1/{agent}/{epoch}-{nonce}/{seq}`: **a merged object** of one org, in the L1 format. Put by the agent that
    /// runs the merge, under an id of its own; lives until merged again, or past retention, and past the grace period.
    L1(Org, ObjectId),
    /// `meta/log/{generation}/{agent}/{epoch}-{nonce}/{lane}/{seq}`: **feed entries of one commit lane**, from `seq` on. Put by
    /// the agent whose lane it is, at most a second behind; lives until a snapshot covers it and the restore window has passed.
    MetaLog {
        generation: Uuid,
        by: Incarnation,
        lane: u8,
        seq: u64,
    },
    /// `meta/snap/{generation}/{taken_ms}-{id}/{part}`: **a page of a snapshot of the metadata store**. `taken_ms` orders the
    /// snapshots of a generation. Put by the holder of the snapshot job; lives until a later one is complete and the restore window has passed.
    MetaSnap {
        generation: Uuid,
        taken_ms: u64,
        id: u64,
        part: u32,
    },
    /// `cluster.json`: **whose bucket this is** (cluster id, generation, identity of the metadata store), as JSON. The one key
    /// that is written conditionally; never deleted.
    Cluster,
    /// `probe/{id}`: scratch of [`crate::probe`], deleted by it.
    Probe(Uuid),
}

/// A key that is none of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an object key of this version")]
pub struct InvalidObjectKey(pub String);

impl ObjectKey {
    /// The L0 objects of one incarnation, as a prefix to list.
    pub fn l0_prefix(by: Incarnation) -> String {
        format!("l0/{by}/")
    }
    /// The merged objects of one org, as a prefix to list.
    pub fn l1_prefix(org: &Org) -> String {
        format!("orgs/{org}/l1/")
    }
    /// The shipped feed of one generation, as a prefix to list.
    pub fn meta_log_prefix(generation: Uuid) -> String {
        format!("meta/log/{generation}/")
    }
    /// The snapshots of one generation, as a prefix to list.
    pub fn meta_snap_prefix(generation: Uuid) -> String {
        format!("meta/snap/{generation}/")
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKey::L0(id) => write!(f, "l0/{id}"),
            ObjectKey::Org(org) => write!(f, "orgs/{org}/org.json"),
            ObjectKey::L1(org, id) => write!(f, "orgs/{org}/l1/{id}"),
            ObjectKey::MetaLog {
                generation,
                by,
                lane,
                seq,
            } => {
                write!(f, "meta/log/{generation}/{by}/{lane}/{seq:020}")
            }
            ObjectKey::MetaSnap {
                generation,
                taken_ms,
                id,
                part,
            } => {
                write!(
                    f,
                    "meta/snap/{generation}/{taken_ms:020}-{id:016x}/{part:010}"
                )
            }
            ObjectKey::Cluster => f.write_str("cluster.json"),
            ObjectKey::Probe(id) => write!(f, "probe/{id}"),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(text: &str) -> Result<Self, InvalidObjectKey> {
        match parse(text) {
            Some(key) if key.to_string() == text => Ok(key),
            _ => Err(InvalidObjectKey(text.into())),
        }
    }
}

fn parse(text: &str) -> Option<ObjectKey> {
    let (family, rest) = text.split_once('/').unwrap_or((text, ""));
    match family {
        "l0" => Some(ObjectKey::L0(rest.parse().ok()?)),
        "orgs" => parse_org(rest),
        "meta" => parse_meta(rest),
        "probe" => Some(ObjectKey::Probe(rest.parse().ok()?)),
        "cluster.json" => Some(ObjectKey::Cluster),
        _ => None,
    }
}

fn parse_org(rest: &str) -> Option<ObjectKey> {
    let (org, rest) = rest.split_once('/')?;
    let org = Org::try_from(org).ok()?;
    match rest.strip_prefix("l1/") {
        Some(id) => Some(ObjectKey::L1(org, id.parse().ok()?)),
        None => (rest == "org.json").then_some(ObjectKey::Org(org)),
    }
}

fn parse_meta(rest: &str) -> Option<ObjectKey> {
    let (kind, rest) = rest.split_once('/')?;
    let (generation, rest) = rest.split_once('/')?;
    let generation = generation.parse().ok()?;
    match kind {
        "log" => parse_log(generation, rest),
        "snap" => parse_snap(generation, rest),
        _ => None,
    }
}

fn parse_log(generation: Uuid, rest: &str) -> Option<ObjectKey> {
    let (front, seq) = rest.rsplit_once('/')?;
    let (by, lane) = front.rsplit_once('/')?;
    // An incarnation is written as in an object id, which reads it.
    let id: ObjectId = format!("{by}/{seq}").parse().ok()?;
    Some(ObjectKey::MetaLog {
        generation,
        by: id.by,
        lane: lane.parse().ok()?,
        seq: id.seq,
    })
}

fn parse_snap(generation: Uuid, rest: &str) -> Option<ObjectKey> {
    let (name, part) = rest.split_once('/')?;
    let (taken_ms, id) = name.split_once('-')?;
    Some(ObjectKey::MetaSnap {
        generation,
        taken_ms: taken_ms.parse().ok()?,
        id: u64::from_str_radix(id, 16).ok()?,
        part: part.parse().ok()?,
    })
}

/// Refuses a key that would not mean the same on every store. Every implementation asks it before it writes or reads a path.
pub(crate) fn check(key: &str) -> Result<(), BlobError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'=' | b'-');
    let fits = |s: &str| (1..=SEGMENT_BYTES_MAX).contains(&s.len()) && !s.starts_with('.');
    let ok = key.len() <= KEY_BYTES_MAX && key.split('/').all(|s| fits(s) && s.bytes().all(legal));
    if ok {
        Ok(())
    } else {
        Err(BlobError::Definite(format!(
            "{key:?} is not an object key; see sh_blob::keys"
        )))
    }
}

#[cfg(test)]
mod tests {
    use sh_base::AgentId;

    use super::*;

    fn every_kind() -> Vec<(ObjectKey, &'static str)> {
        let by = Incarnation {
            agent: AgentId(3),
            epoch: 12,
            nonce: 0xdead_beef,
        };
        let id = ObjectId { by, seq: 42 };
        let org = Org::try_from("acme").unwrap();
        let generation = Uuid::from_u128(7);
        vec![
            (
                ObjectKey::L0(id),
                "l0/3/12-00000000deadbeef/00000000000000000042",
            ),
            (ObjectKey::Org(org.clone()), "orgs/acme/org.json"),
            (
                ObjectKey::L1(org, id),
                "orgs/acme/l1/3/12-00000000deadbeef/00000000000000000042",
            ),
            (
                ObjectKey::MetaLog {
                    generation,
                    by,
                    lane: 1,
                    seq: 9,
                },
                "meta/log/00000000-0000-0000-0000-000000000007/3/12-00000000deadbeef/1/00000000000000000009",
            ),
            (
                ObjectKey::MetaSnap {
                    generation,
                    taken_ms: 5,
                    id: 0xff,
                    part: 2,
                },
                "meta/snap/00000000-0000-0000-0000-000000000007/00000000000000000005-00000000000000ff/0000000002",
            ),
            (ObjectKey::Cluster, "cluster.json"),
            (
                ObjectKey::Probe(generation),
                "probe/00000000-0000-0000-0000-000000000007",
            ),
        ]
    }

    #[test]
    fn every_key_has_its_documented_text_and_reads_back() {
        for (key, text) in every_kind() {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
            assert!(check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for text in [
            "",
            "l0",
            "l0/3/12-deadbeef/42",
            "orgs/acme/org.jsn",
            "orgs/ACME/org.json",
            "meta/log/x/3/12-00000000deadbeef/1/00000000000000000009",
            "cluster.json/",
            "probe/{00000000-0000-0000-0000-000000000007}",
        ] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_hold_their_keys() {
        let by = Incarnation {
            agent: AgentId(3),
            epoch: 12,
            nonce: 1,
        };
        let org = Org::default();
        let key = ObjectKey::L0(ObjectId { by, seq: 1 }).to_string();
        assert!(key.starts_with(&ObjectKey::l0_prefix(by)) && key.starts_with(L0_PREFIX));
        let key = ObjectKey::L1(org.clone(), ObjectId { by, seq: 1 }).to_string();
        assert!(key.starts_with(&ObjectKey::l1_prefix(&org)) && key.starts_with(ORGS_PREFIX));
    }

    #[test]
    fn a_key_cannot_leave_its_bucket_or_mean_two_things() {
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".tmp/a",
            "a b",
            "a%2fb",
            "ä",
            "a\\b",
            &"x".repeat(256),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&vec!["x"; 300].join("/")).is_err());
        assert!(check("a/b_c=1/D-e.f").is_ok());
    }
}
