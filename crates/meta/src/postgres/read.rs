//! Parameters from keys, and rows back.
use std::collections::HashMap;

use bytes::Bytes;
use tokio_postgres::{Row as SqlRow, types::ToSql};

use super::error::definite;
use crate::{Cursor, Family, FeedEntry, Identity, Key, KeyRange, LaneId, MetaError, Row};

type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// The parameters of `Sql::get`.
pub(super) fn by_family<'a>(keys: impl Iterator<Item = &'a Key>) -> Params {
    let mut families: HashMap<Family, Vec<Vec<u8>>> = HashMap::new();
    for key in keys {
        families
            .entry(key.family())
            .or_default()
            .push(key.encode().to_vec());
    }
    let param = |family| Box::new(families.remove(&family).unwrap_or_default()) as _;
    Family::ALL.into_iter().map(param).collect()
}

/// The parameters of `Sql::scan`.
pub(super) fn range(range: &KeyRange, limit: usize) -> Params {
    vec![
        Box::new(range.start.to_vec()),
        Box::new(range.end.to_vec()),
        Box::new(sql_limit(limit)),
    ]
}

/// The parameters of `Sql::feed`.
pub(super) fn cursor(cursor: &Cursor, limit: usize) -> Params {
    let lanes: Vec<Vec<u8>> = cursor.keys().map(|lane| lane.encode().to_vec()).collect();
    let clamp = |seq: &u64| i64::try_from(*seq).unwrap_or(i64::MAX);
    let seqs: Vec<i64> = cursor.values().map(clamp).collect();
    vec![Box::new(lanes), Box::new(seqs), Box::new(sql_limit(limit))]
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn rows(rows: &[SqlRow]) -> Result<HashMap<Key, Row>, MetaError> {
    rows.iter().map(pair).collect()
}

pub(super) fn pairs(rows: &[SqlRow]) -> Result<Vec<(Key, Row)>, MetaError> {
    rows.iter().map(pair).collect()
}

fn pair(row: &SqlRow) -> Result<(Key, Row), MetaError> {
    let key: &[u8] = row.try_get(0).map_err(definite)?;
    let value: Option<&[u8]> = row.try_get(1).map_err(definite)?;
    let version: i64 = row.try_get(2).map_err(definite)?;
    let value = value.map(Bytes::copy_from_slice);
    Ok((
        Key::decode(key).map_err(damaged)?,
        Row {
            value,
            version: number(version)?,
        },
    ))
}

pub(super) fn bytes(row: &SqlRow, column: usize) -> Result<Bytes, MetaError> {
    Ok(Bytes::copy_from_slice(
        row.try_get(column).map_err(definite)?,
    ))
}

pub(super) fn entry(bytes: Bytes) -> Result<FeedEntry, MetaError> {
    FeedEntry::decode(bytes).map_err(damaged)
}

pub(super) fn entries(rows: &[SqlRow]) -> Result<Vec<FeedEntry>, MetaError> {
    rows.iter().map(|row| entry(bytes(row, 0)?)).collect()
}

pub(super) fn ends(rows: &[SqlRow]) -> Result<Cursor, MetaError> {
    let end = |row: &SqlRow| {
        let lane = LaneId::decode(row.try_get(0).map_err(definite)?).map_err(damaged)?;
        Ok((lane, number(row.try_get(1).map_err(definite)?)?))
    };
    rows.iter().map(end).collect()
}

/// Of `Sql::identity`.
pub(super) fn identity(row: &SqlRow) -> Result<Identity, tokio_postgres::Error> {
    let (server, wal_file, tables): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let timeline = wal_file
        .get(..8)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok());
    Ok(Identity {
        system: format!("{server}/{tables}"),
        timeline: timeline.unwrap_or(0),
    })
}

fn number(n: i64) -> Result<u64, MetaError> {
    u64::try_from(n).map_err(damaged)
}

fn damaged(e: impl std::fmt::Display) -> MetaError {
    MetaError::Definite(format!("a row in Postgres is damaged: {e}"))
}
