//! The producer of a transactional id: session after session, and those of before that go on (zombies).
use std::sync::Arc;

use tokio::time::sleep;

use super::session::{Over, Session};
use crate::sim::world::World;

/// Transactions that a zombie tries.
const ZOMBIE_TRIES: usize = 3;

pub struct TransactionalProducer {
    world: Arc<World>,
    number: usize,
    /// Transactions that were begun.
    begun: u32,
}

impl TransactionalProducer {
    pub fn new(world: &Arc<World>, number: usize) -> TransactionalProducer {
        TransactionalProducer {
            world: world.clone(),
            number,
            begun: 0,
        }
    }

    /// Runs all its transactions, and one more when the faults are over, which must be committed.
    pub async fn run(mut self) {
        let mut before = None;
        for life in 1.. {
            let session = Session::begin(&self.world, self.number, life, before.as_ref()).await;
            let Some((mut session, goes_on)) = self.live(session).await else {
                break;
            };
            // Half of the time the client that begins anew is the same, and then nobody haunts: two who share an epoch also
            // share its sequences, in Kafka too.
            let same = session.chance.below(2) == 0;
            before = same.then(|| session.who.clone());
            let most = if self.world.is_calm() { 4_000 } else { 300 };
            sleep(session.chance.millis(0, most)).await;
            if goes_on && !same && session.chance.below(2) == 0 {
                tokio::spawn(haunt(session));
            }
        }
        self.world
            .note(|| format!("transactional {} is done", self.number));
    }

    /// Lives a session to its end, and whether it could go on; `None`: everything is done.
    async fn live(&mut self, mut session: Session) -> Option<(Session, bool)> {
        loop {
            session.must_commit = self.world.is_calm();
            let most = session.plan.transactions;
            if self.begun >= most && !session.must_commit {
                sleep(session.chance.millis(100, 300)).await;
                continue;
            }
            self.begun += 1;
            let outcome = session.transact().await;
            let name = &session.name;
            self.world.note(|| format!("{name}: {outcome:?}"));
            match outcome {
                Ok(true) if session.must_commit => return None,
                Ok(_) => {}
                Err(over) => {
                    let counts = &mut self.world.transactions.lock().counts;
                    counts.timed_out += usize::from(over == Over::Fenced);
                    return Some((session, false));
                }
            }
            if session.chance.below(100) < session.plan.replaced && !self.world.is_calm() {
                return Some((session, true));
            }
            let pace = session.plan.pace_ms;
            sleep(session.chance.millis(0, pace * 2)).await;
        }
    }
}

/// A session goes on although another takes its place.
async fn haunt(mut session: Session) {
    session.name.push_str(" (zombie)");
    for _ in 0..ZOMBIE_TRIES {
        if session.world.is_calm() {
            return;
        }
        let outcome = session.transact().await;
        let (world, name) = (session.world.clone(), &session.name);
        world.note(|| format!("{name}: {outcome:?}"));
        if let Err(over) = outcome {
            let counts = &mut world.transactions.lock().counts;
            counts.fenced += usize::from(over == Over::Fenced);
            return;
        }
        sleep(session.chance.millis(0, 200)).await;
    }
}
