//! Who lives, who is heard from, and whom to ask for an object: pure, the time is handed in.
use std::{collections::BTreeMap, time::Duration};

use sh_base::{AgentId, Incarnation, ObjectId, rendezvous};

use super::Peer;
use crate::cache::Age;

/// News come once a second at least; who missed two does not send.
const FRESH: Duration = Duration::from_millis(2_500);
/// A peer that did not answer is not asked for objects for so long.
const SHUNNED: Duration = Duration::from_secs(5);

pub struct Book {
    me: AgentId,
    zone: Option<String>,
    peers: BTreeMap<AgentId, Known>,
    /// Rows of other agents, of dead ones too; `None`: not known.
    rows: Option<usize>,
}

struct Known {
    peer: Peer,
    /// When news of this life came last, on the monotonic clock.
    heard: Option<Duration>,
    shunned_until: Duration,
}

impl Book {
    pub fn new(me: AgentId, zone: Option<String>) -> Book {
        Book {
            me,
            zone,
            peers: BTreeMap::new(),
            rows: None,
        }
    }

    /// The others that live now, out of so many rows of others.
    pub fn learn(&mut self, living: Vec<Peer>, rows: usize) {
        let mut before = std::mem::take(&mut self.peers);
        for peer in living {
            let agent = peer.by.agent;
            let same = before.remove(&agent).filter(|k| k.peer.by == peer.by);
            let (heard, shunned_until) =
                same.map_or((None, Duration::ZERO), |k| (k.heard, k.shunned_until));
            let known = Known {
                peer,
                heard,
                shunned_until,
            };
            self.peers.insert(agent, known);
        }
        self.rows = Some(rows);
    }

    pub fn forget_rows(&mut self) {
        self.rows = None;
    }

    pub fn is_alone(&self) -> bool {
        self.rows == Some(0)
    }

    /// News came of this life; says whether it is known.
    pub fn heard(&mut self, by: Incarnation, now: Duration) -> bool {
        match self.peers.get_mut(&by.agent).filter(|k| k.peer.by == by) {
            Some(known) => {
                known.heard = Some(now);
                true
            }
            None => false,
        }
    }

    pub fn all_send(&self, now: Duration) -> bool {
        let sends = |k: &Known| k.heard.is_some_and(|at| now.saturating_sub(at) < FRESH);
        self.rows.is_some() && self.peers.values().all(sends)
    }

    pub fn shun(&mut self, by: Incarnation, now: Duration) {
        if let Some(known) = self.peers.get_mut(&by.agent) {
            known.shunned_until = now + SHUNNED;
        }
    }

    /// **The zone's ring**: who of this zone is asked for an object; `None`: this agent reads the bucket itself. What is new lies
    /// in the memory of the life that wrote it; for the rest it is the first by rendezvous hash, this agent included. Agents
    /// without a zone are one zone.
    pub fn holder(&self, object: ObjectId, age: Age, now: Duration) -> Option<Peer> {
        let new = age != Age::History;
        if new && object.by.agent == self.me {
            return None;
        }
        let lends = |k: &&Known| k.peer.zone == self.zone && k.peer.http.is_some();
        let lenders = || self.peers.values().filter(lends);
        let writer = lenders().find(|k| new && k.peer.by == object.by);
        let holder = writer.or_else(|| {
            let first = lenders().max_by_key(|k| weight(object, k.peer.by.agent))?;
            let own = weight(object, self.me);
            (own < weight(object, first.peer.by.agent)).then_some(first)
        })?;
        holder.answers(now).then(|| holder.peer.clone())
    }
}

impl Known {
    /// It did not fail lately, nor fall silent: one that stands still would cost every reader its patience.
    fn answers(&self, now: Duration) -> bool {
        let silent = self.heard.is_some_and(|at| now.saturating_sub(at) >= FRESH);
        !silent && self.shunned_until <= now
    }
}

