//! The topics of each org, as the machines of groups see them.
use std::{collections::HashMap, sync::Arc, time::Duration};

use sh_base::{Failure, Org};
use sh_coord::{Topic, Topics};
use tokio::{
    sync::{Mutex, mpsc},
    time::sleep,
};

use super::shard::{Message, Shards};
use crate::TopicTable;

/// Changes of topics that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_secs(1);

/// The topics of the orgs whose groups are coordinated here. Read once, and again when topics have changed.
pub(super) struct OrgTopics {
    table: Arc<TopicTable>,
    known: Mutex<HashMap<Org, Arc<Topics>>>,
}

impl OrgTopics {
    pub fn new(table: Arc<TopicTable>) -> OrgTopics {
        OrgTopics {
            table,
            known: Mutex::default(),
        }
    }

    pub async fn of(&self, org: &Org) -> Result<Arc<Topics>, Failure> {
        let mut known = self.known.lock().await;
        if let Some(topics) = known.get(org) {
            return Ok(topics.clone());
        }
        let topics = Arc::new(self.read(org).await?);
        known.insert(org.clone(), topics.clone());
        Ok(topics)
    }

    async fn read(&self, org: &Org) -> Result<Topics, Failure> {
        let topics = self.table.list(org).await?;
        let topic = |topic: &Arc<crate::Topic>| {
            let (id, partitions) = (topic.id, topic.partitions);
            (topic.name.to_string(), Topic { id, partitions })
        };
        Ok(Topics::new(topics.iter().map(topic)))
    }

    /// Reads all orgs again; what differs from before is returned.
    async fn refresh(&self) -> Result<Vec<(Org, Arc<Topics>)>, Failure> {
        let mut known = self.known.lock().await;
        let mut changed = Vec::new();
        for (org, topics) in known.iter_mut() {
            let newer = self.read(org).await?;
            if newer != **topics {
                *topics = Arc::new(newer);
                changed.push((org.clone(), topics.clone()));
            }
        }
        Ok(changed)
    }

    /// Tells all groups of changes, for as long as somebody may say that there are any.
    pub async fn follow(self: Arc<Self>, mut dirty: mpsc::Receiver<()>, shards: Shards) {
        while dirty.recv().await.is_some() {
            sleep(TOGETHER).await;
            // What was said until now is seen by the reading that follows.
            while dirty.try_recv().is_ok() {}
            let changed = loop {
                match self.refresh().await {
                    Ok(changed) => break changed,
                    Err(error) => {
                        tracing::warn!(%error, "groups do not hear of topics: the store is away")
                    }
                }
                sleep(PAUSE).await;
            };
            for (org, topics) in changed {
                shards.tell_all(|| Message::Topics(org.clone(), topics.clone()));
            }
        }
    }
}
