//! Standard input and files, read by a thread of their own.
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    RowFormat, Shape,
    csv_rows::CsvRows,
    line_rows::{json_rows, line_rows},
    row::{Row, Rows},
};
use crate::failure::Failure;

/// Rows that were read and not yet taken.
const ROWS_AHEAD: usize = 8192;

/// Rows to come, and how many bytes of input they came from.
pub struct Input {
    pub rows: mpsc::Receiver<Result<Row, Failure>>,
    pub bytes_read: Arc<AtomicU64>,
    /// Of all inputs together, where that is known.
    pub bytes_total: Option<u64>,
}

/// Starts to read.
pub fn open(files: Vec<PathBuf>, shape: Shape) -> Result<Input, Failure> {
    let bytes_total = files
        .iter()
        .map(|file| size(file))
        .sum::<Result<Option<u64>, Failure>>()?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let (sender, rows) = mpsc::channel(ROWS_AHEAD);
    let counter = bytes_read.clone();
    // Not a task: it may wait for a terminal for ever, and must not keep the program from ending.
    std::thread::spawn(move || {
        for file in files {
            if !read_into(&file, &shape, &counter, &sender) {
                return;
            }
        }
    });
    Ok(Input {
        rows,
        bytes_read,
        bytes_total,
    })
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// The size of a plain file; `None` of what has no end that is known.
fn size(file: &Path) -> Result<Option<u64>, Failure> {
    if is_standard_input(file) {
        return Ok(None);
    }
    let metadata = file.metadata().map_err(|e| unreadable(file, &e))?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Sends all rows of one input; says whether to go on with the next.
fn read_into(
    file: &Path,
    shape: &Shape,
    counter: &Arc<AtomicU64>,
    to: &mpsc::Sender<Result<Row, Failure>>,
) -> bool {
    let rows = match rows(file, shape, counter) {
        Ok(rows) => rows,
        Err(failure) => {
            // Nobody takes it: whoever took rows has failed and said so.
            let _ = to.blocking_send(Err(failure));
            return false;
        }
    };
    for row in rows {
        let row = row.map_err(|failure| failure.during(file.display()));
        let last = row.is_err();
        if to.blocking_send(row).is_err() || last {
            return false;
        }
    }
    true
}

fn rows(file: &Path, shape: &Shape, counter: &Arc<AtomicU64>) -> Result<Rows, Failure> {
    let source: Box<dyn Read> = match is_standard_input(file) {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).map_err(|e| unreadable(file, &e))?),
    };
    let source = Counted {
        source,
        counter: counter.clone(),
    };
    Ok(match shape.format {
        RowFormat::Lines => line_rows(source, shape),
        RowFormat::Jsonl => json_rows(source, shape),
        RowFormat::Csv => {
            Box::new(CsvRows::new(source, shape).map_err(|f| f.during(file.display()))?)
        }
    })
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be read: {error}", file.display()))
}

/// Counts what goes through.
struct Counted<R> {
    source: R,
    counter: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        self.counter.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
