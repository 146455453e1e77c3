//! What a run found: a table for the eyes, JSON for programs, a page with plots for readers.
use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    limits::Limit,
    measure::{Measured, Quantiles},
    plot::{self, Value, short},
};

/// One workload on one server.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub server: String,
    pub workload: String,
    #[serde(flatten)]
    pub measured: Measured,
}

/// Something asked for, beside what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    pub what: String,
    pub measured: String,
    pub wanted: String,
    pub reached: bool,
}

/// A series of a plot over the number of things that exist.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub of: String,
    /// How many exist, and the median produce latency then, in milliseconds, and the server's microseconds per request.
    pub points: Vec<(f64, f64, f64)>,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The command that gave it, and what it ran on.
    pub command: String,
    pub machine: String,
    /// What else the machine was doing at the beginning.
    pub load_average: String,
    pub limits: Vec<Limit>,
    pub rows: Vec<Row>,
    pub growth: Vec<Growth>,
    pub bars: Vec<Bar>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

const COLUMNS: [&str; 14] = [
    "server",
    "workload",
    "records/s",
    "MiB/s",
    "produce p50/p99/p99.9 ms",
    "end-to-end p50/p99/p99.9 ms",
    "CPU s/GiB",
    "peak MiB",
    "PUT/s",
    "PUT/GiB",
    "GET/GiB",
    "commits/GiB",
    "rows/GiB",
    "generator",
];

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn quantiles(value: Option<Quantiles>) -> String {
    value.map_or_else(
        || "-".into(),
        |q| format!("{} / {} / {}", short(q.p50), short(q.p99), short(q.p999)),
    )
}

impl Row {
    /// Fast enough for a rate, or a cost per byte, to tell something.
    fn is_busy(&self) -> bool {
        self.measured.mib_per_second > 5.0
    }

    fn reads(&self) -> bool {
        ["reads", "consumer"]
            .iter()
            .any(|word| self.workload.contains(word))
    }

    fn cells(&self) -> [String; 14] {
        let m = &self.measured;
        let error = |(code, count): (&i16, &u64)| format!(", {count} answers with error {code}");
        let errors: String = m.errors.iter().map(error).collect();
        let says = if m.generator_says.is_empty() {
            String::new()
        } else {
            format!(", {}", m.generator_says)
        };
        [
            self.server.clone(),
            self.workload.clone(),
            number(Some(m.records_per_second), 0),
            number(Some(m.mib_per_second), 1),
            quantiles(m.produce_ms),
            quantiles(m.end_to_end_ms),
            number(m.cpu_seconds_per_gib, 2),
            number(m.peak_mib, 0),
            number(m.puts_per_second, 1),
            number(m.puts_per_gib, 0),
            number(m.gets_per_gib, 0),
            number(m.transactions_per_gib, 0),
            number(m.rows_per_gib, 0),
            format!("{:.2} cores{says}{errors}", m.generator_cores),
        ]
    }
}

