//! **An update is two round trips**, and nobody holds a lock across anything else:
//!
//! 1. BEGIN, claim the request, lock in key order, and then, in statements of their own, read;
//! 2. write, fill in the feed entry, COMMIT.
use std::collections::BTreeMap;

use bytes::Bytes;
use tokio_postgres::{Error, Row, types::ToSql};

use super::{
    error::{Failed, before_commit, outcome},
    read,
    session::{Call, Late, Session},
    sql::{self, Sql},
};
use crate::{Change, Family, FeedEntry, MetaError, Update, View, rules, rules::LockMode};

type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// Where the answers of the first trip are.
struct FirstTrip {
    calls: Vec<Call>,
    claim: usize,
    entry: usize,
    rows: usize,
}

/// One attempt.
pub(super) async fn attempt(
    session: Session,
    sql: &Sql,
    update: &Update,
) -> Result<FeedEntry, Failed> {
    let mut answers = first_trip(&session, sql, update).await?;
    let entry = match answers.decide(update) {
        Ok(Decided::Write(entry)) => entry,
        Ok(Decided::Answer(entry)) => {
            session.abandon().await;
            return Ok(entry);
        }
        Err(e) => {
            session.abandon().await;
            return Err(e);
        }
    };
    second_trip(session, sql, entry).await
}

/// What the first trip brought.
struct Answers {
    claimed: bool,
    stored: Option<Bytes>,
    view: View,
}

enum Decided {
    /// To be written.
    Write(FeedEntry),
    /// Nothing to write: stored before, or decided so.
    Answer(FeedEntry),
}

impl Answers {
    fn decide(&mut self, update: &Update) -> Result<Decided, Failed> {
        match (self.claimed, self.stored.take()) {
            (false, Some(bytes)) => Ok(Decided::Answer(read::entry(bytes).map_err(Failed::For)?)),
            (claimed, _) => {
                rules::require_predecessor(update.request, claimed).map_err(Failed::For)?;
                let entry = rules::decide(update, &self.view).map_err(Failed::For)?;
                Ok(match entry.changes.is_empty() {
                    true => Decided::Answer(entry),
                    false => Decided::Write(entry),
                })
            }
        }
    }
}

async fn first_trip(session: &Session, sql: &Sql, update: &Update) -> Result<Answers, Failed> {
    let trip = FirstTrip::plan(session, sql, update)
        .await
        .map_err(before_commit)?;
    let late = |Late| {
        Failed::For(MetaError::Definite(
            "Postgres did not answer in time".into(),
        ))
    };
    let answers = session.trip(&trip.calls).await.map_err(late)?;
    let answers: Vec<Vec<Row>> = answers
        .into_iter()
        .collect::<Result<_, Error>>()
        .map_err(before_commit)?;
    trip.read(update, answers).map_err(Failed::For)
}

impl FirstTrip {
    async fn plan(session: &Session, sql: &Sql, update: &Update) -> Result<FirstTrip, Error> {
        let place = || -> Params {
            let request = update.request;
            vec![
                Box::new(request.lane.encode().to_vec()),
                Box::new(request.seq as i64),
            ]
        };
        let mut calls = vec![session.call(sql::BEGIN, vec![]).await?];
        let claim = calls.len();
        calls.push(session.call(&sql.claim, place()).await?);
        let entry = calls.len();
        calls.push(session.call(&sql.entry, place()).await?);
        lock_in_order(session, sql, update, &mut calls).await?;
        let rows = calls.len();
        read_after_the_last_lock(session, sql, update, &mut calls).await?;
        Ok(FirstTrip {
            calls,
            claim,
            entry,
            rows,
        })
    }

    fn read(&self, update: &Update, answers: Vec<Vec<Row>>) -> Result<Answers, MetaError> {
        let of = |n: usize| answers.get(n).map_or(&[][..], Vec::as_slice);
        let mut view = View {
            rows: read::rows(of(self.rows))?,
            scans: Vec::new(),
        };
        for key in update
            .locks
            .iter()
            .chain(&update.shares)
            .chain(&update.reads)
        {
            view.rows.entry(key.clone()).or_default();
        }
        for scan in 0..update.scans.len() {
            view.scans.push(read::pairs(of(self.rows + 1 + scan))?);
        }
        let stored = of(self.entry)
            .first()
            .map(|row| read::bytes(row, 0))
            .transpose()?;
        Ok(Answers {
            claimed: !of(self.claim).is_empty(),
            stored,
            view,
        })
    }
}

