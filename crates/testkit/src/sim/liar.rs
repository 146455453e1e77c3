//! The two seams as an agent meets them: a call may happen or not, and be reported or not; it may be slow, stall, be refused.
//! Everything is drawn from the seed of the life that calls.
use std::{
    future::Future,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sh_blob::{BlobError, Bucket, Expect, MemoryBucket, ObjectMeta, PutIf};
use sh_log::mutant;
use sh_meta::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MemoryStore, MetaError, MetaStore, Row, Update,
    View,
};
use tokio::time::sleep;

use super::{life::Life, plan::Lies, world::World};
use crate::torture::chance::Chance;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Done,
    Refused,
    RequestLost,
    ReplyLost,
    Late,
}

/// What became of a call: the ending that was drawn, and for whom to wait.
struct Draw {
    ending: Ending,
    there: Duration,
    back: Duration,
}

/// What both liars do alike.
struct Seam {
    world: Arc<World>,
    life: Arc<Life>,
    lies: Lies,
    chance: Mutex<Chance>,
    name: &'static str,
}

/// An error of a seam, by whether the call may have happened.
trait SeamError {
    fn definite(text: String) -> Self;
    fn maybe(text: String) -> Self;
}

impl SeamError for BlobError {
    fn definite(text: String) -> Self {
        BlobError::Definite(text)
    }
    fn maybe(text: String) -> Self {
        BlobError::Maybe(text)
    }
}

impl SeamError for MetaError {
    fn definite(text: String) -> Self {
        MetaError::Definite(text)
    }
    fn maybe(text: String) -> Self {
        MetaError::Maybe(text)
    }
}

impl Seam {
    fn new(
        world: &Arc<World>,
        life: &Arc<Life>,
        name: &'static str,
        purpose: u64,
        lies: Lies,
    ) -> Seam {
        let number = life.host as u64 * 1000 + u64::from(life.number);
        Seam {
            world: world.clone(),
            life: life.clone(),
            lies,
            chance: Mutex::new(world.chance(purpose, number)),
            name,
        }
    }

    fn is_cut(&self) -> bool {
        let host = &self.world.hosts[self.life.host];
        let until = match self.name {
            "bucket" => &host.cut_bucket,
            _ => &host.cut_store,
        };
        !self.world.is_calm() && self.world.now_ms() < until.load(Ordering::Relaxed)
    }

    fn draw(&self) -> Draw {
        let mut chance = self.chance.lock();
        let (there, back) = (
            chance.millis(0, self.lies.slow_ms),
            chance.millis(0, self.lies.slow_ms),
        );
        let stall = chance.millis(1_000, 15_000);
        let lies = self.lies;
        let mut n = chance.below(1000);
        let mut is = |weight: usize| {
            let hit = n < weight;
            n = n.wrapping_sub(weight);
            hit
        };
        if self.world.is_calm() {
            let ending = Ending::Done;
            return Draw {
                ending,
                there: there.min(Duration::from_millis(10)),
                back: Duration::ZERO,
            };
        }
        if is(lies.stalled) {
            let ending = Ending::Done;
            return Draw {
                ending,
                there: stall,
                back,
            };
        }
        let ending = if is(lies.refused) {
            Ending::Refused
        } else if is(lies.request_lost) {
            Ending::RequestLost
        } else if is(lies.reply_lost) {
            Ending::ReplyLost
        } else if is(lies.late) {
            Ending::Late
        } else {
            Ending::Done
        };
        Draw {
            ending,
            there,
            back,
        }
    }

    /// How long a caller waits for an answer that does not come.
    fn silence(&self) -> Duration {
        self.chance.lock().millis(100, 4_000)
    }

