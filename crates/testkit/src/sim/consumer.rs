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
    client::{LATEST, connect, list_offset, records, topic_name},
    plan::ConsumerPlan,
    reads::{End, Fetch},
    world::World,
};
use crate::torture::{
    chance::Chance,
    history::{Log, PartitionLog},
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
        let records = match records(bytes, from) {
            Ok(records) => records,
            Err(why) => panic!("{} was sent what is no batch: {why}", self.name),
        };
        let records: Vec<_> = records.into_iter().map(|(found, _)| found).collect();
        let Some(last) = records.last() else {
            return true;
        };
        let next = last.offset + 1;
        self.world
            .note(|| format!("{} reads {partition} from {from} to {next}", self.name));
        self.positions.lock().insert(partition, next);
        self.world.must_be_past(partition, next);
        self.world.reads.lock().fetches.push(Fetch {
            consumer: self.number,
            partition,
            from,
            records,
            high_watermark: data.high_watermark,
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

/// A whole topic as one agent shows it, and the timestamps of its records.
pub async fn read_all(
    connection: &Connection,
    partitions: i32,
) -> Result<(Log, super::reads::Timestamps), String> {
    let (mut log, mut timestamps) = (Log::new(), super::reads::Timestamps::new());
    for partition in 0..partitions {
        let (_, end) = patiently(|| list_offset(connection, partition, LATEST)).await?;
        let (mut found, mut times) = (Vec::new(), BTreeMap::new());
        let mut next = 0;
        while next < end {
            let page = patiently(|| read_page(connection, partition, next)).await?;
            next = page.last().map_or(end, |(last, _)| last.offset + 1);
            times.extend(page.iter().map(|(f, timestamp)| (f.offset, *timestamp)));
            found.extend(page.into_iter().map(|(f, _)| f));
        }
        let part = PartitionLog {
            records: found,
            end,
        };
        log.insert(partition, part);
        timestamps.insert(partition, times);
    }
    Ok((log, timestamps))
}

async fn read_page(
    connection: &Connection,
    partition: i32,
    from: i64,
) -> Result<Vec<(crate::torture::history::Found, i64)>, String> {
    let request = fetch_request(vec![asked_for(partition, from)], 1 << 20, 0);
    let answer = connection.call(&request, 12).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let data = answer
        .responses
        .first()
        .and_then(|t| t.partitions.first())
        .ok_or("an answer without the partition")?;
    match data.error_code {
        0 => {
            let page = records(data.records.clone().unwrap_or_default(), from)?;
            // The agent has not heard yet of what the store told.
            let empty = || format!("nothing at {from}");
            Some(page).filter(|p| !p.is_empty()).ok_or_else(empty)
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
