//! A record to be, and the iterators that make them.
use bytes::Bytes;

use crate::failure::Failure;

/// What one row of the input says of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch; `None`: the time of writing.
    pub timestamp: Option<i64>,
}

/// The rows of one input. An error names the row.
pub type Rows = Box<dyn Iterator<Item = Result<Row, Failure>>>;
