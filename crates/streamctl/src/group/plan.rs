//! What a reset would change, and the file that keeps it.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sh_client::{Admin, OffsetSpec, TopicPartition};

use super::target::Target;
use crate::{
    failure::Failure,
    offsets::{Bounds, bounds},
};

/// One partition of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub topic: String,
    pub partition: i32,
    /// `None`: the group has no offset.
    pub current_offset: Option<i64>,
    pub new_offset: i64,
    /// The log has no such offset: the nearest is taken.
    pub clamped: bool,
}

/// Where each partition would go to. `wanted` has an offset of its own for each partition if a file says so.
pub async fn step(
    admin: &Admin,
    (topic, partition): &TopicPartition,
    current: Option<i64>,
    target: &Target,
    from_file: Option<i64>,
) -> Result<Step, Failure> {
    let bounds = bounds(admin, topic, *partition).await?;
    let wanted = match target {
        Target::Time(ms) => {
            let spec = OffsetSpec::AtOrAfter(*ms);
            let found = admin.list_offset(topic, *partition, spec).await?;
            // A time after the last record is the end.
            Some(found.map_or(bounds.latest, |(offset, _)| offset))
        }
        Target::File(_) => from_file,
        _ => wanted(target, current, bounds),
    };
    let wanted = wanted.ok_or_else(|| nowhere(target, topic, *partition))?;
    let new_offset = clamp(wanted, bounds);
    Ok(Step {
        topic: topic.to_string(),
        partition: *partition,
        current_offset: current,
        new_offset,
        clamped: new_offset != wanted,
    })
}

/// `None` where there is nothing to shift from.
fn wanted(target: &Target, current: Option<i64>, bounds: Bounds) -> Option<i64> {
    match target {
        Target::Earliest => Some(bounds.earliest),
        Target::Latest => Some(bounds.latest),
        // A group without an offset is at the end, as Kafka's tool has it.
        Target::Current => Some(current.unwrap_or(bounds.latest)),
        Target::Offset(offset) => Some(*offset),
        Target::Shift(by) => Some(current?.saturating_add(*by)),
        Target::Time(_) | Target::File(_) => None,
    }
}

/// Into [earliest, latest].
fn clamp(offset: i64, bounds: Bounds) -> i64 {
    offset.max(bounds.earliest).min(bounds.latest)
}

fn nowhere(target: &Target, topic: &str, partition: i32) -> Failure {
    match target {
        Target::File(path) => Failure::failed(format!(
            "{} has no offset for {topic} partition {partition}; add a line {topic},{partition},OFFSET or name other partitions",
            path.display()
        )),
        _ => Failure::failed(format!(
            "the group has no offset for {topic} partition {partition} to shift from; use --to-earliest, --to-latest or --to-offset"
        )),
    }
}

/// Offsets by partition, of `group`, from a CSV file as Kafka's tool writes it: `topic,partition,offset`, or with the
/// group before them.
pub fn read(path: &Path, group: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let cannot = |e: csv::Error| Failure::failed(format!("cannot read {}: {e}", path.display()));
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(cannot)?;
    let mut offsets = BTreeMap::new();
    for row in rows.records() {
        let row = row.map_err(cannot)?;
        let line = row.position().map_or(0, csv::Position::line);
        let fields: Vec<&str> = row.iter().collect();
        match parse(&fields) {
            Some((of, _, _)) if of.is_some_and(|of| of != group) => {}
            Some((_, place, offset)) => drop(offsets.insert(place, offset)),
            None => return Err(bad_line(path, line)),
        }
    }
    if offsets.is_empty() {
        let path = path.display();
        return Err(Failure::failed(format!(
            "{path} has no offsets of group {group}"
        )));
    }
    Ok(offsets)
}

fn bad_line(path: &Path, line: u64) -> Failure {
    Failure::failed(format!(
        "{}, line {line}: write topic,partition,offset or group,topic,partition,offset, offsets from 0 on",
        path.display()
    ))
}

/// The group if it is there, the partition, the offset.
fn parse<'a>(fields: &[&'a str]) -> Option<(Option<&'a str>, TopicPartition, i64)> {
    let (group, rest) = match fields {
        [group, rest @ ..] if rest.len() == 3 => (Some(*group), rest),
        rest => (None, rest),
    };
    let [topic, partition, offset] = rest else {
        return None;
    };
    let partition = partition.parse().ok().filter(|p| *p >= 0)?;
    let offset = offset.parse().ok().filter(|o| *o >= 0)?;
    (!topic.is_empty()).then(|| (group, ((*topic).into(), partition), offset))
}

pub fn write(path: &PathBuf, steps: &[Step]) -> Result<(), Failure> {
    let cannot = |e: csv::Error| Failure::failed(format!("cannot write {}: {e}", path.display()));
    let mut file = csv::Writer::from_path(path).map_err(cannot)?;
    for step in steps {
        let numbers = (step.partition.to_string(), step.new_offset.to_string());
        file.write_record([&step.topic, &numbers.0, &numbers.1])
            .map_err(cannot)?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Bounds = Bounds {
        partition: 0,
        earliest: 5,
        latest: 20,
    };

    #[test]
    fn a_shift_stays_in_the_log() {
        let shifted =
            |by, current| wanted(&Target::Shift(by), current, LOG).map(|offset| clamp(offset, LOG));
        assert_eq!(shifted(-3, Some(10)), Some(7));
        assert_eq!(shifted(-30, Some(10)), Some(5));
        assert_eq!(shifted(30, Some(10)), Some(20));
        assert_eq!(shifted(i64::MIN, Some(10)), Some(5));
        assert_eq!(shifted(1, None), None);
    }

    #[test]
    fn files_are_read_in_both_forms() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("offsets.csv");
        std::fs::write(&path, "t,0,7\ng,\"u\",1,8\nother,t,0,9\n").unwrap();
        let offsets = read(&path, "g").unwrap();
        assert_eq!(offsets, [(("t".into(), 0), 7), (("u".into(), 1), 8)].into());
        for wrong in ["t,0", "t,x,1", "t,0,-1", ",0,1", "a,b,t,0,1"] {
            std::fs::write(&path, wrong).unwrap();
            let failure = read(&path, "g").unwrap_err();
            assert!(failure.message.contains("line 1"), "{wrong}: {failure:?}");
        }
    }
}
