//! What all connections share, and what a handler gets to see.
use std::{ops::Deref, sync::Arc, time::Duration};

use sh_base::{Org, limits};
use sh_node::{Caller, Node};
use sh_wire::RequestHeader;

use crate::{
    api,
    connection::{Answering, Limits, Service},
    frames::{Closing, Incoming},
    sessions::Sessions,
};

/// Memory that is held for a request's frame.
pub type Charge = Arc<sh_node::Charge>;

/// The settings of the door. Names in parentheses are Kafka's.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Connections at once (`max.connections`); one more is closed as soon as it is accepted.
    pub connections_max: usize,
    pub limits: Limits,
    /// How long the requests that were read before a stop may take to be answered.
    pub drain_max: Duration,
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
}

impl Door {
    pub fn new(node: Node, config: DoorConfig) -> Door {
        let sessions = Sessions::new(config.fetch_sessions_max);
        Door(Arc::new(Inner {
            node,
            config,
            sessions,
        }))
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
}

impl Ctx {
    pub fn node(&self) -> &Node {
        &self.door.node
    }
}

/// The door as one connection sees it.
#[derive(Clone)]
pub struct Session {
    pub door: Door,
    /// The client's address.
    pub host: Arc<str>,
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
        }
    }
}

impl Service for Session {
    type Charge = Charge;
    type Request = api::Opened;

    async fn reserve(&self, frame_bytes: usize) -> Charge {
        self.door.node.reserve(frame_bytes).await
    }

    fn open(&self, incoming: Incoming<Charge>) -> Result<api::Opened, Closing> {
        api::open(self.ctx(&incoming.header), incoming)
    }

    fn runs_ahead(&self, request: &api::Opened) -> bool {
        request.runs_ahead()
    }

    fn start(&self, request: api::Opened) -> Answering {
        request.start()
    }
}
