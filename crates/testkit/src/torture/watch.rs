//! Whether committed offsets of groups ever move back.
use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use sh_client::{Admin, Client, Options, TopicPartition};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

/// Between two looks at all groups.
const PAUSE: Duration = Duration::from_millis(250);

/// A committed offset that was higher before, or is gone (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedBack {
    pub group: String,
    pub place: TopicPartition,
    pub before: i64,
    pub after: Option<i64>,
}

/// What somebody saw who looked all the time.
#[derive(Debug, Default)]
pub struct Watched {
    /// Answers that were looked at.
    pub looks: usize,
    pub moved_back: Vec<MovedBack>,
    highest: BTreeMap<(String, TopicPartition), i64>,
}

impl Watched {
    fn look(&mut self, group: &str, offsets: &BTreeMap<TopicPartition, i64>) {
        self.looks += 1;
        for (place, offset) in offsets {
            let key = (group.to_owned(), place.clone());
            let highest = self.highest.entry(key).or_insert(*offset);
            if *offset < *highest {
                self.moved_back.push(MovedBack {
                    group: group.to_owned(),
                    place: place.clone(),
                    before: *highest,
                    after: Some(*offset),
                });
            }
            *highest = *offset;
        }
        let gone: Vec<_> = self
            .highest
            .keys()
            .filter(|(name, place)| name == group && !offsets.contains_key(place))
            .cloned()
            .collect();
        for key in gone {
            let before = self.highest.remove(&key).unwrap_or_default();
            self.moved_back.push(MovedBack {
                group: key.0,
                place: key.1,
                before,
                after: None,
            });
        }
    }

    /// An error that shows the first offsets that moved back.
    pub fn must_be_clean(&self) -> Result<()> {
        let shown: Vec<String> = self
            .moved_back
            .iter()
            .take(12)
            .map(|m| format!("{m:?}"))
            .collect();
        ensure!(
            shown.is_empty(),
            "{} committed offsets moved back:\n  {}",
            self.moved_back.len(),
            shown.join("\n  ")
        );
        Ok(())
    }
}

/// Somebody who looks at the committed offsets of some groups all the time.
pub struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<Watched>,
}

impl Watch {
    pub fn start(bootstrap: &str, groups: Vec<String>) -> Watch {
        let (stop, stopping) = watch::channel(false);
        let options = Options {
            request_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(2),
            ..Options::default()
        };
        let admin = Admin::new(Client::new(bootstrap, options));
        let task = tokio::spawn(look_at(admin, groups, stopping));
        Watch { stop, task }
    }

    pub async fn stop(self) -> Result<Watched> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn look_at(admin: Admin, groups: Vec<String>, stopping: watch::Receiver<bool>) -> Watched {
    let mut watched = Watched::default();
    while !*stopping.borrow() {
        for group in &groups {
            // While the server is down there is nothing to be seen.
            if let Ok(committed) = admin.group_offsets(group, None).await {
                let offsets = committed.into_iter().map(|(place, c)| (place, c.offset));
                watched.look(group, &offsets.collect());
            }
        }
        sleep(PAUSE).await;
    }
    watched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(of: &[(i32, i64)]) -> BTreeMap<TopicPartition, i64> {
        of.iter().map(|(p, o)| (("t".into(), *p), *o)).collect()
    }

    fn watched(looks: &[&[(i32, i64)]]) -> Vec<(i64, Option<i64>)> {
        let mut watched = Watched::default();
        looks.iter().for_each(|l| watched.look("g", &offsets(l)));
        watched
            .moved_back
            .iter()
            .map(|m| (m.before, m.after))
            .collect()
    }

    #[test]
    fn offsets_may_stay_and_rise_and_come_to_be() {
        assert_eq!(
            watched(&[&[(0, 5)], &[(0, 5), (1, 2)], &[(0, 9), (1, 2)]]),
            []
        );
    }

    #[test]
    fn a_lower_offset_has_moved_back_once() {
        assert_eq!(watched(&[&[(0, 5)], &[(0, 4)], &[(0, 4)]]), [(5, Some(4))]);
    }

    #[test]
    fn an_offset_that_is_gone_has_moved_back() {
        assert_eq!(watched(&[&[(0, 5), (1, 1)], &[(1, 1)]]), [(5, None)]);
    }
}
