//! Results on standard output: a table or sentence for people, JSON for programs.
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

impl Format {
    /// Prints `value`, as `text` says it or as one line of JSON.
    pub fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let shown = match self {
            Format::Text => text(value),
            Format::Json => serde_json::to_string(value).map_err(io::Error::from)?,
        };
        writeln!(io::stdout(), "{shown}")?;
        Ok(())
    }
}

/// Columns under headings, without lines.
pub fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.map(str::to_uppercase));
    table.add_rows(rows);
    let lines = table.lines().map(|line| line.trim().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// 1536 as `1.5 KiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// 1234567 as `1,234,567`.
pub fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// `1 record`, `2 records`.
pub fn records(number: u64) -> String {
    let noun = if number == 1 { "record" } else { "records" };
    format!("{} {noun}", count(number))
}

/// What may be absent, as `-`.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}