/// **Locks are taken in key order.** SUBTLE: all placeholders of a family go before its first lock. If a later run of the
/// same family put its placeholders after an earlier run was locked, two updates could wait for each other.
async fn lock_in_order(
    session: &Session,
    sql: &Sql,
    update: &Update,
    calls: &mut Vec<Call>,
) -> Result<(), Error> {
    for (family, runs) in runs_by_family(update) {
        let all: Vec<Vec<u8>> = runs.iter().flat_map(|(_, keys)| keys.clone()).collect();
        calls.push(
            session
                .call(&sql.placeholders(family), vec![Box::new(all)])
                .await?,
        );
        for (mode, keys) in runs {
            let lock = sql.lock(family, mode == LockMode::Exclusive);
            calls.push(session.call(&lock, vec![Box::new(keys)]).await?);
        }
    }
    Ok(())
}

type Runs = Vec<(LockMode, Vec<Vec<u8>>)>;

/// The keys of each family in order, cut where the mode changes.
fn runs_by_family(update: &Update) -> BTreeMap<Family, Runs> {
    let mut families: BTreeMap<Family, Runs> = BTreeMap::new();
    for (key, mode) in rules::lock_order(update) {
        let runs = families.entry(key.family()).or_default();
        match runs.last_mut() {
            Some((last, keys)) if *last == mode => keys.push(key.encode().to_vec()),
            _ => runs.push((mode, vec![key.encode().to_vec()])),
        }
    }
    families
}

/// **Values are read by statements that begin after the last lock is held.** A statement that waited for a lock still sees
/// what was committed before it began to wait; these do not wait.
async fn read_after_the_last_lock(
    session: &Session,
    sql: &Sql,
    update: &Update,
    calls: &mut Vec<Call>,
) -> Result<(), Error> {
    let keys = update
        .locks
        .iter()
        .chain(&update.shares)
        .chain(&update.reads);
    calls.push(session.call(&sql.get, read::by_family(keys)).await?);
    for (range, limit) in &update.scans {
        calls.push(
            session
                .call(&sql.scan(range, false), read::range(range, *limit))
                .await?,
        );
    }
    Ok(())
}

async fn second_trip(session: Session, sql: &Sql, entry: FeedEntry) -> Result<FeedEntry, Failed> {
    let calls = writes(&session, sql, &entry).await.map_err(before_commit)?;
    if session.is_closed() {
        let ended = "the connection to Postgres ended before COMMIT was sent";
        return Err(Failed::For(MetaError::Definite(ended.into())));
    }
    let late = |Late| Failed::For(MetaError::Maybe("Postgres did not answer in time".into()));
    let mut answers = session
        .trip(&calls)
        .await
        .map_err(late)?
        .into_iter()
        .map(|a| a.map(drop));
    let commit = answers.next_back().unwrap_or(Ok(()));
    match outcome(answers, commit) {
        Ok(()) => {
            session.finish();
            Ok(entry)
        }
        Err(e) => {
            session.abandon().await;
            Err(e)
        }
    }
}

async fn writes(session: &Session, sql: &Sql, entry: &FeedEntry) -> Result<Vec<Call>, Error> {
    let mut families: BTreeMap<Family, Vec<&Change>> = BTreeMap::new();
    for change in &entry.changes {
        families
            .entry(change.key.family())
            .or_default()
            .push(change);
    }
    let mut calls = Vec::new();
    for (family, changes) in families {
        calls.push(session.call(&sql.write(family), columns(&changes)).await?);
    }
    let lane = entry.request.lane.encode().to_vec();
    if entry.request.seq == 1 {
        calls.push(
            session
                .call(&sql.lane, vec![Box::new(lane.clone())])
                .await?,
        );
    }
    let (seq, bytes) = (entry.request.seq as i64, entry.encode().to_vec());
    let fill: Params = vec![Box::new(lane), Box::new(seq), Box::new(bytes)];
    calls.push(session.call(&sql.fill, fill).await?);
    calls.push(session.call(sql::COMMIT, vec![]).await?);
    Ok(calls)
}

fn columns(changes: &[&Change]) -> Params {
    let keys: Vec<Vec<u8>> = changes.iter().map(|c| c.key.encode().to_vec()).collect();
    let values: Vec<Option<Vec<u8>>> = changes
        .iter()
        .map(|c| c.value.as_ref().map(|value| value.to_vec()))
        .collect();
    let versions: Vec<i64> = changes.iter().map(|c| c.version as i64).collect();
    vec![Box::new(keys), Box::new(values), Box::new(versions)]
}