fn markdown(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

/// Columns padded to one width, for a terminal.
fn aligned(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i));
        cells
            .map(|c| c.chars().count())
            .chain([head[i].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let mut out = line(&head);
    for row in rows {
        out.push('\n');
        out.push_str(line(row).trim_end());
    }
    out
}

impl Report {
    pub fn push(&mut self, server: &str, workload: &str, measured: Measured) {
        let row = Row {
            server: server.into(),
            workload: workload.into(),
            measured,
        };
        let cells = row.cells();
        println!(
            "{:24} {:28} {:>10} rec/s {:>8} MiB/s  produce {}  end-to-end {}  {} CPU s/GiB  peak {} MiB  {}",
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            cells[4],
            cells[5],
            cells[6],
            cells[7],
            cells[13]
        );
        self.rows.push(row);
    }

    pub fn limit(&mut self, limit: Limit) -> Limit {
        println!(
            "limit: {:44} {:>9.1} MiB/s  p50 {} ms  p99 {} ms",
            limit.what,
            limit.mib_per_second,
            number(limit.p50_ms, 2),
            number(limit.p99_ms, 2)
        );
        self.limits.push(limit.clone());
        limit
    }

    pub fn bar(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        wanted: impl Into<String>,
        reached: bool,
    ) {
        let bar = Bar {
            what: what.into(),
            measured: measured.into(),
            wanted: wanted.into(),
            reached,
        };
        println!(
            "{}  {}: {} (wanted: {})",
            if reached { "ok    " } else { "MISSED" },
            bar.what,
            bar.measured,
            bar.wanted
        );
        self.bars.push(bar);
    }

    pub fn find(&self, server: &str, workload: &str) -> Option<&Measured> {
        let row = self
            .rows
            .iter()
            .find(|row| row.server == server && row.workload == workload);
        row.map(|row| &row.measured)
    }

    pub fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.cells().to_vec()).collect();
        aligned(&COLUMNS, &rows)
    }

    /// Writes `results.json`, the plots and `benchmarks.md` under `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let plots = folder.join("benchmarks");
        fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
        fs::write(
            plots.join("results.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        let mut page = self.page();
        for (name, title, svg) in self.plots() {
            fs::write(plots.join(format!("{name}.svg")), svg)?;
            let _ = writeln!(page, "![{title}](benchmarks/{name}.svg)\n");
        }
        page.push_str(include_str!("held.md"));
        fs::write(folder.join("benchmarks.md"), page)?;
        Ok(())
    }

    fn page(&self) -> String {
        let mut page = String::from(
            "# Benchmarks\n\nWritten by the command; do not edit. Everything on this page comes from one run of\n\n",
        );
        let _ = writeln!(page, "```sh skip\n{}\n```\n", self.command);
        let _ = writeln!(
            page,
            "on {}; load average before it began: {}. All servers, the object store, the database and the load generator share \
             the machine, one server under test at a time. How each workload is made: `bench/src/suite`. The same numbers for \
             programs: [results.json](benchmarks/results.json).\n",
            self.machine, self.load_average
        );
        page.push_str("## What was asked for\n\n");
        let bars = self.bars.iter().map(|bar| {
            let mark = if bar.reached { "reached" } else { "**missed**" };
            vec![
                bar.what.clone(),
                bar.measured.clone(),
                bar.wanted.clone(),
                mark.into(),
            ]
        });
        markdown(&mut page, &["what", "measured", "wanted", ""], bars);
        page.push_str("## The limits of the machine\n\n");
        let limits = self.limits.iter().map(|limit| {
            vec![
                limit.what.clone(),
                number(Some(limit.mib_per_second), 0),
                number(limit.p50_ms, 2),
                number(limit.p99_ms, 2),
            ]
        });
        markdown(&mut page, &["limit", "MiB/s", "p50 ms", "p99 ms"], limits);
        page.push_str(
            "## The workloads\n\nLatencies of rate workloads count from the moment a request was meant to leave. CPU is user and system \
             time of the server's process; the generator's own cores are in the last column, which also says when a number is the \
             generator's and not the server's. Peak is the most resident memory while measured.\n\n",
        );
        let mut servers: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !servers.contains(&row.server.as_str()) {
                servers.push(&row.server);
            }
        }
        for server in servers {
            let _ = writeln!(
                page,
                "### {server}\n\n`{} --only '{server}'`\n",
                self.command
            );
            let rows = self.rows.iter().filter(|row| row.server == server);
            markdown(
                &mut page,
                &COLUMNS[1..],
                rows.map(|row| row.cells()[1..].to_vec()),
            );
        }
        for growth in &self.growth {
            let _ = writeln!(
                page,
                "### One produce request against the number of {}\n",
                growth.of
            );
            let points = growth.points.iter().map(|(count, p50, cpu)| {
                vec![format!("{count:.0}"), short(*p50), format!("{cpu:.0}")]
            });
            markdown(
                &mut page,
                &[&growth.of, "p50 ms", "server CPU, microseconds a request"],
                points,
            );
        }
        for note in &self.notes {
            let _ = writeln!(page, "- {note}");
        }
        page.push('\n');
        page
    }

    fn plots(&self) -> Vec<(&'static str, &'static str, String)> {
        let of = |wanted: fn(&Row) -> Option<f64>| {
            let rows = self.rows.iter();
            let value = |row: &Row| {
                Some(Value {
                    workload: row.workload.clone(),
                    server: row.server.clone(),
                    value: wanted(row)?,
                })
            };
            rows.filter_map(value).collect::<Vec<_>>()
        };
        let writes =
            of(|row| (row.is_busy() && !row.reads()).then_some(row.measured.mib_per_second));
        let reads = of(|row| row.reads().then_some(row.measured.mib_per_second));
        let cpu = of(|row| row.measured.cpu_seconds_per_gib.filter(|_| row.is_busy()));
        let latency = of(|row| {
            let m = &row.measured;
            m.end_to_end_ms.and(m.produce_ms).map(|q| q.p99)
        });
        let plot = |name, title, values: &[Value]| (name, title, plot::bars(title, values));
        let mut plots = vec![
            plot("writes", "Written, MiB/s", &writes),
            plot("reads", "Read, MiB/s", &reads),
            plot("cpu", "Server CPU seconds per GiB", &cpu),
            plot(
                "latency",
                "Produce latency at a fixed rate, p99 ms",
                &latency,
            ),
        ];
        if !self.growth.is_empty() {
            let lines = self.growth.iter().map(|g| {
                let points = g.points.iter().map(|(x, _, cpu)| (*x, *cpu)).collect();
                (g.of.clone(), points)
            });
            let title = "Server CPU of a produce request, microseconds, against what exists";
            plots.push((
                "growth",
                title,
                plot::lines(title, &lines.collect::<Vec<_>>()),
            ));
        }
        plots
    }
}
