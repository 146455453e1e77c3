//! A long run: one fault after another, chosen by chance, while producers write and followers read; then the verdict, and
//! whether the agents came to rest: a WAL that is trimmed, no temporary objects, memory within its setting.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::{
    agent::Agent,
    chance::Chance,
    check::Leases,
    copying::{Copiers, CopyVerdict, QUICK_GROUPS, copyings},
    disk::Disk,
    flights,
    proxy::{Proxy, Weather},
    scene::{Cast, Scene, Verdict},
    services::{Minio, Postgres, binary},
    watch::{Watch, Watched},
    wire::Wire,
    writer::Kind,
};

/// Every kind of producer: on topics of their own, where leases live long, and all on one.
pub fn everybody() -> [Cast; 3] {
    let cast = |topic, writers: &[Kind]| Cast {
        topic,
        writers: writers.to_vec(),
    };
    [
        cast("durable", &[Kind::Idempotent, Kind::Durable]),
        cast("leader", &[Kind::Leader]),
        cast("mixed", &[Kind::Idempotent, Kind::Mixed, Kind::Leader]),
    ]
}

/// Where the agents keep what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One agent; SQLite and a folder.
    Bare,
    /// As [`Place::Bare`], on a small disk of its own.
    Folder,
    /// Two agents; Postgres, and MinIO behind a proxy.
    Pair,
}

/// What may happen to the agents and their stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`, and a new start.
    Kill,
    /// `kill -9` again while the new start is under way.
    KillInStart,
    /// SIGSTOP, shorter than a lease's life.
    Pause,
    /// SIGSTOP, longer than a lease's life.
    LongPause,
    /// SIGTERM, and a new start.
    Drain,
    DiskFull,
    BucketUnavailable,
    BucketStalled,
    BucketAnswersLost,
    /// PUTs succeed, and the agent hears of it when it has given them up.
    BucketAnswersLate,
    BucketSlow,
    BucketCrash,
    /// Commits succeed, and the agent does not hear of it.
    DatabaseAnswersLost,
    DatabaseRestart,
    DatabaseCrash,
    DatabaseAway,
    DatabasePaused,
}

impl Fault {
    const OF_AGENTS: [Fault; 5] = [
        Fault::Kill,
        Fault::KillInStart,
        Fault::Pause,
        Fault::LongPause,
        Fault::Drain,
    ];
    const OF_DISKS: [Fault; 1] = [Fault::DiskFull];
    const OF_STORES: [Fault; 11] = [
        Fault::BucketUnavailable,
        Fault::BucketStalled,
        Fault::BucketAnswersLost,
        Fault::BucketAnswersLate,
        Fault::BucketSlow,
        Fault::BucketCrash,
        Fault::DatabaseAnswersLost,
        Fault::DatabaseRestart,
        Fault::DatabaseCrash,
        Fault::DatabaseAway,
        Fault::DatabasePaused,
    ];

    /// Those that can befall a place.
    pub fn of(place: Place) -> Vec<Fault> {
        match place {
            Place::Bare => Fault::OF_AGENTS.to_vec(),
            Place::Folder => [&Fault::OF_AGENTS[..], &Fault::OF_DISKS].concat(),
            Place::Pair => [&Fault::OF_AGENTS[..], &Fault::OF_STORES].concat(),
        }
    }
}

/// After a fault somebody must get on within this: a lease's life, and what clients wait before they try again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// A group must get on within this: a session of a member that vanished, a transaction that lasts too long, and a rebalance.
const GROUP_RECOVERY_MAX: Duration = Duration::from_secs(150);
/// A pause between requests. It bounds what is written in an hour, and so what the checker has to remember.
const PAUSE: Duration = Duration::from_millis(40);
/// Long enough for the lease of a paused holder to be taken over.
const LONG_PAUSE: Duration = Duration::from_secs(12);
/// How long an agent waits for one answer of the bucket.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// An hour writes some 8 GiB, and nothing is deleted; the image is sparse.
const DISK_BYTES: u64 = 20 * 1024 * 1024 * 1024;
/// Between two faults.
const CALM: (u64, u64) = (200, 3_000);

/// What a run was.
#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub copies: CopyVerdict,
    pub watched: Watched,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, usize>,
    /// The longest time after a fault until somebody got on.
    pub slowest: Duration,
    /// The longest time after a fault until every group that copies in transactions had committed one.
    pub slowest_group: Duration,
    /// Most bytes that an agent had resident after a fault.
    pub resident_bytes_max: u64,
    /// Most bytes of WAL files that an agent has at the end, and temporary objects.
    pub wal_bytes_each: u64,
    pub temporary_objects: usize,
}

pub(super) struct World {
    pub agents: Vec<Agent>,
    folders: Vec<PathBuf>,
    disk: Option<Disk>,
    stores: Option<Stores>,
}

struct Stores {
    minio: Minio,
    proxy: Proxy,
    wire: Wire,
    postgres: Postgres,
}