    /// A call that changes something. `late` is how it happens when nobody waits any more.
    async fn write<T, E: SeamError>(
        &self,
        what: String,
        run: impl Future<Output = Result<T, E>>,
        late: impl FnOnce(Duration),
    ) -> Result<T, E> {
        self.life.point(&format!("before {what}")).await;
        if self.is_cut() {
            sleep(self.silence()).await;
            return Err(self.told(&what, "no way there", E::maybe));
        }
        let draw = self.draw();
        sleep(draw.there).await;
        self.life.pass().await;
        match draw.ending {
            Ending::Refused => return Err(self.told(&what, "503", E::definite)),
            Ending::RequestLost => {
                sleep(self.silence()).await;
                return Err(self.told(&what, "the request was lost", E::maybe));
            }
            Ending::Late => {
                let silence = self.silence();
                let after = silence + self.chance.lock().millis(0, 5_000);
                late(after);
                sleep(silence).await;
                return Err(self.told(&what, "it will happen late", E::maybe));
            }
            Ending::Done | Ending::ReplyLost => {}
        }
        let done = run.await;
        self.world.note(|| {
            let ok = if done.is_ok() { "done" } else { "failed" };
            format!("{}: {what}: {ok}", self.life.name())
        });
        self.life.point(&format!("after {what}")).await;
        if draw.ending == Ending::ReplyLost {
            sleep(self.silence()).await;
            return Err(self.told(&what, "the reply was lost", E::maybe));
        }
        sleep(draw.back).await;
        self.life.pass().await;
        done
    }

    /// A call that changes nothing; `numbered`: it is a crash point.
    async fn read<T, E: SeamError>(
        &self,
        what: &str,
        numbered: bool,
        run: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if numbered {
            self.life.point(what).await;
        } else {
            self.life.pass().await;
        }
        if self.is_cut() {
            sleep(self.silence()).await;
            return Err(E::definite("no way there".into()));
        }
        let draw = self.draw();
        sleep(draw.there).await;
        self.life.pass().await;
        if draw.ending == Ending::Refused {
            return Err(self.told(what, "503", E::definite));
        }
        if draw.ending == Ending::RequestLost {
            sleep(self.silence()).await;
            return Err(self.told(what, "no answer", E::definite));
        }
        let done = run.await;
        sleep(draw.back).await;
        self.life.pass().await;
        done
    }

    fn told<E>(&self, what: &str, why: &str, error: impl Fn(String) -> E) -> E {
        self.world
            .note(|| format!("{}: {what}: {why}", self.life.name()));
        error(format!("simulated: {why}"))
    }
}

pub struct BucketLiar {
    seam: Seam,
    real: MemoryBucket,
}

impl BucketLiar {
    pub fn new(world: &Arc<World>, life: &Arc<Life>) -> BucketLiar {
        let seam = Seam::new(world, life, "bucket", 4, world.plan.bucket);
        let real = world.bucket.clone();
        BucketLiar { seam, real }
    }
}

#[async_trait]
impl Bucket for BucketLiar {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        let (real, name, again) = (self.real.clone(), key.to_owned(), parts.clone());
        let world = self.seam.world.clone();
        let late = move |after| {
            tokio::spawn(async move {
                sleep(after).await;
                world.note(|| format!("a late PUT of {name}"));
                // A name without content is refused now as it was then.
                let _ = real.put(&name, again).await;
            });
        };
        let run = self.real.put(key, parts);
        self.seam.write(format!("PUT {key}"), run, late).await
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let cut = mutant::is("short_read") && self.seam.chance.lock().below(20) == 0;
        let mut bytes = self
            .seam
            .read("GET", true, self.real.get(key, ranges))
            .await?;
        if cut && let Some(last) = bytes.last_mut() {
            last.truncate(last.len() / 2);
        }
        Ok(bytes)
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.seam.read("GET", true, self.real.get_all(key)).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        self.seam.read("HEAD", true, self.real.head(key)).await
    }

    /// A listing may not show yet what was put in the last second.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        let run = self.real.list(prefix, after, limit);
        let mut listed = self.seam.read("LIST", false, run).await?;
        let newest = self.seam.world.wall_ms() - 1_000;
        if self.seam.chance.lock().below(4) == 0 && !self.seam.world.is_calm() {
            listed.retain(|object| object.modified_ms < newest);
        }
        Ok(listed)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        let (real, again) = (self.real.clone(), keys.to_vec());
        let late = move |after| {
            tokio::spawn(async move {
                sleep(after).await;
                let _ = real.delete(&again).await;
            });
        };
        let run = self.real.delete(keys);
        self.seam.write("DELETE".into(), run, late).await
    }

    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        let (real, name) = (self.real.clone(), key.to_owned());
        let (again, expected) = (bytes.clone(), expect.clone());
        let late = move |after| {
            tokio::spawn(async move {
                sleep(after).await;
                let _ = real.put_if(&name, again, expected).await;
            });
        };
        let run = self.real.put_if(key, bytes, expect);
        self.seam.write(format!("PUT-IF {key}"), run, late).await
    }
}

