//! What all connections share, and what a handler gets to see.
use std::{ops::Deref, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sh_base::{Org, limits};
use sh_node::{Caller, Node, telemetry::TelemetryClient};
use sh_wire::{ApiKey, RequestHeader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    api,
    connection::{Answering, Limits, Service},
    frames::{Closing, Incoming},
    places::PlacesMax,
    sessions::Sessions,
};

/// Memory that is held for a request's frame.
///
/// What writes and what does not have a budget each: while the bucket is away, requests that wait for it fill theirs, and
/// consumers and administrators must still be read.
pub enum Charge {
    Write(Arc<sh_node::Charge>),
    Other(Option<OwnedSemaphorePermit>),
}

/// The budget is counted in units of this many bytes.
const MEMORY_UNIT: usize = 1024;

/// The settings of the door. Names in parentheses are Kafka's.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Connections at once; one more is closed as soon as it is accepted. `max.connections` may set less.
    pub connections_max: usize,
    pub limits: Limits,
    /// How long the requests that were read before a stop may take to be answered.
    pub drain_max: Duration,
    /// What requests that do not write may hold in memory, bytes; past it they are not read. A request that is larger gets all
    /// there is.
    pub memory_bytes_max: usize,
    /// Fetch sessions that are kept (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
    /// The largest fetch answer, bytes of records (`fetch.max.bytes` of a broker).
    pub fetch_bytes_max: usize,
}

impl Default for DoorConfig {
    fn default() -> Self {
        DoorConfig {
            connections_max: 100_000,
            limits: Limits {
                frame_bytes_max: limits::FRAME_BYTES_MAX,
                pipeline_bytes_max: 64 * 1024 * 1024,
                pipeline_requests_max: 10_000,
                idle_max: Duration::from_secs(600),
                stall_max: Duration::from_secs(60),
            },
            drain_max: Duration::from_secs(30),
            memory_bytes_max: 128 * 1024 * 1024,
            fetch_sessions_max: 1_000,
            fetch_bytes_max: 55 * 1024 * 1024,
        }
    }
}

/// The Kafka door of a node; cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

pub struct Inner {
    pub node: Node,
    pub config: DoorConfig,
    pub sessions: Sessions,
    memory: Arc<Semaphore>,
}

impl Door {
    pub fn new(node: Node, config: DoorConfig) -> Door {
        let sessions = Sessions::new(config.fetch_sessions_max);
        let memory = Arc::new(Semaphore::new(config.memory_bytes_max / MEMORY_UNIT));
        Door(Arc::new(Inner {
            node,
            config,
            sessions,
            memory,
        }))
    }

    /// How many connections there may be now.
    pub(crate) fn places_max(&self) -> PlacesMax {
        let broker = self.node.broker();
        let set = |name: &str| usize::try_from(broker.number(name)).ok().filter(|n| *n > 0);
        let all = set("max.connections").unwrap_or(usize::MAX);
        PlacesMax {
            all: all.min(self.config.connections_max),
            from_one_address: set("max.connections.per.ip").unwrap_or(usize::MAX),
        }
    }
}

impl Deref for Door {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What a request handler may know beside its request.
pub struct Ctx {
    pub door: Door,
    /// Who asks.
    pub caller: Caller,
    /// What asks.
    pub software: Arc<Software>,
}

impl Ctx {
    pub fn node(&self) -> &Node {
        &self.door.node
    }
}

/// The program at the other end of a connection.
pub struct Software {
    /// Its port.
    port: u16,
    /// Its name and version, as it gave them with ApiVersions (KIP-511).
    named: Mutex<Option<(String, String)>>,
}

impl Software {
    pub fn at(port: u16) -> Software {
        Software {
            port,
            named: Mutex::default(),
        }
    }

    pub fn says(&self, name: &str, version: &str) {
        *self.named.lock() = Some((name.to_owned(), version.to_owned()));
    }

    /// As telemetry knows it.
    pub fn telemetry(&self) -> TelemetryClient {
        let unknown = || ("unknown".to_owned(), "unknown".to_owned());
        let (software_name, software_version) = self.named.lock().clone().unwrap_or_else(unknown);
        TelemetryClient {
            software_name,
            software_version,
            port: self.port,
        }
    }
}

/// The door as one connection sees it.
#[derive(Clone)]
pub struct Session {
    pub door: Door,
    /// The client's address.
    pub host: Arc<str>,
    pub software: Arc<Software>,
}

impl Session {
    fn ctx(&self, header: &RequestHeader) -> Ctx {
        let caller = Caller {
            org: Org::default(),
            principal: "User:ANONYMOUS".into(),
            client_id: header.client_id.as_ref().map(|id| id.to_string()),
            host: self.host.to_string(),
        };
        Ctx {
            door: self.door.clone(),
            caller,
            software: self.software.clone(),
        }
    }
}

impl Service for Session {
    type Charge = Charge;
    type Request = api::Opened;

    async fn reserve(&self, api_key: i16, frame_bytes: usize) -> Charge {
        if api_key == ApiKey::Produce as i16 {
            return Charge::Write(self.door.node.reserve(frame_bytes).await);
        }
        let all = self.door.config.memory_bytes_max / MEMORY_UNIT;
        let wanted = frame_bytes.div_ceil(MEMORY_UNIT).min(all);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        // Only a closed semaphore is an error, and nobody closes this one.
        Charge::Other(
            self.door
                .memory
                .clone()
                .acquire_many_owned(wanted)
                .await
                .ok(),
        )
    }

    fn open(&self, incoming: Incoming<Charge>) -> Result<api::Opened, Closing> {
        api::open(self.ctx(&incoming.header), incoming)
    }

    fn runs_ahead(&self, request: &api::Opened) -> bool {
        request.runs_ahead()
    }

    fn waits_for_news(&self, request: &api::Opened) -> bool {
        request.waits_for_news()
    }

    fn start(&self, request: api::Opened) -> Answering {
        request.start()
    }
}