impl World {
    /// With these broker settings, of the form `name=value`.
    pub async fn start(place: Place, folder: &Path, settings: &[&str]) -> Result<World> {
        let mut world = match place {
            Place::Bare => World::bare(folder, settings)?,
            Place::Folder => World::with_disk(folder, settings)?,
            Place::Pair => World::with_stores(folder, settings).await?,
        };
        for agent in &mut world.agents {
            agent.start().await?;
        }
        Ok(world)
    }

    fn with_disk(folder: &Path, settings: &[&str]) -> Result<World> {
        let disk = Disk::mount(folder, DISK_BYTES)?;
        let mut world = World::bare(disk.path(), settings)?;
        world.disk = Some(disk);
        Ok(world)
    }

    fn bare(folder: &Path, settings: &[&str]) -> Result<World> {
        let home = folder.join("agent");
        Ok(World {
            agents: vec![Agent::new(&binary()?, &home, &set(settings))?],
            folders: vec![home],
            disk: None,
            stores: None,
        })
    }

    async fn with_stores(folder: &Path, settings: &[&str]) -> Result<World> {
        let minio = Minio::start(&folder.join("minio")).await?;
        let proxy = Proxy::before(&minio.address()).await?;
        let postgres = Postgres::of_environment()?;
        let (wire, database) = Wire::before_url(&postgres.database("torture")?).await?;
        let mut arguments = set(settings);
        arguments.extend([
            "--bucket".to_owned(),
            minio.url(proxy.address()),
            "--metadata".to_owned(),
            database,
        ]);
        let folders = vec![folder.join("a"), folder.join("b")];
        let agent = |home: &PathBuf| {
            Ok(Agent::new(&binary()?, home, &arguments)?.env(&minio.credentials()))
        };
        let agents = folders.iter().map(agent).collect::<Result<_>>()?;
        let stores = Some(Stores {
            minio,
            proxy,
            wire,
            postgres,
        });
        Ok(World {
            agents,
            folders,
            disk: None,
            stores,
        })
    }

    async fn suffer(&mut self, fault: Fault, chance: &mut Chance) -> Result<()> {
        let victim = chance.below(self.agents.len());
        match fault {
            Fault::DiskFull => self.fill_the_disk(chance).await,
            fault if Fault::OF_AGENTS.contains(&fault) => {
                strike(&mut self.agents[victim], fault, chance).await
            }
            fault => match &mut self.stores {
                Some(stores) => stores.suffer(fault, chance).await,
                None => Ok(()),
            },
        }
    }

    async fn fill_the_disk(&mut self, chance: &mut Chance) -> Result<()> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        disk.fill()?;
        sleep(chance.millis(500, 8_000)).await;
        if chance.below(3) == 0 {
            self.agents[0].kill()?;
            self.agents[0].spawn()?;
            sleep(chance.millis(0, 2_000)).await;
            disk.free()?;
            return self.come_up(0).await;
        }
        disk.free()
    }

    /// A start on a full disk may end with an error that says so; the next one must not.
    async fn come_up(&mut self, agent: usize) -> Result<()> {
        match self.agents[agent].ready().await {
            Ok(()) => Ok(()),
            Err(_) if self.agents[agent].has_ended()? => self.agents[agent].start().await,
            Err(error) => Err(error),
        }
    }

    /// Most bytes of WAL files that an agent has, and temporary objects of all.
    fn leftovers(&self) -> Result<(u64, usize)> {
        let (mut wal_bytes_each, mut temporary) = (0, 0);
        for home in &self.folders {
            let mut wal_bytes = 0;
            for file in files(&home.join("data/wal"))? {
                wal_bytes += file.metadata()?.len();
            }
            wal_bytes_each = wal_bytes.max(wal_bytes_each);
            let left = files(&home.join("data/bucket/.tmp"))?;
            temporary += left.iter().filter(|f| f.file_name() != LOCK).count();
        }
        Ok((wal_bytes_each, temporary))
    }
}

fn set(settings: &[&str]) -> Vec<String> {
    let flag = |setting: &&str| ["--set".to_owned(), (*setting).to_owned()];
    settings.iter().flat_map(flag).collect()
}

