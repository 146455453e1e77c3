//! One session of a transactional id: from its InitProducerId until it is replaced, fenced or lost.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId};
use sh_base::batch::{Batch, BatchBuilder, BatchProducer, Codec};
use sh_client::{Acks, Connection};
use tokio::time::sleep;

use super::{
    Copied, Ending, Flow, Seen, Transaction, TransactionalPlan, TxnId, group_of,
    requests::{self, Told, Who},
};
use crate::{
    sim::{
        client::{TIMEOUT, connect},
        world::World,
    },
    torture::{
        chance::Chance,
        history::{BatchId, RecordId, Sent},
        writer::record_digest,
    },
};

/// Tries of a request before a client that need not succeed gives its transaction or its session up.
const TRIES: usize = 12;

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Fenced,
    /// It does not know where it stands.
    Lost,
}

impl From<Told> for Over {
    fn from(told: Told) -> Over {
        match told {
            Told::Fenced => Over::Fenced,
            _ => Over::Lost,
        }
    }
}

/// A batch of the transaction that is open.
struct Out {
    id: BatchId,
    partition: i32,
    batch: Batch,
}

pub struct Session {
    pub world: Arc<World>,
    pub name: String,
    /// The how many-th transactional id of the world.
    number: usize,
    pub plan: TransactionalPlan,
    pub chance: Chance,
    /// To any agent: one for records, one for the transaction. The group's goes to its coordinator.
    data: Option<Connection>,
    control: Option<Connection>,
    group: Option<Connection>,
    pub who: Who,
    pub source: u32,
    position: u32,
    begun: u32,
    sequences: BTreeMap<i32, i32>,
    /// Where a copier goes on, if it knows.
    input: Option<i64>,
    /// A request of this session may still be under way.
    doubt: bool,
    /// The faults are over: the next transaction is to be committed, however long that takes.
    pub must_commit: bool,
}

