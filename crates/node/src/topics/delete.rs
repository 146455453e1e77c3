//! Deleting topics, and bringing them back.
//!
//! **Deletion is soft.** First the name goes and the topic's row says so (one update: from here on the topic does not exist),
//! then every head is told to refuse writes, in chunks. Nothing is removed before `topic.undelete.ms` has passed; until then
//! the topic can be brought back under its name, with its id and its records.
use std::sync::Arc;

use sh_base::{ErrorCode, Failure, Org, PartitionIndex, TopicId, TopicName, TopicPartition};
use sh_log::Head;
use sh_meta::{Decision, Key, KeyRange, View, Write};

use super::{ROWS_PER_UPDATE, duplicate_name, repeated};
use crate::{
    Caller, Node, Operation, Resource, Topic, TopicChoice, TopicRow,
    control::{decision, delete, put, storage},
    topic::{Deletion, DeletionStage, living_row, locked_row},
    topic_table::{parse_id, unknown_id, unknown_name},
};

/// Rows of one page of a scan over all topics.
const PAGE: usize = 1_000;

/// A deleted topic that can still be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub id: TopicId,
    pub name: String,
    pub partitions: i32,
    /// Wall clock, milliseconds.
    pub deleted_ms: i64,
    /// From then on it is gone. Wall clock, milliseconds.
    pub purge_ms: i64,
}

/// What became of one topic that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// As it was named, or as it is called; `None`: it was named by an id that is not known.
    pub name: Option<String>,
    /// `None`: it was named by a name that is not known.
    pub id: Option<TopicId>,
    pub result: Result<(), Failure>,
}

impl DeleteOutcome {
    fn failed(choice: &TopicChoice, e: Failure) -> DeleteOutcome {
        let (name, id) = match choice {
            TopicChoice::Name(name) => (Some(name.clone()), None),
            TopicChoice::Id(id) => (None, Some(*id)),
        };
        DeleteOutcome {
            name,
            id,
            result: Err(e),
        }
    }

    fn of(topic: &Topic, result: Result<(), Failure>) -> DeleteOutcome {
        DeleteOutcome {
            name: Some(topic.name.to_string()),
            id: Some(topic.id),
            result,
        }
    }
}

impl Node {
    /// Deletes topics, each for itself. One that is named twice is not deleted and answered once.
    ///
    /// Errors: `UnknownTopicOrPartition`, `UnknownTopicId`, `InvalidRequest` (named twice), `TopicDeletionDisabled`.
    pub async fn delete_topics(
        &self,
        caller: &Caller,
        topics: Vec<TopicChoice>,
    ) -> Vec<DeleteOutcome> {
        let mut outcomes = Vec::new();
        let mut found = Vec::new();
        for choice in each_once(topics) {
            match choice {
                Err(twice) => outcomes.push(DeleteOutcome::failed(&twice, named_twice(&twice))),
                Ok(choice) => match self.topic(caller, &choice).await {
                    Ok(topic) => found.push((choice, topic)),
                    Err(e) => outcomes.push(DeleteOutcome::failed(&choice, e)),
                },
            }
        }
        for (topic, both_ways) in each_topic(found) {
            let result = match both_ways {
                true => Err(both_ways_failure()),
                false => self.delete_topic(caller, &topic).await,
            };
            outcomes.push(DeleteOutcome::of(&topic, result));
        }
        outcomes
    }

    async fn delete_topic(&self, caller: &Caller, topic: &Topic) -> Result<(), Failure> {
        self.authorize(caller, Operation::Delete, Resource::Topic(&topic.name))?;
        if !self.broker().is_on("delete.topic.enable") {
            let text = "Topic deletion is disabled.";
            return Err(Failure::new(ErrorCode::TopicDeletionDisabled, text));
        }
        self.remove(topic).await?;
        self.fence(topic.id, topic.partitions).await
    }

    /// The name goes, and the row says that the topic is deleted.
    async fn remove(&self, topic: &Topic) -> Result<(), Failure> {
        let name = Key::TopicName(topic.org.clone(), topic.name.clone());
        let (id, now_ms) = (topic.id, self.env().wall_ms());
        let locks = vec![name.clone(), Key::Topic(id)];
        let gone = unknown_name(topic.name.as_str());
        let apply = move |view: &View| remove(view, id, &name, now_ms).ok_or_else(|| gone.clone());
        self.try_change(locks, apply).await
    }

