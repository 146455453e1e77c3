//! The one writer: **all updates that are waiting go into one transaction, under one fsync**, and are answered after it.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::mpsc,
    thread::JoinHandle,
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::table;
use crate::{
    FeedEntry, Key, KeyRange, MetaError, OpenError, Request, Row, Update,
    serial::{self, Serial},
};

/// Updates in one transaction: enough to share an fsync, few enough that the first is not kept waiting by the last.
const GROUP_MAX: usize = 128;

type Answer = Result<FeedEntry, MetaError>;

struct Job {
    update: Update,
    reply: oneshot::Sender<Answer>,
}

pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection) -> Result<Writer, OpenError> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("meta-write".into())
            .spawn(move || work(&mut connection, &queue))
            .map_err(|e| OpenError::Failed(format!("no thread for SQLite: {e}")))?;
        Ok(Writer {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) async fn update(&self, update: Update) -> Answer {
        let ended = "the writer of the metadata file has ended";
        let (reply, answer) = oneshot::channel();
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(Job { update, reply }).is_ok());
        if !sent {
            return Err(MetaError::Definite(ended.into()));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(MetaError::Maybe(ended.into())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(connection: &mut Connection, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let waiting = std::iter::once(first)
            .chain(queue.try_iter())
            .take(GROUP_MAX);
        let (updates, replies): (Vec<_>, Vec<_>) = waiting.map(|j| (j.update, j.reply)).unzip();
        for (reply, answer) in replies.into_iter().zip(commit_group(connection, &updates)) {
            let _ = reply.send(answer);
        }
    }
}

/// Commits the updates together. If that fails, each is tried alone, so that one which cannot be written harms only itself.
fn commit_group(connection: &mut Connection, updates: &[Update]) -> Vec<Answer> {
    match (run_group(connection, updates), updates) {
        (Ok(answers), _) => answers,
        (Err(e), [_]) => vec![Err(e)],
        (Err(MetaError::Definite(_)), _) => updates
            .iter()
            .flat_map(|u| commit_group(connection, slice::from_ref(u)))
            .collect(),
        (Err(e), _) => updates
            .iter()
            .map(|_| Err(MetaError::Maybe(e.to_string())))
            .collect(),
    }
}

fn run_group(connection: &mut Connection, updates: &[Update]) -> Result<Vec<Answer>, MetaError> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(table::definite)?;
    let done =
        run_all(connection, updates).and_then(|answers| commit(connection).map(|()| answers));
    if !connection.is_autocommit() {
        // Whatever a failed rollback leaves, the next BEGIN reports.
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

/// An error of one update is its answer; an error while writing is the group's, as half of it is in the transaction.
fn run_all(connection: &Connection, updates: &[Update]) -> Result<Vec<Answer>, MetaError> {
    let mut answers = Vec::with_capacity(updates.len());
    for update in updates {
        let mut group = Group {
            connection,
            failed: None,
        };
        let run = AssertUnwindSafe(|| serial::update(&mut group, update));
        let panicked = |_| Err(MetaError::Definite("a bug: the update panicked".into()));
        let answer = catch_unwind(run).unwrap_or_else(panicked);
        match group.failed {
            Some(e) => return Err(e),
            None => answers.push(answer),
        }
        require_transaction(connection)?;
    }
    Ok(answers)
}

/// **SQLite itself rolls everything back after some errors, even of a statement that only reads** (a full disk, an I/O error,
/// no memory). What came next would be written statement by statement, outside of any transaction: half an update could stay.
fn require_transaction(connection: &Connection) -> Result<(), MetaError> {
    match connection.is_autocommit() {
        true => Err(MetaError::Definite(
            "SQLite rolled the transaction back after an error; it goes on when that has passed"
                .into(),
        )),
        false => Ok(()),
    }
}

/// **A commit that failed with an I/O error may be found committed after a crash** (its frames may be in the WAL), so it is
/// not definite. A full disk is: the frame that commits is the last one, and it did not fit.
fn commit(connection: &Connection) -> Result<(), MetaError> {
    connection
        .execute_batch("COMMIT")
        .map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => table::definite(e),
            _ => MetaError::Maybe(format!("SQLite: {e}")),
        })
}

struct Group<'a> {
    connection: &'a Connection,
    failed: Option<MetaError>,
}

impl Serial for Group<'_> {
    fn entry(&self, request: Request) -> Result<Option<FeedEntry>, MetaError> {
        table::entry(self.connection, request)
    }

    fn row(&self, key: &Key) -> Result<Row, MetaError> {
        table::row(self.connection, key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        table::scan(self.connection, range, limit, reverse)
    }

    fn append(&mut self, entry: &FeedEntry) -> Result<(), MetaError> {
        table::append(self.connection, entry).map_err(|e| {
            self.failed = Some(table::definite(e));
            MetaError::Definite("its group failed".into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conformance::story::{decide, env, head, put, request, update},
        sqlite::file,
    };

    fn filling(agent: u32, bytes: usize) -> Update {
        update(request(agent, 1), &[&head(agent as i32)], move |_| {
            decide(vec![put(&head(agent as i32), "x".repeat(bytes))], "")
        })
    }

    #[test]
    fn a_transaction_that_sqlite_gave_up_by_itself_takes_nothing_more() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("meta.db");
        let mut connection = file::connect(&path).unwrap();
        file::prepare(&path, &mut connection, &env(1)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(require_transaction(&connection).is_ok());
        connection.execute_batch("ROLLBACK").unwrap();
        match run_all(&connection, &[filling(1, 10), filling(2, 10)]) {
            Err(MetaError::Definite(why)) => assert!(why.contains("rolled"), "{why}"),
            other => panic!("{other:?}"),
        }
        let row = table::row(&connection, &head(2)).unwrap();
        assert_eq!(row, Row::default(), "the second was not begun");
    }

    #[test]
    fn a_full_disk_is_definite_and_it_goes_on_when_there_is_space() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("meta.db");
        let mut connection = file::connect(&path).unwrap();
        file::prepare(&path, &mut connection, &env(1)).unwrap();
        let pages = |n: u32| connection.pragma_update(None, "max_page_count", n).unwrap();
        pages(20);
        let group = [filling(1, 10), filling(2, 1 << 20), filling(3, 10)];
        let answers = commit_group(&mut connection, &group);
        assert!(
            answers[0].is_ok() && answers[2].is_ok(),
            "the small ones still fit: {answers:?}"
        );
        match &answers[1] {
            Err(MetaError::Definite(why)) => assert!(why.contains("full"), "{why}"),
            other => panic!("{other:?}"),
        }
        let row = table::row(&connection, &head(2)).unwrap();
        assert_eq!(row, Row::default(), "nothing of it was written");

        connection
            .pragma_update(None, "max_page_count", 10_000)
            .unwrap();
        let again = commit_group(&mut connection, &[filling(2, 1 << 20)]);
        assert!(again[0].is_ok(), "{again:?}");
    }
}
