//! Consumers of the simulated world: each follows all partitions from their beginning, with or without a fetch session.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kafka_protocol::messages::{
    BrokerId, FetchRequest,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::PartitionData,
};
use parking_lot::Mutex;
use sh_client::Connection;
use tokio::time::sleep;

use super::{
    client::{
        LATEST, Page, Placed, aborted, connect, list_offset, list_offset_as, page, topic_name,
    },
    plan::ConsumerPlan,
    reads::{End, Fetch, Timestamps},
    world::World,
};
use crate::torture::{
    chance::Chance,
    history::{Found, Log, PartitionLog},
};

const OFFSET_OUT_OF_RANGE: i16 = 1;
/// Rounds of a read of everything that may fail.
const TRIES: usize = 200;

/// Where a consumer is, by partition.
pub type Positions = Arc<Mutex<BTreeMap<i32, i64>>>;

pub struct Consumer {
    world: Arc<World>,
    number: usize,
    name: String,
    plan: ConsumerPlan,
    chance: Chance,
    positions: Positions,
    session: Session,
}

/// What the server knows of the session.
#[derive(Default)]
struct Session {
    id: i32,
    epoch: i32,
    /// Offsets as they were told.
    told: BTreeMap<i32, i64>,
}

impl Consumer {
    pub fn new(world: &Arc<World>, number: usize) -> Consumer {
        let zero = (0..world.plan.partitions).map(|p| (p, 0)).collect();
        Consumer {
            world: world.clone(),
            number,
            name: format!("consumer {number}"),
            plan: world.plan.consumers[number].clone(),
            chance: world.chance(7, number as u64),
            positions: Arc::new(Mutex::new(zero)),
            session: Session::default(),
        }
    }

    pub fn positions(&self) -> Positions {
        self.positions.clone()
    }

    /// Reads for ever.
    pub async fn run(mut self) {
        loop {
            let connection = connect(&self.world, &mut self.chance, &self.name).await;
            self.session = Session::default();
            while self.round(&connection).await.is_ok() {
                if self.chance.below(100) < self.plan.wanders {
                    break;
                }
            }
            sleep(self.chance.millis(1, 100)).await;
        }
    }

    async fn round(&mut self, connection: &Connection) -> Result<(), ()> {
        if self.chance.below(6) == 0 {
            self.ask_for_an_end(connection).await?;
        }
        let request = self.request();
        let asked = self.positions.lock().clone();
        let answer = connection.call(&request, 12).await.map_err(|_| ())?;
        if answer.error_code != 0 {
            self.session = Session::default();
            return Ok(());
        }
        if self.plan.session {
            self.session.id = answer.session_id;
            self.session.epoch += 1;
            self.session.told = asked.clone();
        }
        let mut troubled = false;
        for data in answer.responses.iter().flat_map(|t| &t.partitions) {
            troubled |= !self.take(&asked, data);
        }
        if troubled {
            sleep(self.chance.millis(10, 200)).await;
        }
        Ok(())
    }

    fn request(&self) -> FetchRequest {
        let positions = self.positions.lock();
        let changed = |(partition, offset): &(&i32, &i64)| {
            !self.plan.session || self.session.told.get(*partition) != Some(*offset)
        };
        let partitions = positions
            .iter()
            .filter(changed)
            .map(|(partition, offset)| asked_for(*partition, *offset))
            .collect();
        let (id, epoch) = match self.plan.session {
            true => (self.session.id, self.session.epoch),
            false => (0, -1),
        };
        fetch_request(partitions, self.plan.max_bytes, 500)
            .with_session_id(id)
            .with_session_epoch(epoch)
            .with_isolation_level(i8::from(self.plan.read_committed))
    }

    /// Takes in what an answer says of a partition; false for an error.
    fn take(&mut self, asked: &BTreeMap<i32, i64>, data: &PartitionData) -> bool {
        let partition = data.partition_index;
        let from = asked.get(&partition).copied().unwrap_or(0);
        if data.error_code == OFFSET_OUT_OF_RANGE {
            let mut reads = self.world.reads.lock();
            reads.out_of_range.push((self.number, partition, from));
        }
        if data.error_code != 0 {
            self.world.note(|| {
                format!(
                    "{} reads {partition} from {from}: error {}",
                    self.name, data.error_code
                )
            });
            return false;
        }
        let bytes = data.records.clone().unwrap_or_default();
        let page = match page(bytes, from, &aborted(data)) {
            Ok(page) => page,
            Err(why) => panic!("{} was sent what is no batch: {why}", self.name),
        };
        let next = page.next;
        if next == from {
            return true;
        }
        let records: Vec<_> = page.records.into_iter().map(|(found, _)| found).collect();
        self.world
            .note(|| format!("{} reads {partition} from {from} to {next}", self.name));
        self.positions.lock().insert(partition, next);
        self.world.must_be_past(partition, next);
        self.world.reads.lock().fetches.push(Fetch {
            consumer: self.number,
            partition,
            from,
            records,
            next,
            high_watermark: data.high_watermark,
            stable: data.last_stable_offset,
            committed: self.plan.read_committed,
        });
        true
    }

