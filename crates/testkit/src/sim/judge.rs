//! Judging a run by what stands there when everything is over.
use std::{collections::BTreeMap, sync::atomic::Ordering};

use sh_base::batch::Batch;
use sh_blob::{Bucket, ObjectKey};
use sh_log::Extent;
use sh_meta::{Family, Key, KeyRange, MetaStore};

use super::{consumer::Reading, groups, reads, run::Problem, transactions, world::World};
use crate::torture::check::{self, Anomaly, Leases};

/// What the group of each copier has committed; those with members are asked, too.
pub async fn committed_offsets(world: &World) -> BTreeMap<usize, i64> {
    let mut chance = world.chance(10, 0);
    let mut offsets = BTreeMap::new();
    for (number, plan) in world.plan.transactional.iter().enumerate() {
        if plan.copies {
            let group = transactions::group_of(number);
            let offset = transactions::committed_offset(world, &mut chance, &group, 0).await;
            offsets.insert(number, offset);
        }
    }
    for group in 0..world.plan.groups.len() {
        let name = groups::name_of(group);
        for partition in 0..world.plan.partitions {
            let place = (group, partition);
            let least = world.groups.lock().least(place);
            let told = transactions::committed_offset(world, &mut chance, &name, partition).await;
            world.groups.lock().told(place, least, told);
        }
    }
    offsets
}

/// Whether transactions and groups kept their promises.
pub fn judge_groups(
    world: &World,
    reading: &Reading,
    offsets: &BTreeMap<usize, i64>,
    problems: &mut Vec<Problem>,
) {
    let end = transactions::End { reading, offsets };
    let (history, reads) = (world.history.lock(), world.reads.lock());
    let bad = transactions::check(&history, &world.transactions.lock(), &reads, &end);
    problems.extend(bad.into_iter().map(Problem::Transaction));
    let bad = world.groups.lock().check();
    problems.extend(bad.into_iter().map(Problem::Group));
}

/// Whether what was written and read is as it was promised.
pub fn judge(world: &World, reading: &Reading, problems: &mut Vec<Problem>) {
    let log = &reading.log;
    let plan = &world.plan;
    let leases = match plan.agents == 1 && !plan.loses_disks() {
        true => Leases::Kept,
        false => Leases::MayBeLost,
    };
    let reads = world.reads.lock();
    let seen: Vec<_> = reads
        .fetches
        .iter()
        .flat_map(|f| f.records.iter().map(|r| (f.partition, *r)))
        .collect();
    let anomalies = check::check(&world.history.lock(), log, &seen, leases);
    let excused = |a: &Anomaly| plan.loses_disks() && a.may_pass();
    problems.extend(
        anomalies
            .into_iter()
            .filter(|a| !excused(a))
            .map(Problem::Write),
    );
    let bad = reads::check(&reads, log, &reading.committed, &reading.timestamps);
    problems.extend(bad.into_iter().map(Problem::Read));
}

/// **Memory is bounded**: what requests held is never more than the setting, in its units of 1 KiB.
pub fn overfull(world: &World) -> Option<Problem> {
    world.hosts.iter().find_map(|host| {
        let bytes = host.memory_most.load(Ordering::Relaxed);
        let agent = host.number;
        (bytes > world.plan.memory_bytes).then_some(Problem::Overfull { agent, bytes })
    })
}

/// Every extent names bytes that are in the bucket, and are its batches.
pub async fn all_is_there(world: &World) -> Vec<String> {
    let rows = world
        .store
        .scan(KeyRange::family(Family::Extent), usize::MAX, false);
    let mut absent = Vec::new();
    for (key, row) in rows.await.unwrap_or_default() {
        let (Key::Extent(tp, base), Some(value)) = (key, row.value) else {
            continue;
        };
        let Ok(extent) = Extent::decode(&value) else {
            absent.push(format!("the extent at {base} cannot be read"));
            continue;
        };
        let Some(place) = extent.place else {
            continue;
        };
        let range = place.start..place.start + u64::from(place.len);
        let name = ObjectKey::L0(place.object).to_string();
        let batches = world.bucket.get(&name, &[range]).await;
        let offsets = batches.ok().and_then(|mut parts| {
            let batches = Batch::parse_all(parts.pop()?).ok()?;
            Some(batches.iter().map(Batch::offsets).sum::<i64>())
        });
        if offsets != Some(extent.end - base) {
            absent.push(format!(
                "{} at {base}: {name} does not hold it",
                tp.partition
            ));
        }
    }
    absent
}