fn files(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(listing) => Ok(listing.collect::<Result<_, _>>()?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

async fn strike(agent: &mut Agent, fault: Fault, chance: &mut Chance) -> Result<()> {
    match fault {
        Fault::Pause | Fault::LongPause => {
            agent.pause()?;
            sleep(match fault {
                Fault::Pause => chance.millis(100, 4_000),
                _ => LONG_PAUSE + chance.millis(0, 5_000),
            })
            .await;
            agent.resume()
        }
        Fault::Drain => {
            let status = agent.drain().await?;
            ensure!(
                status.success(),
                "drained with {status}:\n{}",
                agent.log_tail()
            );
            agent.start().await
        }
        _ => {
            agent.kill()?;
            agent.spawn()?;
            if fault == Fault::KillInStart {
                sleep(chance.millis(0, 400)).await;
                agent.kill()?;
                agent.spawn()?;
            }
            agent.ready().await
        }
    }
}

impl Stores {
    async fn suffer(&mut self, fault: Fault, chance: &mut Chance) -> Result<()> {
        let lasting = chance.millis(200, 4_000);
        match fault {
            Fault::BucketUnavailable => self.weather(Weather::Unavailable, lasting).await,
            Fault::BucketStalled => self.weather(Weather::Stalled, lasting).await,
            Fault::BucketAnswersLost => self.weather(Weather::AnswersLost, lasting).await,
            Fault::BucketAnswersLate => {
                let lasting = ANSWER_MAX + lasting;
                self.weather(Weather::AnswersLate, lasting).await;
            }
            Fault::DatabaseAnswersLost => {
                self.wire.lose(2 + chance.below(20));
                sleep(lasting).await;
                self.wire.lose(0);
            }
            Fault::BucketSlow => {
                let slow = Weather::SlowPuts(chance.millis(50, 800));
                self.weather(slow, lasting).await;
            }
            Fault::BucketCrash => return self.minio.crash(lasting).await,
            Fault::DatabaseRestart => return self.postgres.control("restart").await,
            Fault::DatabaseCrash => return self.postgres.control("crash").await,
            Fault::DatabaseAway => return self.without_database("stop", "start", lasting).await,
            _ => return self.without_database("pause", "resume", lasting).await,
        }
        Ok(())
    }

    async fn weather(&self, weather: Weather, lasting: Duration) {
        self.proxy.set(weather);
        sleep(lasting).await;
        self.proxy.set(Weather::Clear);
    }

    async fn without_database(
        &self,
        away: &'static str,
        back: &'static str,
        lasting: Duration,
    ) -> Result<()> {
        self.postgres.control(away).await?;
        sleep(lasting).await;
        self.postgres.control(back).await
    }
}

/// Runs for so long, under `folder`. An error says who was stuck or did not come back.
pub async fn run(
    place: Place,
    folder: &Path,
    lasting: Duration,
    mut chance: Chance,
) -> Result<Report> {
    let flights = flights::load()?;
    let mut world = World::start(place, folder, &QUICK_GROUPS).await?;
    let addresses: Vec<String> = world.agents.iter().map(Agent::address).collect();
    let mut writers = chance.fork();
    let scene = Scene::begin(&addresses, &everybody(), &flights, PAUSE, &mut writers).await?;
    scene.progress(500, RECOVERY_MAX).await?;
    let bootstrap = addresses.join(",");
    let copiers = Copiers::begin(&bootstrap, &copyings(), &mut writers).await?;
    let watch = Watch::start(&bootstrap, copiers.names());
    copiers.progress(GROUP_RECOVERY_MAX).await?;
    let (faults, started) = (Fault::of(place), Instant::now());
    let (mut happened, mut resident_bytes_max) = (BTreeMap::new(), 0);
    let (mut slowest, mut slowest_group) = (Duration::ZERO, Duration::ZERO);
    while started.elapsed() < lasting {
        let fault = chance.one_of(&faults);
        println!("{:>6} s  {fault:?}", started.elapsed().as_secs());
        world.suffer(fault, &mut chance).await?;
        *happened.entry(fault).or_default() += 1;
        let since = Instant::now();
        scene.progress(200, RECOVERY_MAX).await?;
        slowest = slowest.max(since.elapsed());
        copiers.progress(GROUP_RECOVERY_MAX).await?;
        slowest_group = slowest_group.max(since.elapsed());
        for agent in &world.agents {
            resident_bytes_max = resident_bytes_max.max(agent.resident_bytes()?);
        }
        sleep(chance.millis(CALM.0, CALM.1)).await;
    }
    let leases = match place {
        Place::Bare | Place::Folder => Leases::Kept,
        Place::Pair => Leases::MayBeLost,
    };
    let verdict = scene.end(leases).await?;
    let copies = copiers.end().await?;
    let watched = watch.stop().await?;
    for agent in &mut world.agents {
        agent.drain().await?;
    }
    let (wal_bytes_each, temporary_objects) = world.leftovers()?;
    Ok(Report {
        verdict,
        copies,
        watched,
        faults: happened,
        slowest,
        slowest_group,
        resident_bytes_max,
        wal_bytes_each,
        temporary_objects,
    })
}

/// Who publishes an object holds this file; it stays.
const LOCK: &str = "lock";
/// The WAL's floor: the file that is written, and the one made ahead.
const WAL_FLOOR: u64 = 2 * 64 * 1024 * 1024;
/// What an agent may have resident: request memory and cache at their defaults, and as much again for everything else.
const RESIDENT_MAX: u64 = 1024 * 1024 * 1024;

impl Report {
    /// An error where a promise was broken or something did not come to rest.
    pub fn must_be_clean(&self) -> Result<()> {
        self.verdict.must_be_clean()?;
        self.copies.must_be_clean()?;
        self.watched.must_be_clean()?;
        ensure!(
            self.temporary_objects == 0,
            "{} temporary objects were left",
            self.temporary_objects
        );
        ensure!(
            self.wal_bytes_each <= WAL_FLOOR,
            "a drained agent left {} bytes of WAL",
            self.wal_bytes_each
        );
        ensure!(
            self.resident_bytes_max < RESIDENT_MAX,
            "an agent had {} MiB resident",
            self.resident_bytes_max >> 20
        );
        Ok(())
    }
}
