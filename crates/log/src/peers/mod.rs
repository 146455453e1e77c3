//! What agents do for each other (DESIGN 6): they push news of their commits, and lend each other the bytes of objects.
//!
//! *Invariant:* nothing depends on it. The feed is the truth about commits and the bucket about objects; a peer that is silent,
//! slow or wrong about who lives costs time, never correctness. News are entries that were committed, and the chain rule decides
//! what of them is visible; objects never change, so bytes from a peer are the bytes of the bucket.
//!
//! - **News** ([`news`], [`push`]): each agent pushes the entries of its own lanes to all that live, a few at once, best effort,
//!   and once a second at least how far its lanes are. Who hears that a lane is further than what it knows reads the feed.
//! - **The ring** ([`book`], [`lend`]): agents of one zone ask one of them for an object, so that it is read from the bucket about
//!   once: the agent that wrote it while it is new, else the first by rendezvous hash.
//!
//! How requests travel is a [`Link`]'s business; whom a door lets in is decided by [`Pass`].
mod book;
mod lend;
mod news;
mod pass;
mod push;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sh_base::{AgentId, Env, Incarnation, ObjectId};
use sh_meta::FeedEntry;
use tokio::sync::Notify;

use crate::{agent::AgentRow, cache::Age};
use book::Book;
pub use lend::{Loan, Part};
pub use news::{BadNews, NEWS_BYTES_MAX, News};
pub use pass::{NotAdmitted, Pass, PeerSecret, shared_secret};
use push::Outboxes;

/// How long one push may take. It is told again by the next one how far the lanes are.
pub const PUSH_MAX: Duration = Duration::from_secs(1);
/// How long a loan may take: longer than a bucket's ordinary answers, as the lender may have to fetch what it lends.
pub const LOAN_MAX: Duration = Duration::from_secs(1);

/// Another agent, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub by: Incarnation,
    pub zone: Option<String>,
    /// Where it takes news and lends objects, HOST:PORT; `None`: it does not.
    pub http: Option<String>,
}

impl Peer {
    /// The agent of a row; `None` if the row names no life.
    pub fn of(id: AgentId, row: &AgentRow) -> Option<Peer> {
        let by = Incarnation {
            agent: id,
            epoch: row.epoch,
            nonce: u64::from_str_radix(&row.nonce, 16).ok()?,
        };
        Some(Peer {
            by,
            zone: row.zone.clone(),
            http: row.http.clone(),
        })
    }
}

/// Why a peer did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It answered, and cannot do this now: it is busy, starts, stops, or does not have it.
    #[error("it refused: {0}")]
    Refused(String),
    /// No answer, or one that makes no sense.
    #[error("{0}")]
    Away(String),
}

/// The way to other agents. Requests end by themselves, within [`PUSH_MAX`] or [`LOAN_MAX`] at the latest.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Gives encoded [`News`] to a peer.
    async fn push(&self, to: &Peer, news: Bytes) -> Result<(), PeerError>;
    /// Asks a peer for a part of an object.
    async fn borrow(&self, from: &Peer, object: ObjectId, part: Part) -> Result<Loan, PeerError>;
}

/// The other agents, as this one knows them. A cheap handle; all clones are one.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    env: Env,
    me: Incarnation,
    link: Arc<dyn Link>,
    book: Mutex<Book>,
    outboxes: Outboxes,
    /// Somebody spoke of whom no row is known.
    stranger: Notify,
}

impl Peers {
    pub fn new(env: Env, me: Incarnation, zone: Option<String>, link: Arc<dyn Link>) -> Peers {
        Peers(Arc::new(Shared {
            env,
            me,
            link,
            book: Mutex::new(Book::new(me.agent, zone)),
            outboxes: Outboxes::default(),
            stranger: Notify::new(),
        }))
    }

    /// Takes in the rows of all agents, at `now_ms` of the wall clock.
    pub fn learn(&self, rows: &[(AgentId, AgentRow)], now_ms: i64) {
        let others = rows.iter().filter(|(id, _)| *id != self.0.me.agent);
        let living = others.clone().filter(|(_, row)| row.is_alive(now_ms));
        let peers: Vec<Peer> = living.filter_map(|(id, row)| Peer::of(*id, row)).collect();
        self.0.outboxes.serve(&peers);
        self.0.book.lock().learn(peers, others.count());
    }

    /// The rows could not be read: nobody knows who is there.
    pub fn learn_nothing(&self) {
        self.0.book.lock().forget_rows();
    }

    /// Is it certain that there is no other agent, dead or alive?
    pub fn is_alone(&self) -> bool {
        self.0.book.lock().is_alone()
    }

    /// Does every other agent that lives send news? Then the feed has nothing to tell that will not be heard sooner.
    pub fn all_send(&self) -> bool {
        self.0.book.lock().all_send(self.now())
    }

    /// Resolves when somebody spoke of whom no row is known: the rows are worth reading.
    pub async fn stranger(&self) {
        self.0.stranger.notified().await;
    }

    /// Pushes an entry that this agent committed, if it is small enough; never waits.
    pub fn tell(&self, entry: &FeedEntry) {
        self.0.outboxes.post(entry);
    }

    /// Waits until every peer that can be reached has heard what was told until now, `at_most` so long.
    pub async fn heard(&self, at_most: Duration) {
        // Who has not heard by then reads the feed.
        let _ = tokio::time::timeout(at_most, self.0.outboxes.heard()).await;
    }

    /// Pushes to all that live, for ever: drop the future to stop.
    pub async fn run(&self) {
        push::run(self.clone()).await;
    }

    pub(crate) fn heard_from(&self, by: Incarnation) {
        if !self.0.book.lock().heard(by, self.now()) {
            self.0.stranger.notify_one();
        }
    }

    pub(crate) fn is_me(&self, agent: AgentId) -> bool {
        agent == self.0.me.agent
    }

    /// A part of an object from the peer that should have it; `None`: the bucket must be asked.
    pub(crate) async fn borrow(&self, object: ObjectId, part: Part, age: Age) -> Option<Loan> {
        let holder = self.0.book.lock().holder(object, age, self.now())?;
        let asked = self.0.link.borrow(&holder, object, part.clone());
        let loan = match tokio::time::timeout(LOAN_MAX, asked).await {
            Ok(loan) => loan.and_then(|loan| loan.checked(&part)),
            Err(_) => Err(PeerError::Away(format!("no answer within {LOAN_MAX:?}"))),
        };
        match loan {
            Ok(loan) => {
                count_loan("ok");
                Some(loan)
            }
            Err(error) => {
                self.disappointed(&holder, &error);
                None
            }
        }
    }

    fn disappointed(&self, by: &Peer, error: &PeerError) {
        match error {
            PeerError::Refused(_) => count_loan("refused"),
            PeerError::Away(_) => {
                count_loan("away");
                self.0.book.lock().shun(by.by, self.now());
            }
        }
        tracing::debug!(peer = %by.by, %error, "an object comes from the bucket, not from the agent that should have it");
    }

    fn now(&self) -> Duration {
        self.0.env.mono()
    }
}

fn count_loan(outcome: &'static str) {
    metrics::counter!("streamhouse_peer_loans_total", "outcome" => outcome).increment(1);
}

/// Does `inner` lie within `outer`?
fn within(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.start <= inner.end && inner.end <= outer.end
}