pub struct StoreLiar {
    seam: Seam,
    real: MemoryStore,
}

impl StoreLiar {
    pub fn new(world: &Arc<World>, life: &Arc<Life>) -> StoreLiar {
        let seam = Seam::new(world, life, "store", 5, world.plan.store);
        let real = world.store.clone();
        StoreLiar { seam, real }
    }
}

fn describe(update: &Update) -> String {
    let keys = update.locks.iter().chain(&update.shares);
    let keys: Vec<String> = keys.map(|key| format!("{key:?}")).collect();
    let lane = update.request.lane.lane;
    format!(
        "update {} of lane {lane} on {}",
        update.request.seq,
        keys.join(", ")
    )
}

impl StoreLiar {
    /// The simulation's mutant of **what was read stays locked until it is written**: the session of an update is cut between
    /// its two trips, and the second goes on in another, with what the first one saw.
    async fn without_its_locks(&self, update: Update) -> Result<Update, MetaError> {
        let all = update.locks.iter().chain(&update.shares);
        let keys: Vec<Key> = all.chain(&update.reads).cloned().collect();
        let rows = self.real.get(&keys).await?;
        let mut seen = View {
            rows: keys.into_iter().zip(rows).collect(),
            scans: Vec::new(),
        };
        for (range, limit) in &update.scans {
            let scan = self.real.scan(range.clone(), *limit, false).await?;
            seen.scans.push(scan);
        }
        let pause = self.seam.chance.lock().millis(0, 50);
        sleep(pause).await;
        let apply = update.apply.clone();
        Ok(Update {
            apply: Arc::new(move |_| apply(&seen)),
            ..update
        })
    }
}

#[async_trait]
impl MetaStore for StoreLiar {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.seam
            .read("a get of rows", true, self.real.get(keys))
            .await
    }

    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        let run = self.real.scan(range, limit, reverse);
        self.seam.read("a scan", true, run).await
    }

    /// A late update holds its locks until it ends, as a session does that its client has left.
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        let world = self.seam.world.clone();
        let (real, again, what) = (self.real.clone(), update.clone(), describe(&update));
        let told = what.clone();
        let late = move |after| {
            let number = world.late.begin(&again);
            tokio::spawn(async move {
                sleep(after).await;
                world.note(|| format!("late: {told}"));
                // Its caller has stopped listening.
                let _ = real.update(again).await;
                world.late.end(number);
            });
        };
        let run = async {
            self.seam.world.late.wait(&update).await;
            let update = match mutant::is("trips_cut") {
                true => self.without_its_locks(update.clone()).await?,
                false => update.clone(),
            };
            self.real.update(update).await
        };
        self.seam.write(what, run, late).await
    }

    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        self.seam
            .read("the feed", false, self.real.feed(cursor, limit))
            .await
    }

    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.seam
            .read("the end of the feed", true, self.real.feed_end())
            .await
    }

    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.real.snapshot(page, sink).await
    }

    async fn identity(&self) -> Result<Identity, MetaError> {
        self.seam
            .read("the identity", false, self.real.identity())
            .await
    }
}