    /// Every head refuses writes, then the row says that they do.
    pub(super) async fn fence(&self, id: TopicId, partitions: i32) -> Result<(), Failure> {
        self.flag_heads(id, partitions, true).await?;
        self.set_stage(id, DeletionStage::Fencing, DeletionStage::Kept)
            .await
            .map(drop)
    }

    async fn flag_heads(&self, id: TopicId, partitions: i32, deleted: bool) -> Result<(), Failure> {
        for first in (0..partitions).step_by(ROWS_PER_UPDATE) {
            let last = partitions.min(first.saturating_add(ROWS_PER_UPDATE as i32));
            let heads: Vec<Key> = heads(id, first..last).collect();
            let locks = heads.clone();
            self.change::<()>(locks, move |view| flag(view, &heads, deleted))
                .await?;
        }
        Ok(())
    }

    /// Moves a deleted topic from one stage to the next. False: it is no longer in that stage.
    pub(super) async fn set_stage(
        &self,
        id: TopicId,
        from: DeletionStage,
        to: DeletionStage,
    ) -> Result<bool, Failure> {
        let now_ms = self.env().wall_ms();
        let apply = move |view: &View| set_stage(view, id, from, to, now_ms);
        self.change(vec![Key::Topic(id)], apply).await
    }

    /// Brings back the topic of this name that was deleted last: same id, same partitions, same records.
    ///
    /// Errors: `UnknownTopicOrPartition`, none that could be brought back; `TopicAlreadyExists`, the name is in use.
    pub async fn undelete_topic(&self, caller: &Caller, name: &str) -> Result<TopicId, Failure> {
        let deleted = self.deleted_topics(caller).await?;
        let newest = deleted
            .into_iter()
            .filter(|t| t.name == name)
            .max_by_key(|t| t.deleted_ms);
        let Some(topic) = newest else {
            return Err(Failure::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("There is no deleted topic named {name:?} that could be brought back"),
            ));
        };
        let legal: TopicName = name.try_into().map_err(|_| unknown_name(name))?;
        self.authorize(caller, Operation::Create, Resource::Topic(&legal))?;
        // SUBTLE: back to fencing first. If this stops half-way, the topic is still deleted and is fenced again later.
        if !self
            .set_stage(topic.id, DeletionStage::Kept, DeletionStage::Fencing)
            .await?
        {
            return Err(unknown_id(topic.id));
        }
        self.flag_heads(topic.id, topic.partitions, false).await?;
        self.restore(&caller.org, topic.id, legal).await?;
        Ok(topic.id)
    }

    async fn restore(&self, org: &Org, id: TopicId, name: TopicName) -> Result<(), Failure> {
        let key = Key::TopicName(org.clone(), name.clone());
        let locks = vec![key.clone(), Key::Topic(id)];
        self.try_change(locks, move |view| {
            if view.value(&key).is_some() {
                return Err(name_taken(&name));
            }
            restore(view, id, &key).ok_or_else(|| unknown_id(id))
        })
        .await
    }

    /// The deleted topics of the caller's org that can still be brought back.
    pub async fn deleted_topics(&self, caller: &Caller) -> Result<Vec<DeletedTopic>, Failure> {
        let undelete_ms = self.broker().number("topic.undelete.ms");
        let rows = self.deleted_rows().await?;
        let of_org = rows
            .into_iter()
            .filter(|(_, row, _)| row.org == caller.org.as_str());
        let kept = of_org.filter(|(_, _, d)| d.stage == DeletionStage::Kept);
        let shown = kept.map(|(id, row, deletion)| DeletedTopic {
            id,
            name: row.name,
            partitions: row.partitions,
            deleted_ms: deletion.at_ms,
            purge_ms: deletion.at_ms.saturating_add(undelete_ms),
        });
        Ok(shown.collect())
    }

    /// Every deleted topic of every org, whatever its stage.
    pub(super) async fn deleted_rows(&self) -> Result<Vec<(TopicId, TopicRow, Deletion)>, Failure> {
        let mut found = Vec::new();
        let mut range = KeyRange::family(sh_meta::Family::Topic);
        loop {
            let page = self
                .store()
                .scan(range.clone(), PAGE, false)
                .await
                .map_err(storage)?;
            for (key, row) in &page {
                if let (Key::Topic(id), Some(value)) = (key, &row.value) {
                    let row = TopicRow::decode(value)?;
                    found.extend(row.deletion.map(|deletion| (*id, row, deletion)));
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => {
                    range.start = crate::topic_table::after(last)
                }
                _ => return Ok(found),
            }
        }
    }
}