fn weight(object: ObjectId, agent: AgentId) -> u64 {
    let ObjectId { by, seq } = object;
    let name = by.agent.0.to_be_bytes().into_iter();
    let name = name.chain(by.epoch.to_be_bytes());
    let name = name.chain(by.nonce.to_be_bytes()).chain(seq.to_be_bytes());
    rendezvous::weight(name, agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(agent: u32, epoch: u32) -> Incarnation {
        Incarnation {
            agent: AgentId(agent),
            epoch,
            nonce: 7,
        }
    }

    fn peer(agent: u32, zone: Option<&str>) -> Peer {
        Peer {
            by: life(agent, 1),
            zone: zone.map(str::to_owned),
            http: Some(format!("10.0.0.{agent}:8080")),
        }
    }

    /// The books of agents 0, 1, 2... of these zones.
    fn books(zones: &[Option<&str>]) -> Vec<Book> {
        let all: Vec<Peer> = (0..).zip(zones).map(|(id, zone)| peer(id, *zone)).collect();
        let book = |own: &Peer| {
            let mut book = Book::new(own.by.agent, own.zone.clone());
            let others: Vec<Peer> = all.iter().filter(|p| *p != own).cloned().collect();
            let rows = others.len();
            book.learn(others, rows);
            book
        };
        all.iter().map(book).collect()
    }

    fn object(seq: u64) -> ObjectId {
        // Of an agent that is gone.
        ObjectId {
            by: life(99, 1),
            seq,
        }
    }

    fn owner(book: &Book, object: ObjectId, age: Age) -> u32 {
        let holder = book.holder(object, age, Duration::ZERO);
        holder.map_or(book.me.0, |peer| peer.by.agent.0)
    }

    #[test]
    fn all_agents_of_a_zone_name_the_same_owner_and_share_the_work() {
        let books = books(&[None; 4]);
        let mut shares = [0; 4];
        for seq in 0..1_000 {
            let owners = books.iter().map(|b| owner(b, object(seq), Age::History));
            let owners: Vec<u32> = owners.collect();
            assert!(owners.iter().all(|o| *o == owners[0]), "{owners:?}");
            shares[owners[0] as usize] += 1;
        }
        assert!(shares.iter().all(|s| (200..300).contains(s)), "{shares:?}");
    }

    #[test]
    fn nobody_asks_across_zones_or_where_nothing_is_lent() {
        let mut books = books(&[Some("a"), Some("b"), None]);
        for seq in 0..50 {
            let alone = |b: &Book| owner(b, object(seq), Age::History) == b.me.0;
            assert!(books.iter().all(alone));
        }
        let silent = Peer {
            http: None,
            ..peer(1, Some("a"))
        };
        books[0].learn(vec![silent], 1);
        assert!((0..50).all(|seq| owner(&books[0], object(seq), Age::Tail) == 0));
    }

    #[test]
    fn what_is_new_is_asked_of_its_writer_if_that_life_goes_on() {
        let books = books(&[None; 3]);
        let by = |epoch| ObjectId {
            by: life(1, epoch),
            seq: 3,
        };
        assert!(books.iter().all(|b| owner(b, by(1), Age::Tail) == 1));
        let ring = owner(&books[0], by(2), Age::History);
        let former = |b: &Book| b.me.0 == 1 || owner(b, by(2), Age::Tail) == ring;
        assert!(books.iter().all(former), "a former life's memory is gone");
    }

    #[test]
    fn who_did_not_answer_is_left_alone_for_a_while() {
        let mut book = books(&[None; 2]).remove(0);
        let seq = (0..).find(|s| owner(&book, object(*s), Age::History) == 1);
        let of_peer = object(seq.unwrap());
        let asks = |book: &Book, now| book.holder(of_peer, Age::History, now).is_some();
        book.shun(life(1, 1), Duration::from_secs(1));
        assert!(!asks(&book, Duration::from_secs(5)));
        assert!(asks(&book, Duration::from_secs(6)));
        book.heard(life(1, 1), Duration::from_secs(6));
        assert!(asks(&book, Duration::from_secs(8)));
        assert!(!asks(&book, Duration::from_secs(9)), "it fell silent");
    }

    #[test]
    fn all_send_only_while_every_living_agent_was_heard_lately() {
        let mut book = Book::new(AgentId(0), None);
        let at = Duration::from_millis;
        assert!(!book.all_send(at(0)), "nobody knows who lives");
        book.learn(vec![], 0);
        assert!(book.all_send(at(0)) && book.is_alone());
        book.learn(vec![peer(1, None), peer(2, None)], 2);
        assert!(book.heard(life(1, 1), at(100)) && !book.all_send(at(100)));
        assert!(book.heard(life(2, 1), at(200)) && book.all_send(at(200)));
        assert!(!book.all_send(at(2_601)), "agent 1 is silent");
        assert!(!book.heard(life(1, 2), at(300)), "a life without a row");
        book.learn(vec![peer(2, None)], 2);
        assert!(book.all_send(at(2_601)) && !book.is_alone());
    }
}
