//! Pushing news: one queue and one request in flight for each peer, so that a busy agent's entries travel together.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use sh_meta::FeedEntry;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{PUSH_MAX, Peer, PeerError, Peers, news};

/// A peer hears of this agent so often, news or not.
const EVERY: Duration = Duration::from_secs(1);
/// After a push that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// What is to be told, and to whom.
#[derive(Default)]
pub struct Outboxes {
    state: Mutex<State>,
    /// Peers came or went.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The newest entry of each own lane.
    ends: BTreeMap<u8, u64>,
    queues: BTreeMap<String, Arc<Outbox>>,
}

/// What one peer is still to be told.
struct Outbox {
    peer: Peer,
    queue: Mutex<Queue>,
    filled: Notify,
    told: watch::Sender<Told>,
}

/// How far a peer has heard.
#[derive(Clone, Copy)]
struct Told {
    /// Of what was queued, counted from 1.
    upto: u64,
    /// The last push came through, if there was one.
    reached: bool,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Bytes>,
    bytes: usize,
    /// Entries that were ever queued.
    posted: u64,
}

impl Outboxes {
    /// Has a queue for each of these peers that takes news, and for no other.
    pub fn serve(&self, peers: &[Peer]) {
        let mut state = self.state.lock();
        let takers = peers.iter().filter(|p| p.http.is_some());
        let mut before = std::mem::take(&mut state.queues);
        let size = before.len();
        let mut changed = false;
        for peer in takers {
            let name = name(peer);
            let outbox = before.remove(&name).unwrap_or_else(|| {
                changed = true;
                Arc::new(Outbox::new(peer.clone()))
            });
            state.queues.insert(name, outbox);
        }
        if changed || state.queues.len() != size {
            self.changed.notify_one();
        }
    }

    pub fn post(&self, entry: &FeedEntry) {
        let mut state = self.state.lock();
        if !state.queues.is_empty() {
            let bytes = news::encode_entry(entry);
            state.queues.values().for_each(|o| o.put(bytes.clone()));
        }
        // SUBTLE: after the queues, so that who is told of this end was given the entry, or it is lost.
        let lane = entry.request.lane.lane;
        state.ends.insert(lane, entry.request.seq);
    }

    /// Resolves when every peer that can be reached has heard what was posted until now.
    pub async fn heard(&self) {
        let waiting: Vec<_> = {
            let state = self.state.lock();
            state.queues.values().map(|o| o.heard()).collect()
        };
        join_all(waiting).await;
    }

    fn ends(&self) -> Vec<(u8, u64)> {
        let state = self.state.lock();
        state.ends.iter().map(|(lane, seq)| (*lane, *seq)).collect()
    }
}

/// One life at one address.
fn name(peer: &Peer) -> String {
    format!("{} {}", peer.by, peer.http.as_deref().unwrap_or_default())
}

impl Outbox {
    fn new(peer: Peer) -> Outbox {
        Outbox {
            peer,
            queue: Mutex::default(),
            filled: Notify::new(),
            told: watch::Sender::new(Told {
                upto: 0,
                reached: true,
            }),
        }
    }

    fn heard(&self) -> impl Future<Output = ()> + Send + use<> {
        let (posted, mut told) = (self.queue.lock().posted, self.told.subscribe());
        async move {
            // An error means that the peer is gone.
            let _ = told.wait_for(|t| t.upto >= posted || !t.reached).await;
        }
    }