impl Session {
    /// InitProducerId, for as long as it takes. `before`: what the id had, where the same client goes on (KIP-360).
    pub async fn begin(
        world: &Arc<World>,
        number: usize,
        life: u64,
        before: Option<&Who>,
    ) -> Session {
        let plan = world.plan.transactional[number].clone();
        let mut chance = world.chance(9, number as u64 * 1000 + life);
        let name = format!("transactional {number}.{life}");
        let id = format!("tx-{number}");
        let version = if plan.flow.is_version2() { 5 } else { 4 };
        let mut before = before.cloned();
        let who = loop {
            let connection = connect(world, &mut chance, &name).await;
            let (producer, epoch) = before.as_ref().map_or((-1, -1), |w| (w.producer, w.epoch));
            let who = Who {
                id: id.clone(),
                producer,
                epoch,
            };
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(who.id()))
                .with_transaction_timeout_ms(plan.timeout_ms)
                .with_producer_id(ProducerId(producer))
                .with_producer_epoch(epoch);
            let answer = connection.call(&request, version).await;
            let told = answer.as_ref().map_or(None, |a| Some(a.error_code));
            world.note(|| format!("{name} begins, after {before:?}: {told:?}"));
            match (answer, told) {
                (Ok(answer), Some(0)) => {
                    break Who {
                        producer: answer.producer_id.0,
                        epoch: answer.producer_epoch,
                        ..who
                    };
                }
                (_, Some(code)) if Told::of(code) != Told::Again => before = None,
                _ => {}
            }
            sleep(chance.millis(50, 500)).await;
        };
        world.note(|| format!("{name} has epoch {} of {}", who.epoch, who.producer));
        Session {
            world: world.clone(),
            name,
            number,
            plan,
            chance,
            data: None,
            control: None,
            group: None,
            who,
            source: world.new_source(),
            position: 0,
            begun: 0,
            sequences: BTreeMap::new(),
            input: None,
            doubt: false,
            must_commit: false,
        }
    }

    /// One transaction. `Ok`: the session goes on, and whether this one was committed.
    pub async fn transact(&mut self) -> Result<bool, Over> {
        let txn = TxnId {
            source: self.source,
            number: self.begun,
        };
        self.begun += 1;
        let from = match self.plan.copies {
            true => Some(self.input().await?),
            false => None,
        };
        let copied = from.map(|from| Copied {
            group: self.number,
            from,
            to: from + 1 + self.chance.below(3) as i64,
        });
        let outs: Vec<Out> = (0..1 + self.chance.below(4)).map(|_| self.make()).collect();
        let transaction = Transaction {
            batches: outs.iter().map(|out| out.id).collect(),
            copied,
            ..Transaction::default()
        };
        self.world.transactions.lock().all.insert(txn, transaction);
        let name = &self.name;
        self.world
            .note(|| format!("{name} begins {txn:?}, {copied:?}"));
        let whole = self.fill(&outs, copied).await?;
        let silent = self.chance.below(100) < self.plan.silences && !self.must_commit;
        if silent {
            self.world.note(|| format!("{} falls silent", self.name));
            let most = self.plan.timeout_ms as u64 + 8_000;
            sleep(self.chance.millis(self.plan.timeout_ms as u64, most)).await;
        }
        let aborts = self.chance.below(100) < self.plan.aborts && !self.must_commit;
        let ending = match whole && !aborts {
            true => Ending::Commit,
            false => Ending::Abort,
        };
        self.end(txn, ending, whole).await?;
        self.input = copied
            .filter(|_| ending == Ending::Commit)
            .map(|copied| copied.to);
        Ok(ending == Ending::Commit)
    }

    /// Everything of the transaction but its end; false: it has to be aborted.
    async fn fill(&mut self, outs: &[Out], copied: Option<Copied>) -> Result<bool, Over> {
        let classic = !self.plan.flow.is_version2();
        if classic && !self.add_partitions(outs).await? {
            return Ok(false);
        }
        if !self.write(outs).await? {
            return Ok(false);
        }
        let Some(copied) = copied else {
            return Ok(true);
        };
        if classic && !self.add_group().await? {
            return Ok(false);
        }
        self.commit_offset(copied.to).await
    }

    fn make(&mut self) -> Out {
        let partition = self.chance.below(self.world.plan.partitions as usize) as i32;
        let id = BatchId {
            source: self.source,
            position: self.position,
        };
        self.position += 1;
        let count = 1 + self.chance.below(3) as u32;
        let next = self.sequences.entry(partition).or_default();
        let producer = BatchProducer {
            id: sh_base::ProducerId(self.who.producer),
            epoch: self.who.epoch,
            base_sequence: *next,
        };
        *next += count as i32;
        let mut builder = BatchBuilder::new(Codec::None)
            .producer(producer)
            .transactional();
        let mut digests = Vec::new();
        for index in 0..count {
            let record = RecordId { batch: id, index };
            let size = self.chance.one_of(&[0, 5, 40, 400]);
            let value = format!("{record}|{}", "y".repeat(size));
            let timestamp = self.world.wall_ms();
            builder.push(timestamp, None, Some(value.as_bytes()), &[]);
            digests.push(record_digest(None, Some(value.as_bytes()), &[], timestamp));
        }
        let batch = builder.build().expect("a batch of a few small records");
        let sent = Sent::new(partition, Acks::All, digests);
        self.world.history.lock().batches.insert(id, sent);
        Out {
            id,
            partition,
            batch,
        }
    }

    /// Sends all batches together, and what was not acknowledged again, in order.
    async fn write(&mut self, outs: &[Out]) -> Result<bool, Over> {
        let mut left: Vec<&Out> = outs.iter().collect();
        // One that is in a hurry gives up at once, and what it sent may still arrive.
        let hurried = self.plan.late > 0 && !self.must_commit && self.chance.below(4) == 0;
        let tries = if hurried { 1 } else { self.tries() };
        for _ in 0..tries {
            let answers = self.send(&left).await;
            let mut worst = Told::Done;
            let mut refused = Vec::new();
            for (out, answer) in left.iter().zip(answers) {
                let told = answer.await;
                self.settle(out, told);
                let means = told.map_or(Told::Again, |(code, _)| Told::of(code));
                if told.is_none() {
                    (self.data, self.doubt) = (None, true);
                }
                if means != Told::Done {
                    refused.push(*out);
                    // What is refused behind one that got lost says nothing.
                    worst = if worst == Told::Done { means } else { worst };
                }
            }
            left = refused;
            match worst {
                Told::Done => return Ok(true),
                Told::Again => sleep(self.chance.millis(10, 400)).await,
                Told::Abort => return Ok(false),
                Told::Fenced | Told::Lost => return Err(worst.into()),
            }
        }
        Ok(false)
    }

    async fn send(&mut self, outs: &[&Out]) -> Vec<BoxFuture<'static, Option<(i16, i64)>>> {
        let version = if self.plan.flow.is_version2() { 12 } else { 9 };
        let late = self.is_late();
        let (world, name) = (self.world.clone(), self.name.clone());
        let connection = slot(&mut self.data, &world, &mut self.chance, &name).await;
        let mut answers: Vec<BoxFuture<'static, _>> = Vec::new();
        for out in outs {
            let request = requests::produce(&self.who, out.partition, out.batch.bytes().clone());
            let (world, BatchId { position, .. }) = (&self.world, out.id);
            world.note(|| format!("{} sends {position} to {}", self.name, out.partition));
            if late {
                deliver_late(&self.world, &mut self.chance, &self.name, request, version);
                answers.push(Box::pin(async { None }));
                continue;
            }
            let answer = connection.start(&request, version);
            answers.push(Box::pin(async move {
                let answer = answer.ok()?.await.ok()?;
                let partition = answer.responses.first()?.partition_responses.first()?;
                Some((partition.error_code, partition.base_offset))
            }));
        }
        answers
    }

    fn settle(&self, out: &Out, told: Option<(i16, i64)>) {
        let BatchId { source, position } = out.id;
        self.world
            .note(|| format!("{} hears of {source}.{position}: {told:?}", self.name));
        let Some((0, base)) = told else {
            return;
        };
        let mut history = self.world.history.lock();
        if let Some(sent) = history.batches.get_mut(&out.id) {
            sent.told.push(base);
            let end = base + sent.digests.len() as i64;
            self.world.must_be_past(out.partition, end);
        }
    }

    async fn add_partitions(&mut self, outs: &[Out]) -> Result<bool, Over> {
        let mut partitions: Vec<i32> = outs.iter().map(|out| out.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let request = requests::add_partitions(&self.who, partitions);
        self.ask("AddPartitionsToTxn", move |connection| {
            let answer = connection.start(&request, 3);
            Box::pin(async move {
                let answer = answer.ok()?.await.ok()?;
                let topic = answer.results_by_topic_v3_and_below.first()?;
                let codes = topic.results_by_partition.iter();
                let mut codes = codes.map(|p| p.partition_error_code);
                Some(codes.find(|code| *code != 0).unwrap_or(0))
            })
        })
        .await
    }

    async fn add_group(&mut self) -> Result<bool, Over> {
        let request = requests::add_offsets(&self.who, &group_of(self.number));
        self.ask("AddOffsetsToTxn", move |connection| {
            let answer = connection.start(&request, 3);
            Box::pin(async move { Some(answer.ok()?.await.ok()?.error_code) })
        })
        .await
    }

    /// Asks about the transaction until there is an answer that means something.
    async fn ask(
        &mut self,
        what: &str,
        send: impl Fn(&Connection) -> BoxFuture<'static, Option<i16>>,
    ) -> Result<bool, Over> {
        for _ in 0..self.tries() {
            let (world, name) = (self.world.clone(), self.name.clone());
            let connection = slot(&mut self.control, &world, &mut self.chance, &name).await;
            let code = send(connection).await;
            world.note(|| format!("{name}: {what}: {code:?}"));
            match code.map_or(Told::Again, Told::of) {
                Told::Done => return Ok(true),
                Told::Again => {
                    (self.control, self.doubt) = (None, true);
                    sleep(self.chance.millis(10, 400)).await;
                }
                Told::Abort => return Ok(false),
                told => return Err(told.into()),
            }
        }
        Ok(false)
    }

    async fn commit_offset(&mut self, offset: i64) -> Result<bool, Over> {
        let group = group_of(self.number);
        let version = if self.plan.flow.is_version2() { 5 } else { 3 };
        let request = requests::commit_offset(&self.who, &group, offset);
        for _ in 0..self.tries() {
            let answer = self.coordinator().await.call(&request, version).await;
            let code = answer.ok().and_then(|answer| {
                let topic = answer.topics.first()?;
                Some(topic.partitions.first()?.error_code)
            });
            self.world
                .note(|| format!("{} commits {offset} of {group}: {code:?}", self.name));
            match code.map_or(Told::Again, Told::of) {
                Told::Done => return Ok(true),
                Told::Again => {
                    (self.group, self.doubt) = (None, true);
                    sleep(self.chance.millis(10, 400)).await;
                }
                Told::Abort => return Ok(false),
                told => return Err(told.into()),
            }
        }
        Ok(false)
    }

    /// Where the copier goes on: where it stands, or what its group has committed.
    async fn input(&mut self) -> Result<i64, Over> {
        if let Some(input) = self.input.take()
            && self.chance.below(2) == 0
        {
            return Ok(input);
        }
        let group = group_of(self.number);
        loop {
            let least = self.world.transactions.lock().least(self.number);
            let told = requests::fetch_offset(self.coordinator().await, &group, 0).await;
            self.world
                .note(|| format!("{} asks for the offset of {group}: {told:?}", self.name));
            if let Ok(told) = told {
                let group = self.number;
                let mut transactions = self.world.transactions.lock();
                transactions.seen.push(Seen { group, least, told });
                transactions.must_have(group, told);
                return Ok(told);
            }
            self.group = None;
            sleep(self.chance.millis(20, 400)).await;
        }
    }

    async fn coordinator(&mut self) -> &Connection {
        let open = match self.group.take().filter(|c| !c.is_closed()) {
            Some(open) => open,
            None => {
                let (world, name) = (self.world.clone(), self.name.clone());
                let group = group_of(self.number);
                requests::connect_to_coordinator(&world, &mut self.chance, &name, &group, TIMEOUT)
                    .await
            }
        };
        self.group.insert(open)
    }

    /// EndTxn, until it is confirmed.
    async fn end(&mut self, txn: TxnId, ending: Ending, whole: bool) -> Result<(), Over> {
        if let Some(transaction) = self.world.transactions.lock().all.get_mut(&txn) {
            transaction.asked = Some(ending);
        }
        let request = requests::end(&self.who, ending == Ending::Commit);
        let version = if self.plan.flow.is_version2() { 5 } else { 3 };
        for _ in 0..self.tries() * 3 {
            let (world, name) = (self.world.clone(), self.name.clone());
            if self.is_late() {
                deliver_late(&world, &mut self.chance, &name, request.clone(), version);
                self.doubt = true;
                sleep(self.chance.millis(100, 1_000)).await;
                continue;
            }
            let connection = slot(&mut self.control, &world, &mut self.chance, &name).await;
            let answer = connection.call(&request, version).await;
            let told = answer
                .as_ref()
                .map_or(Told::Again, |a| Told::of(a.error_code));
            world.note(|| {
                let code = answer.as_ref().map(|a| a.error_code).ok();
                format!("{name}: {ending:?} of {txn:?}: {code:?}")
            });
            match (answer, told) {
                (Ok(answer), Told::Done) => {
                    world.transactions.lock().tell(txn, ending);
                    return self.go_on(answer.producer_id.0, answer.producer_epoch, whole);
                }
                (_, Told::Again) => {
                    (self.control, self.doubt) = (None, true);
                    sleep(self.chance.millis(10, 400)).await;
                }
                (_, told) => return Err(told.into()),
            }
        }
        Err(Over::Lost)
    }

    /// The transaction has ended: may the session begin another?
    fn go_on(&mut self, producer: i64, epoch: i16, whole: bool) -> Result<(), Over> {
        match self.plan.flow {
            Flow::Version2 => {
                (self.who.producer, self.who.epoch) = (producer, epoch);
                self.sequences.clear();
                Ok(())
            }
            // The sequences of what got lost are not known.
            Flow::Classic | Flow::Careful if !whole => Err(Over::Lost),
            Flow::Careful if self.doubt => Err(Over::Lost),
            Flow::Classic | Flow::Careful => Ok(()),
        }
    }

    fn tries(&self) -> usize {
        if self.must_commit { 10_000 } else { TRIES }
    }

    fn is_late(&mut self) -> bool {
        let late = self.chance.below(100) < self.plan.late && !self.world.is_calm();
        if late {
            self.world.transactions.lock().counts.late += 1;
        }
        late
    }
}

/// A connection that is kept, opened if need be.
async fn slot<'a>(
    slot: &'a mut Option<Connection>,
    world: &World,
    chance: &mut Chance,
    name: &str,
) -> &'a Connection {
    let open = slot.take().filter(|connection| !connection.is_closed());
    let open = match open {
        Some(open) => open,
        None => connect(world, chance, name).await,
    };
    slot.insert(open)
}

/// A request that is held up on its way, and that its client has given up meanwhile.
fn deliver_late<R>(world: &Arc<World>, chance: &mut Chance, name: &str, request: R, version: i16)
where
    R: kafka_protocol::protocol::Request + Send + Sync + 'static,
    R::Response: Send,
{
    let (world, mut chance, name) = (world.clone(), chance.fork(), name.to_owned());
    tokio::spawn(async move {
        sleep(chance.millis(50, 4_000)).await;
        let connection = connect(&world, &mut chance, &name).await;
        world.note(|| format!("{name}: a late request of API {}", R::KEY));
        // Nobody waits for the answer.
        let _ = connection.call(&request, version).await;
        sleep(Duration::from_millis(10)).await;
    });
}