/// The keys of some heads of a topic.
pub(super) fn heads(
    id: TopicId,
    range: std::ops::Range<PartitionIndex>,
) -> impl Iterator<Item = Key> {
    range.map(move |partition| Key::Head(TopicPartition::new(id, partition)))
}

/// Each topic once; `Err` for one that is named more than once.
fn each_once(topics: Vec<TopicChoice>) -> Vec<Result<TopicChoice, TopicChoice>> {
    let text = |t: &TopicChoice| match t {
        TopicChoice::Name(name) => format!("name {name}"),
        TopicChoice::Id(id) => format!("id {id}"),
    };
    let texts: Vec<String> = topics.iter().map(text).collect();
    let twice = repeated(texts.iter().map(String::as_str));
    let mut told = std::collections::HashSet::new();
    let once =
        topics
            .into_iter()
            .zip(texts)
            .filter_map(|(topic, text)| match twice.contains(&text) {
                false => Some(Ok(topic)),
                true => told.insert(text).then_some(Err(topic)),
            });
    once.collect()
}

/// Each topic, and whether it was named by its name and by its id.
fn each_topic(found: Vec<(TopicChoice, Arc<Topic>)>) -> Vec<(Arc<Topic>, bool)> {
    let mut topics: Vec<(Arc<Topic>, bool)> = Vec::new();
    for (_, topic) in found {
        match topics.iter_mut().find(|(known, _)| known.id == topic.id) {
            Some((_, both_ways)) => *both_ways = true,
            None => topics.push((topic, false)),
        }
    }
    topics
}

fn both_ways_failure() -> Failure {
    let text = "The provided topic name maps to an ID that was already supplied.";
    Failure::new(ErrorCode::InvalidRequest, text)
}

fn named_twice(choice: &TopicChoice) -> Failure {
    match choice {
        TopicChoice::Name(_) => duplicate_name(),
        TopicChoice::Id(_) => Failure::new(ErrorCode::InvalidRequest, "Duplicate topic id."),
    }
}

fn name_taken(name: &TopicName) -> Failure {
    let text = format!("Topic '{name}' already exists; delete it before bringing the old one back");
    Failure::new(ErrorCode::TopicAlreadyExists, text)
}

/// Pure: the topic is deleted, unless it is already, or lost its name to another.
fn remove(view: &View, id: TopicId, name: &Key, now_ms: i64) -> Option<Vec<Write>> {
    let named = parse_id(view.value(name).map(|v| &v[..])) == Some(id);
    let mut row = living_row(view, id).filter(|_| named)?;
    row.deletion = Some(Deletion {
        at_ms: now_ms,
        stage: DeletionStage::Fencing,
    });
    Some(vec![
        delete(name.clone()),
        put(Key::Topic(id), row.encode()),
    ])
}

/// Pure: a topic that is being brought back lives under its name again.
fn restore(view: &View, id: TopicId, name: &Key) -> Option<Vec<Write>> {
    let mut row = locked_row(view, id)?;
    row.deletion.filter(|d| d.stage == DeletionStage::Fencing)?;
    row.deletion = None;
    Some(vec![
        put(name.clone(), id.to_string()),
        put(Key::Topic(id), row.encode()),
    ])
}

/// Pure: the deletion goes from one stage to another. Entering the fencing counts as deleting anew, so that a purge does not
/// come in between.
fn set_stage(
    view: &View,
    id: TopicId,
    from: DeletionStage,
    to: DeletionStage,
    now_ms: i64,
) -> Decision {
    let Some(mut row) = locked_row(view, id) else {
        return decision(Vec::new(), &false);
    };
    match &mut row.deletion {
        Some(deletion) if deletion.stage == from => {
            deletion.stage = to;
            if to == DeletionStage::Fencing {
                deletion.at_ms = now_ms;
            }
        }
        _ => return decision(Vec::new(), &false),
    }
    decision(vec![put(Key::Topic(id), row.encode())], &true)
}

/// Pure: heads refuse writes, or take them again. A row that cannot be read is left as it is: it refuses writes anyway.
fn flag(view: &View, heads: &[Key], deleted: bool) -> Decision {
    let flagged = heads.iter().filter_map(|key| {
        let head = Head::of(view.value(key)).ok()?;
        (head.deleted != deleted).then(|| put(key.clone(), Head { deleted, ..head }.encode()))
    });
    decision(flagged.collect(), &())
}
