//! The oracle: stories told to Apache Kafka and to us as raw requests, and the answers compared field by field.
//!
//! A scenario is a small story: an async function that sends requests to a [`Peer`]. Each answer becomes a [`Tree`] with all
//! its fields, what must differ between two clusters (ids, addresses, the time) gets symbolic names, and the two transcripts
//! are compared. Differences that we want are in [`wanted`], each with its reason.
pub mod batch;
pub mod diff;
mod normal;
mod peer;
pub mod scenarios;
pub mod tree;
pub mod wanted;

use std::{future::Future, pin::Pin, time::SystemTime};

use anyhow::Result;

pub use diff::Difference;
pub use peer::{Begun, Peer, Run, Step, Topic};
use tree::Tree;

type Told<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

pub struct Scenario {
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub story: &'static str,
    pub tell: for<'a> fn(&'a mut Peer) -> Told<'a>,
}

impl Run {
    /// A run of its own, at this moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the servers that are compared live in real time"
    )]
    pub fn start() -> Run {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Run {
            suffix: format!(".r{:x}", since.as_millis()),
            now_ms: since.as_millis() as i64,
        }
    }
}

/// Tells one story to one server. A story that cannot be told to its end says so in its last step.
pub async fn ask(scenario: &Scenario, address: &str, run: &Run) -> Vec<Step> {
    let stopped = |error: anyhow::Error| Step {
        what: "the story stopped".into(),
        version: 0,
        answer: Tree::Text(format!("{error:#}").replace(&run.suffix, "")),
    };
    match Peer::connect(address, scenario.name, run).await {
        Err(error) => vec![stopped(error)],
        Ok(mut peer) => {
            let end = (scenario.tell)(&mut peer).await.err().map(stopped);
            peer.steps.into_iter().chain(end).collect()
        }
    }
}

/// What a comparison found.
#[derive(Default)]
pub struct Report {
    /// Differences that nobody wants.
    pub unwanted: Vec<Difference>,
    /// Wanted differences that did not occur.
    pub unused: Vec<&'static wanted::Wanted>,
    pub steps: usize,
    pub wanted: usize,
}

/// How the two told one scenario.
struct ToldApart {
    steps: usize,
    /// Places in [`wanted::WANTED`].
    wanted: Vec<usize>,
    unwanted: Vec<Difference>,
}

async fn told_apart(scenario: &Scenario, kafka: &str, ours: &str, run: &Run) -> ToldApart {
    let (theirs, mine) = tokio::join!(ask(scenario, kafka, run), ask(scenario, ours, run));
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for difference in diff::transcripts(scenario.name, &theirs, &mine) {
        match wanted::WANTED.iter().position(|w| w.covers(&difference)) {
            Some(at) => wanted.push(at),
            None => unwanted.push(difference),
        }
    }
    ToldApart {
        steps: theirs.len(),
        wanted,
        unwanted,
    }
}

/// Tells every story whose name contains `only` to both servers. Wanted differences are checked for use only when all
/// stories are told.
pub async fn compare(kafka: &str, ours: &str, only: &str) -> Result<Report> {
    let run = Run::start();
    for address in [kafka, ours] {
        Peer::connect(address, "hello", &run).await?;
    }
    let mut report = Report::default();
    let mut used = vec![false; wanted::WANTED.len()];
    for scenario in scenarios::all().filter(|s| s.name.contains(only)) {
        let mut told = told_apart(scenario, kafka, ours, &run).await;
        if !told.unwanted.is_empty() {
            // Kafka applies a change of metadata some time after it has answered; a busy machine makes that long. What both
            // mean they say again.
            told = told_apart(scenario, kafka, ours, &Run::start()).await;
        }
        report.steps += told.steps;
        report.wanted += told.wanted.len();
        told.wanted.iter().for_each(|at| used[*at] = true);
        report.unwanted.extend(told.unwanted);
    }
    if only.is_empty() {
        let idle = wanted::WANTED.iter().zip(&used).filter(|(_, used)| !**used);
        report.unused = idle.map(|(w, _)| w).collect();
    }
    Ok(report)
}
