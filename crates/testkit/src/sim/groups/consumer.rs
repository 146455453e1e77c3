//! A member by the protocol of KIP-848.
use std::collections::BTreeSet;

use sh_client::Connection;
use uuid::Uuid;

use super::{
    classic::{Beat, lost},
    requests::{self, Identity},
};

/// The member epochs by which a member comes and goes.
const COMES: i32 = 0;
const GOES: i32 = -1;

pub struct Consumer {
    who: Identity,
    topic: Option<Uuid>,
}

impl Consumer {
    pub fn new(group: String, member: String) -> Consumer {
        let generation = COMES;
        Consumer {
            who: Identity {
                group,
                member,
                generation,
            },
            topic: None,
        }
    }

    /// `owned`: what it owns now.
    pub async fn beat(&mut self, to: &Connection, owned: &BTreeSet<i32>) -> Beat {
        if self.topic.is_none() {
            self.topic = requests::topic_id(to).await;
        }
        let topic = self.topic.ok_or_else(|| lost(None))?;
        let request = requests::consumer_heartbeat(&self.who, topic, owned);
        let answer = to.call(&request, 1).await.map_err(|_| lost(None))?;
        if answer.error_code != 0 {
            return Err(lost(Some(answer.error_code)));
        }
        self.who.generation = answer.member_epoch;
        let owned = match answer.assignment {
            Some(assignment) => {
                let topics = assignment.topic_partitions.into_iter();
                topics.flat_map(|topic| topic.partitions).collect()
            }
            None => owned.clone(),
        };
        Ok((self.who.clone(), owned))
    }

    pub async fn leave(&self, to: &Connection) {
        let who = Identity {
            generation: GOES,
            ..self.who.clone()
        };
        let request =
            requests::consumer_heartbeat(&who, self.topic.unwrap_or_default(), &BTreeSet::new());
        // Whether it was heard or not: this member does not come back.
        let _ = to.call(&request, 1).await;
    }
}
