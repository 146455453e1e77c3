//! The statements: plain SQL, set-based, one table per key family. All are prepared once a connection.
use crate::{Family, KeyRange};

/// SUBTLE: the level is named, whatever the database's default is: under it each statement sees what was committed before
/// the statement began, which the rule "read after the last lock" needs. Other levels would only retry more.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
pub(super) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// The statements for one schema.
pub(super) struct Sql {
    schema: String,
    /// $1 lane, $2 seq. **The request's lock**: whoever asks the same waits here until the first has ended. Refuses to
    /// leave a hole in the lane.
    pub claim: String,
    /// $1 lane, $2 seq. What the feed holds at that place; nothing if it is only claimed, by ourselves.
    pub entry: String,
    /// $1 lane, $2 seq, $3 entry.
    pub fill: String,
    /// $1 lane.
    pub lane: String,
    /// $1 lanes, $2 their seqs, $3 limit. In turns: each lane's first new entry, then each lane's second.
    pub feed: String,
    pub feed_end: String,
    /// $1.. the keys of each family, in the order of [`Family::ALL`].
    pub get: String,
    /// The system identifier, the WAL file being written (its name begins with the timeline; the control file has one too,
    /// but a promoted standby updates that only at its first checkpoint), and the id of our tables.
    pub identity: String,
}

impl Sql {
    pub(super) fn new(schema: &str) -> Sql {
        let s = format!("\"{schema}\"");
        let get = Family::ALL.iter().enumerate().map(|(n, family)| {
            let name = family.name();
            format!(
                "SELECT key, value, version FROM {s}.{name} WHERE key = ANY(${}::bytea[])",
                n + 1
            )
        });
        Sql {
            claim: format!(
                "INSERT INTO {s}.feed (lane, seq) SELECT $1::bytea, $2::bigint WHERE $2 = 1 OR EXISTS
                 (SELECT 1 FROM {s}.feed WHERE lane = $1 AND seq = $2 - 1)
                 ON CONFLICT (lane, seq) DO NOTHING RETURNING seq"
            ),
            entry: format!("SELECT entry FROM {s}.feed WHERE lane = $1 AND seq = $2 AND entry IS NOT NULL"),
            fill: format!("UPDATE {s}.feed SET entry = $3 WHERE lane = $1 AND seq = $2"),
            lane: format!("INSERT INTO {s}.lane (lane) VALUES ($1) ON CONFLICT (lane) DO NOTHING"),
            feed: format!(
                "SELECT f.entry FROM {s}.lane l
                 LEFT JOIN unnest($1::bytea[], $2::bigint[]) AS c(lane, seq) ON c.lane = l.lane
                 CROSS JOIN LATERAL (SELECT seq, entry FROM {s}.feed WHERE feed.lane = l.lane
                   AND feed.seq > coalesce(c.seq, 0) ORDER BY seq LIMIT $3::bigint) f
                 ORDER BY f.seq - coalesce(c.seq, 0), l.lane LIMIT $3::bigint"
            ),
            feed_end: format!(
                "SELECT l.lane, (SELECT max(seq) FROM {s}.feed WHERE feed.lane = l.lane) FROM {s}.lane l"
            ),
            get: get.collect::<Vec<_>>().join(" UNION ALL "),
            identity: format!(
                "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_lsn()), (SELECT id FROM {s}.system)
                 FROM pg_control_system()"
            ),
            schema: s,
        }
    }

    /// $1 keys. **A lock on an absent key is a lock**: a row without a value, at version 0, which whoever else wants the
    /// key must wait for. Such rows are never removed: a waiter's lock must not vanish under it.
    pub(super) fn placeholders(&self, family: Family) -> String {
        format!(
            "INSERT INTO {}.{} (key, version) SELECT k, 0 FROM unnest($1::bytea[]) AS k ORDER BY k
             ON CONFLICT (key) DO NOTHING",
            self.schema,
            family.name()
        )
    }

    /// $1 keys. The ordering is below the locking: rows are locked in key order.
    pub(super) fn lock(&self, family: Family, exclusively: bool) -> String {
        let mode = if exclusively { "UPDATE" } else { "SHARE" };
        format!(
            "SELECT 1 FROM {}.{} WHERE key = ANY($1::bytea[]) ORDER BY key FOR {mode}",
            self.schema,
            family.name()
        )
    }

    /// $1 keys, $2 values, $3 versions.
    pub(super) fn write(&self, family: Family) -> String {
        format!(
            "INSERT INTO {}.{} (key, value, version)
             SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
            self.schema,
            family.name()
        )
    }

    /// $1 start, $2 end, $3 limit.
    pub(super) fn scan(&self, range: &KeyRange, reverse: bool) -> String {
        let order = if reverse { "DESC" } else { "ASC" };
        let part = |family: Family| {
            format!(
                "(SELECT key, value, version FROM {}.{} WHERE key >= $1::bytea AND key < $2::bytea
                 AND value IS NOT NULL ORDER BY key {order} LIMIT $3::bigint)",
                self.schema,
                family.name()
            )
        };
        let parts: Vec<String> = families(range).map(part).collect();
        match &parts[..] {
            [one] => one.clone(),
            _ => format!(
                "{} ORDER BY key {order} LIMIT $3::bigint",
                parts.join(" UNION ALL ")
            ),
        }
    }

    /// Everything that a usual update or read needs; prepared when a connection is made, so that none is prepared while
    /// locks are held.
    pub(super) fn usual(&self) -> Vec<String> {
        let fixed = [BEGIN, COMMIT, ROLLBACK].map(str::to_owned).into_iter();
        let feed = [
            &self.claim,
            &self.entry,
            &self.fill,
            &self.lane,
            &self.feed,
            &self.get,
        ];
        let per_family = Family::ALL.into_iter().flat_map(|family| {
            let all = KeyRange::family(family);
            [
                self.placeholders(family),
                self.lock(family, true),
                self.lock(family, false),
                self.write(family),
                self.scan(&all, false),
            ]
        });
        fixed
            .chain(feed.into_iter().cloned())
            .chain(per_family)
            .collect()
    }
}

/// The families that a range touches; of an empty range, any one (it will find nothing).
fn families(range: &KeyRange) -> impl Iterator<Item = Family> {
    let touches = |family: &Family| {
        let family = KeyRange::family(*family);
        family.start < range.end && range.start < family.end
    };
    let touched: Vec<Family> = Family::ALL.into_iter().filter(touches).collect();
    let some = if touched.is_empty() {
        vec![Family::Cluster]
    } else {
        touched
    };
    some.into_iter()
}