    /// Queues an entry; what does not fit is dropped, oldest first: the ends tell of it.
    fn put(&self, entry: Bytes) {
        let mut queue = self.queue.lock();
        queue.posted += 1;
        if entry.len() <= news::ENTRY_BYTES_MAX {
            queue.bytes += entry.len() + 4;
            queue.entries.push_back(entry);
        }
        while queue.bytes > news::ENTRY_BYTES_MAX + 4 {
            let Some(oldest) = queue.entries.pop_front() else {
                break;
            };
            queue.bytes -= oldest.len() + 4;
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// What is queued, and how much was queued ever.
    fn take(&self) -> (Vec<Bytes>, u64) {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        (queue.entries.drain(..).collect(), queue.posted)
    }
}

/// Keeps one pusher for each peer.
pub async fn run(peers: Peers) {
    let mut pushers = JoinSet::new();
    let mut running = BTreeMap::new();
    loop {
        let outboxes: BTreeMap<String, Arc<Outbox>> = peers.0.outboxes.state.lock().queues.clone();
        running.retain(|name, handle: &mut tokio::task::AbortHandle| {
            let stays = outboxes.contains_key(name);
            if !stays {
                handle.abort();
            }
            stays
        });
        for (name, outbox) in outboxes {
            running
                .entry(name)
                .or_insert_with(|| pushers.spawn(push_for_ever(peers.clone(), outbox)));
        }
        while pushers.try_join_next().is_some() {}
        peers.0.outboxes.changed.notified().await;
    }
}

async fn push_for_ever(peers: Peers, outbox: Arc<Outbox>) {
    let mut reached = None;
    loop {
        let outcome = push(&peers, &outbox).await;
        let came = outcome.is_ok();
        told(&outbox.peer, outcome, reached != Some(came));
        reached = Some(came);
        if !came {
            sleep(PAUSE).await;
        }
        // Whoever is told nothing for a second reads the feed as if there were no news.
        let _ = timeout(EVERY, outbox.filled.notified()).await;
    }
}

async fn push(peers: &Peers, outbox: &Outbox) -> Result<(), PeerError> {
    // SUBTLE: the ends first, for the same reason as in `post`.
    let ends = peers.0.outboxes.ends();
    let (entries, upto) = outbox.take();
    let body = news::encode(peers.0.me, &ends, &entries);
    let pushed = peers.0.link.push(&outbox.peer, body);
    let late = |_| Err(PeerError::Away(format!("no answer within {PUSH_MAX:?}")));
    let outcome = timeout(PUSH_MAX, pushed).await.unwrap_or_else(late);
    let reached = outcome.is_ok();
    outbox.told.send_replace(Told { upto, reached });
    outcome
}

fn told(peer: &Peer, outcome: Result<(), PeerError>, changed: bool) {
    let word = if outcome.is_ok() { "ok" } else { "failed" };
    metrics::counter!("streamhouse_peer_pushes_total", "outcome" => word).increment(1);
    if !changed {
        return;
    }
    let (agent, address) = (peer.by.agent.0, peer.http.as_deref().unwrap_or_default());
    match outcome {
        Ok(()) => tracing::info!(agent, address, "news reach this agent"),
        Err(PeerError::Refused(why)) => tracing::debug!(agent, address, why, "news are refused"),
        Err(error @ PeerError::Away(_)) => tracing::warn!(
            agent,
            address,
            %error,
            "news do not reach this agent, which reads the feed instead (see --http-advertised)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use sh_base::{AgentId, Incarnation};

    use super::*;

    #[test]
    fn a_queue_is_bounded_and_keeps_the_newest() {
        let by = Incarnation {
            agent: AgentId(1),
            epoch: 1,
            nonce: 1,
        };
        let outbox = Outbox::new(Peer {
            by,
            zone: None,
            http: None,
        });
        let entry = |fill: u8, len| Bytes::from(vec![fill; len]);
        outbox.put(entry(0, news::ENTRY_BYTES_MAX + 1));
        assert!(outbox.take().0.is_empty(), "too large for any push");
        (0..9).for_each(|n| outbox.put(entry(n, news::ENTRY_BYTES_MAX / 4)));
        let kept: Vec<u8> = outbox.take().0.iter().map(|e| e[0]).collect();
        assert!(kept.ends_with(&[6, 7, 8]) && kept.len() <= 4, "{kept:?}");
        let whole = news::encode(by, &[(0, 1)], &[entry(1, news::ENTRY_BYTES_MAX)]);
        assert!(whole.len() <= news::NEWS_BYTES_MAX);
    }
}
