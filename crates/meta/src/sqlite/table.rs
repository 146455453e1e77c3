//! What is asked of the tables. Every function runs inside the caller's transaction and so sees one moment.
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Cursor, FeedEntry, Key, KeyRange, LaneId, MetaError, Request, Row, rules};

/// Nothing was written: true of every error here, as the caller rolls back.
pub(super) fn definite(e: rusqlite::Error) -> MetaError {
    MetaError::Definite(match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            "the disk of the metadata file is full; it goes on when there is space".into()
        }
        _ => format!("SQLite: {e}"),
    })
}

fn damaged(e: impl std::fmt::Display) -> MetaError {
    MetaError::Definite(format!("the metadata file is damaged: {e}"))
}

pub(super) fn row(db: &Connection, key: &Key) -> Result<Row, MetaError> {
    let read = |r: &rusqlite::Row| read_row(r, 0);
    let mut select = db
        .prepare_cached("SELECT value, version FROM row WHERE key = ?1")
        .map_err(definite)?;
    let found = select
        .query_row(params![&key.encode()[..]], read)
        .optional();
    Ok(found.map_err(definite)?.unwrap_or_default())
}

pub(super) fn scan(
    db: &Connection,
    range: &KeyRange,
    limit: usize,
    reverse: bool,
) -> Result<Vec<(Key, Row)>, MetaError> {
    let sql = match reverse {
        false => {
            "SELECT value, version, key FROM row WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL
             ORDER BY key LIMIT ?3"
        }
        true => {
            "SELECT value, version, key FROM row WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL
             ORDER BY key DESC LIMIT ?3"
        }
    };
    let mut select = db.prepare_cached(sql).map_err(definite)?;
    let read = |r: &rusqlite::Row| Ok((r.get::<_, Vec<u8>>(2)?, read_row(r, 0)?));
    let rows = select
        .query_map(
            params![&range.start[..], &range.end[..], sql_limit(limit)],
            read,
        )
        .map_err(definite)?;
    rows.map(|row| {
        let (key, row) = row.map_err(definite)?;
        Ok((Key::decode(&key).map_err(damaged)?, row))
    })
    .collect()
}

fn read_row(r: &rusqlite::Row, column: usize) -> rusqlite::Result<Row> {
    let value: Option<Vec<u8>> = r.get(column)?;
    Ok(Row {
        value: value.map(Bytes::from),
        version: r.get(column + 1)?,
    })
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn entry(db: &Connection, request: Request) -> Result<Option<FeedEntry>, MetaError> {
    let mut select = db
        .prepare_cached("SELECT entry FROM feed WHERE lane = ?1 AND seq = ?2")
        .map_err(definite)?;
    let found = select
        .query_row(params![&request.lane.encode()[..], request.seq], |r| {
            r.get::<_, Vec<u8>>(0)
        })
        .optional()
        .map_err(definite)?;
    found
        .map(|bytes| FeedEntry::decode(bytes.into()).map_err(damaged))
        .transpose()
}

pub(super) fn append(db: &Connection, entry: &FeedEntry) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(
        "INSERT INTO row VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
    )?;
    for change in &entry.changes {
        put.execute(params![
            &change.key.encode()[..],
            change.value.as_deref(),
            change.version
        ])?;
    }
    let lane = entry.request.lane.encode();
    if entry.request.seq == 1 {
        db.prepare_cached("INSERT INTO lane VALUES (?1)")?
            .execute(params![&lane[..]])?;
    }
    let mut feed = db.prepare_cached("INSERT INTO feed VALUES (?1, ?2, ?3)")?;
    feed.execute(params![&lane[..], entry.request.seq, &entry.encode()[..]])?;
    Ok(())
}

pub(super) fn feed(
    db: &Connection,
    cursor: &Cursor,
    limit: usize,
) -> Result<Vec<FeedEntry>, MetaError> {
    let mut found = Vec::new();
    for lane in lanes(db)? {
        let seen = cursor.get(&lane).copied().unwrap_or(0);
        found.push(entries_after(db, lane, seen, limit)?);
    }
    Ok(rules::in_turns(found, limit))
}

fn entries_after(
    db: &Connection,
    lane: LaneId,
    seen: u64,
    limit: usize,
) -> Result<Vec<FeedEntry>, MetaError> {
    let seen = i64::try_from(seen).unwrap_or(i64::MAX);
    let mut select = db
        .prepare_cached("SELECT entry FROM feed WHERE lane = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")
        .map_err(definite)?;
    let rows = select
        .query_map(params![&lane.encode()[..], seen, sql_limit(limit)], |r| {
            r.get::<_, Vec<u8>>(0)
        })
        .map_err(definite)?;
    rows.map(|row| FeedEntry::decode(row.map_err(definite)?.into()).map_err(damaged))
        .collect()
}

fn lanes(db: &Connection) -> Result<Vec<LaneId>, MetaError> {
    let mut select = db
        .prepare_cached("SELECT lane FROM lane")
        .map_err(definite)?;
    let rows = select
        .query_map([], |r| r.get::<_, Vec<u8>>(0))
        .map_err(definite)?;
    rows.map(|row| LaneId::decode(&row.map_err(definite)?).map_err(damaged))
        .collect()
}

pub(super) fn feed_end(db: &Connection) -> Result<Cursor, MetaError> {
    let mut select = db
        .prepare_cached(
            "SELECT lane, (SELECT max(seq) FROM feed WHERE feed.lane = lane.lane) FROM lane",
        )
        .map_err(definite)?;
    let rows = select
        .query_map([], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, u64>(1)?)))
        .map_err(definite)?;
    rows.map(|row| {
        let (lane, seq) = row.map_err(definite)?;
        Ok((LaneId::decode(&lane).map_err(damaged)?, seq))
    })
    .collect()
}

/// Hands every live row to `hand_over`, in pages, until that says that nobody listens any more.
pub(super) fn snapshot(
    db: &Connection,
    page: usize,
    hand_over: impl Fn(Vec<(Key, Row)>) -> bool,
) -> Result<Cursor, MetaError> {
    let end = feed_end(db)?;
    let mut range = KeyRange::all();
    loop {
        let rows = scan(db, &range, page, false)?;
        let Some((last, _)) = rows.last() else {
            return Ok(end);
        };
        range.start = [&last.encode()[..], &[0]].concat().into();
        if !hand_over(rows) {
            return Ok(end);
        }
    }
}
