//! A few threads, each with a connection of its own, that run reads.
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{file, table::definite};
use crate::{MetaError, OpenError};

/// Enough that a snapshot and a long scan do not keep others waiting.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Readers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Readers, OpenError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Readers {
            jobs: Some(jobs),
            threads: Vec::new(),
        };
        for _ in 0..THREADS {
            let connection = file::connect(path)?;
            let queue = queue.clone();
            let thread = std::thread::Builder::new()
                .name("meta-read".into())
                .spawn(move || work(&queue, &connection))
                .map_err(|e| OpenError::Failed(format!("no thread for SQLite: {e}")))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `read` in a read transaction: **what one call reads, it reads at one moment**.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let gone = || MetaError::Definite("the readers of the metadata file have ended".into());
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = reply.send(at_one_moment(connection, read));
        });
        self.jobs
            .as_ref()
            .ok_or_else(gone)?
            .send(job)
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn at_one_moment<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, MetaError>,
) -> Result<T, MetaError> {
    let tx = connection.unchecked_transaction().map_err(definite)?;
    read(&tx)
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>, connection: &Connection) {
    loop {
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(connection),
            Err(_) => return,
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