    async fn ask_for_an_end(&mut self, connection: &Connection) -> Result<(), ()> {
        let partition = self.chance.below(self.world.plan.partitions as usize) as i32;
        let least = self.world.least_end(partition);
        if let Ok((_, told)) = list_offset(connection, partition, LATEST).await {
            self.world.reads.lock().ends.push(End {
                partition,
                least,
                told,
            });
        }
        Ok(())
    }
}

fn asked_for(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(1 << 20)
}

fn fetch_request(
    partitions: Vec<FetchPartition>,
    max_bytes: i32,
    max_wait_ms: i32,
) -> FetchRequest {
    let topics = match partitions.is_empty() {
        true => Vec::new(),
        false => vec![
            FetchTopic::default()
                .with_topic(topic_name())
                .with_partitions(partitions),
        ],
    };
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// A whole topic as one agent shows it.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// As read_uncommitted shows it.
    pub log: Log,
    pub timestamps: Timestamps,
    /// As read_committed shows it: up to the last stable offset, without what was aborted.
    pub committed: Log,
    /// What belongs to transactions.
    pub transactional: BTreeMap<i32, Vec<Placed>>,
}

impl Reading {
    /// Partitions with an open transaction: their last stable offset and their end.
    pub fn held_up(&self) -> impl Iterator<Item = (i32, i64, i64)> + '_ {
        let parts = self.log.iter().filter_map(|(partition, part)| {
            let stable = self.committed.get(partition)?.end;
            Some((*partition, stable, part.end))
        });
        parts.filter(|(_, stable, end)| stable < end)
    }
}

/// Reads a whole topic at one agent, with either isolation.
pub async fn read_all(connection: &Connection, partitions: i32) -> Result<Reading, String> {
    let mut reading = Reading::default();
    for partition in 0..partitions {
        let (_, end) = patiently(|| list_offset(connection, partition, LATEST)).await?;
        let all = read_partition(connection, partition, end, false).await?;
        let end_of = || list_offset_as(connection, partition, LATEST, true);
        let (_, stable) = patiently(end_of).await?;
        let committed = read_partition(connection, partition, stable.min(end), true).await?;
        let markers = all.transactional.iter().filter(|p| p.marker.is_some());
        let part = PartitionLog {
            records: found(&all.records),
            markers: markers.map(|p| p.offset).collect(),
            end,
        };
        // A time may be found at a marker, as at any record.
        let marked = all.transactional.iter().filter(|p| p.marker.is_some());
        let marked = marked.map(|p| (p.offset, p.timestamp));
        let times = all.records.iter().map(|(f, time)| (f.offset, *time));
        let times = times.chain(marked);
        reading.timestamps.insert(partition, times.collect());
        reading.log.insert(partition, part);
        let part = PartitionLog {
            records: found(&committed.records),
            end: stable.min(end),
            ..PartitionLog::default()
        };
        reading.committed.insert(partition, part);
        reading.transactional.insert(partition, all.transactional);
    }
    Ok(reading)
}

fn found(records: &[(Found, i64)]) -> Vec<Found> {
    records.iter().map(|(found, _)| *found).collect()
}

async fn read_partition(
    connection: &Connection,
    partition: i32,
    end: i64,
    committed: bool,
) -> Result<Page, String> {
    let mut all = Page {
        records: Vec::new(),
        transactional: Vec::new(),
        next: 0,
    };
    while all.next < end {
        let page = patiently(|| read_page(connection, partition, all.next, committed)).await?;
        all.records.extend(page.records);
        all.transactional.extend(page.transactional);
        all.next = page.next;
    }
    // What came after the end was told is not part of this reading.
    all.records.retain(|(found, _)| found.offset < end);
    all.transactional.retain(|placed| placed.offset < end);
    Ok(all)
}

async fn read_page(
    connection: &Connection,
    partition: i32,
    from: i64,
    committed: bool,
) -> Result<Page, String> {
    let request = fetch_request(vec![asked_for(partition, from)], 1 << 20, 0)
        .with_isolation_level(i8::from(committed));
    let answer = connection.call(&request, 12).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let data = answer
        .responses
        .first()
        .and_then(|t| t.partitions.first())
        .ok_or("an answer without the partition")?;
    match data.error_code {
        0 => {
            let page = page(
                data.records.clone().unwrap_or_default(),
                from,
                &aborted(data),
            )?;
            // The agent has not heard yet of what the store told.
            let empty = || format!("nothing at {from}");
            Some(page).filter(|p| p.next > from).ok_or_else(empty)
        }
        code => Err(format!("error {code} at {from}")),
    }
}

/// Asks again until it is answered, for a while.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let mut outcome = ask().await;
    for _ in 0..TRIES {
        if outcome.is_ok() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
        outcome = ask().await;
    }
    outcome
}
