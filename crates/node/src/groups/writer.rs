//! Writing the changes of many groups in few updates.
//!
//! The lane is serial; what comes while an update is under way goes together into the next. A lone change leaves at once; under
//! load there is at most one update in [`UPDATE_EVERY`].
use std::{collections::VecDeque, sync::Arc, time::Duration};

use sh_base::Env;
use sh_coord::{GroupError, command::RequestId};
use sh_log::mutant;
use sh_meta::{Lane, MetaError};
use tokio::{sync::mpsc, time::sleep};

use super::change::{Fence, Op, Part, Verdict, codes, decide, plan, verdicts};

/// Rows of one update, all families together, beside one coordinator row for each group.
pub(super) const ROWS_MAX: usize = 2_000;
const GROUPS_MAX: usize = 1_000;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The pace of updates that carry more than one group. Costs a commit some milliseconds, and saves the database most of its work.
const UPDATE_EVERY: Duration = Duration::from_millis(5);
/// How long one update is asked for before its groups are told, or it is put together anew.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What became of the change of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored {
        /// What the group is written with from now on.
        fence: Fence,
        /// The version of its coordinator row.
        version: u64,
        refused: Vec<(RequestId, GroupError)>,
    },
    /// Another coordinator has the group.
    Fenced,
    /// A take-over that the metadata store did not answer.
    Away,
}

pub(super) type Done = Box<dyn FnOnce(Outcome) + Send>;

struct Job {
    part: Part,
    released: bool,
    refused: Vec<(RequestId, usize)>,
    done: Done,
}

/// A handle of the writer; it stops with its last handle.
#[derive(Clone)]
pub(super) struct Writer(mpsc::UnboundedSender<Job>);

impl Writer {
    pub fn spawn(env: Env, lane: Arc<Lane>) -> Writer {
        let (send, jobs) = mpsc::unbounded_channel();
        let (queue, last, cautious) = Default::default();
        let run = Run {
            env,
            lane,
            jobs,
            queue,
            last,
            cautious,
        };
        tokio::spawn(run.run());
        Writer(send)
    }

    /// Stores a change; `done` is told what became of it. Never two of one group at a time.
    pub fn store(&self, part: Part, done: Done) {
        let released = part.ops.last() == Some(&Op::Release);
        let job = Job {
            part,
            released,
            refused: Vec::new(),
            done,
        };
        if let Err(mpsc::error::SendError(job)) = self.0.send(job) {
            (job.done)(Outcome::Fenced);
        }
    }
}

struct Run {
    env: Env,
    lane: Arc<Lane>,
    jobs: mpsc::UnboundedReceiver<Job>,
    queue: VecDeque<Job>,
    /// When the last update began that carried several groups.
    last: Option<Duration>,
    /// After a failure groups are written one by one until it works again: one of them may be the reason.
    cautious: bool,
}

impl Run {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while self.fill().await {
            let parts: Arc<Vec<Part>> = Arc::new(self.next_parts());
            let (plan, me, shared) = (plan(&parts), self.lane.id().by, parts.clone());
            let decide = move |view: &_| decide(&shared, me, view);
            match self.lane.update(plan, PATIENCE, decide).await {
                Ok(entry) => {
                    (pause, self.cautious) = (PAUSE_MIN, false);
                    self.settle(&parts, verdicts(&entry.reply).unwrap_or_default());
                }
                Err(error) => {
                    tracing::warn!(%error, groups = parts.len(), "changes of groups wait for the metadata store");
                    self.failed(parts.len(), &error);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Waits for something to do, and for its time. False: nobody can ask any more.
    async fn fill(&mut self) -> bool {
        if self.queue.is_empty() {
            match self.jobs.recv().await {
                Some(job) => self.queue.push_back(job),
                None => return false,
            }
        }
        if let Some(last) = self.last.take() {
            let due = last + UPDATE_EVERY;
            sleep(due.saturating_sub(self.env.mono())).await;
        }
        while let Ok(job) = self.jobs.try_recv() {
            self.queue.push_back(job);
        }
        true
    }

    /// As many groups as one update takes; of the last perhaps not all steps.
    fn next_parts(&mut self) -> Vec<Part> {
        let groups = if self.cautious { 1 } else { GROUPS_MAX };
        let (mut parts, mut rows, mut bytes) = (Vec::new(), 0, 0);
        for job in self.queue.iter().take(groups) {
            if rows >= ROWS_MAX || bytes >= BYTES_MAX {
                break;
            }
            let fits = |op: &&Op| {
                let fits = rows == 0 || (rows + op.rows() <= ROWS_MAX && bytes < BYTES_MAX);
                rows += op.rows();
                bytes += op.bytes();
                fits
            };
            let ops: Vec<Op> = job.part.ops.iter().take_while(fits).cloned().collect();
            if ops.is_empty() && !job.part.ops.is_empty() {
                break;
            }
            parts.push(Part {
                group: job.part.group.clone(),
                fence: job.part.fence,
                ops,
            });
        }
        if parts.len() > 1 {
            self.last = Some(self.env.mono());
        }
        metrics::counter!("streamhouse_group_updates_total").increment(1);
        metrics::counter!("streamhouse_group_changes_total").increment(parts.len() as u64);
        parts
    }

    /// Tells the groups that were written; those with steps left stay first in the queue.
    fn settle(&mut self, parts: &[Part], verdicts: Vec<Verdict>) {
        let jobs: Vec<Job> = self.queue.drain(..parts.len()).collect();
        let mut unfinished = Vec::new();
        let verdicts = verdicts
            .into_iter()
            .chain(std::iter::repeat(Verdict::Fenced));
        for (mut job, verdict) in jobs.into_iter().zip(verdicts) {
            let Verdict::Done {
                epoch,
                version,
                ops,
                refused,
            } = verdict
            else {
                (job.done)(Outcome::Fenced);
                continue;
            };
            job.refused.extend(refused);
            job.part.ops.drain(..ops.min(job.part.ops.len()));
            let finished = job.part.ops.is_empty();
            job.part.fence = match finished && job.released {
                true => Fence::Absent { version, epoch },
                false => Fence::Held { epoch },
            };
            if finished {
                let (fence, refused) = (job.part.fence, codes(job.refused));
                (job.done)(Outcome::Stored {
                    fence,
                    version,
                    refused,
                });
            } else {
                unfinished.push(job);
            }
        }
        unfinished
            .into_iter()
            .rev()
            .for_each(|job| self.queue.push_front(job));
    }

    /// Take-overs are given up: those who wait for them ask again. Changes are tried again, for as long as it takes.
    fn failed(&mut self, parts: usize, error: &MetaError) {
        self.cautious = true;
        let foreign = matches!(error, MetaError::Foreign(_));
        let jobs: Vec<Job> = self.queue.drain(..parts).collect();
        for job in jobs {
            match job.part.fence {
                Fence::TakeOver => (job.done)(Outcome::Away),
                _ if foreign => (job.done)(Outcome::Fenced),
                fence if mutant::is("group_maybe_is_done") => (job.done)(Outcome::Stored {
                    fence,
                    version: 0,
                    refused: Vec::new(),
                }),
                _ => self.queue.push_back(job),
            }
        }
    }
}
