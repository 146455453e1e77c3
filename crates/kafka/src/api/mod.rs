//! One module for each API key, and the table of what is served.
//!
//! A module has `pub async fn handle(ctx: &Ctx, version: i16, request: XRequest) -> XResponse`: it translates the request into calls
//! of `node` and their outcomes into the response; a handler cannot fail. A line in `apis!` makes it served and advertised:
//! **an advertised version is a promise for every field of it.**
//!
//! Three APIs have their own form: Produce starts in the order of the requests and is answered later, Fetch is answered with slices
//! of the cache, and WriteTxnMarkers has a version that is read by hand.
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod api_versions;
mod commits;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod get_telemetry_subscriptions;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
pub mod names;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod push_telemetry;
mod shape;
mod sync_group;
mod transactions;
mod txn_offset_commit;
mod update_features;
mod write_txn_markers;

use futures::FutureExt;
use kafka_protocol::{messages::*, protocol::Request};
use sh_wire::{ApiKey, RequestHeader, decode_request, encode_response};
use tokio::time::Instant;

use self::produce::OpenedProduce;
use crate::{
    connection::Answering,
    door::{Charge, Ctx},
    frames::{Closing, Incoming},
};

/// An API and the versions of it that ApiVersions tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

impl Api {
    pub fn speaks(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// What is served besides Produce and Fetch: request type, first and last version, module.
macro_rules! apis {
    ($($request:ident, $min:literal..=$max:literal, $module:ident;)*) => {
        const PLAIN: &[Api] = &[$(Api {
            key: <$request as Request>::KEY,
            name: api_name(stringify!($request)),
            min: $min,
            max: $max,
        },)*];

        fn start_plain(ctx: Ctx, Incoming { header, body, charge }: Incoming<Charge>) -> Answering {
            match header.api as i16 {
                $(<$request as Request>::KEY => Box::pin(async move {
                    let _held = charge;
                    let request: $request = decode_request(&header, &body)?;
                    let response = $module::handle(&ctx, header.version, request).await;
                    Ok(vec![encode_response(header.correlation_id, header.version, &response)?])
                }),)*
                _ => unsupported(&header),
            }
        }
    };
}

apis! {
    ApiVersionsRequest, 0..=4, api_versions;
    ListOffsetsRequest, 1..=10, list_offsets;
    InitProducerIdRequest, 0..=5, init_producer_id;
    FindCoordinatorRequest, 0..=6, find_coordinator;
    AddPartitionsToTxnRequest, 0..=5, add_partitions_to_txn;
    AddOffsetsToTxnRequest, 0..=4, add_offsets_to_txn;
    TxnOffsetCommitRequest, 0..=5, txn_offset_commit;
    EndTxnRequest, 0..=5, end_txn;
    DescribeTransactionsRequest, 0..=0, describe_transactions;
    ListTransactionsRequest, 0..=2, list_transactions;
    OffsetForLeaderEpochRequest, 2..=4, offset_for_leader_epoch;
    DescribeProducersRequest, 0..=0, describe_producers;
    CreateTopicsRequest, 2..=7, create_topics;
    DeleteTopicsRequest, 1..=6, delete_topics;
    CreatePartitionsRequest, 0..=3, create_partitions;
    DeleteRecordsRequest, 0..=2, delete_records;
    MetadataRequest, 0..=13, metadata;
    DescribeTopicPartitionsRequest, 0..=0, describe_topic_partitions;
    UpdateFeaturesRequest, 0..=2, update_features;
    DescribeClusterRequest, 0..=2, describe_cluster;
    DescribeQuorumRequest, 0..=2, describe_quorum;
    DescribeLogDirsRequest, 1..=4, describe_log_dirs;
    ElectLeadersRequest, 0..=2, elect_leaders;
    ListPartitionReassignmentsRequest, 0..=0, list_partition_reassignments;
    DescribeConfigsRequest, 1..=4, describe_configs;
    AlterConfigsRequest, 0..=2, alter_configs;
    IncrementalAlterConfigsRequest, 0..=1, incremental_alter_configs;
    ListConfigResourcesRequest, 0..=1, list_config_resources;
    JoinGroupRequest, 0..=9, join_group;
    SyncGroupRequest, 0..=5, sync_group;
    HeartbeatRequest, 0..=4, heartbeat;
    LeaveGroupRequest, 0..=5, leave_group;
    OffsetCommitRequest, 2..=9, offset_commit;
    OffsetFetchRequest, 1..=9, offset_fetch;
    OffsetDeleteRequest, 0..=0, offset_delete;
    DescribeGroupsRequest, 0..=6, describe_groups;
    ListGroupsRequest, 0..=5, list_groups;
    DeleteGroupsRequest, 0..=2, delete_groups;
    ConsumerGroupHeartbeatRequest, 0..=1, consumer_group_heartbeat;
    ConsumerGroupDescribeRequest, 0..=1, consumer_group_describe;
    GetTelemetrySubscriptionsRequest, 0..=0, get_telemetry_subscriptions;
    PushTelemetryRequest, 0..=0, push_telemetry;
}

/// `XRequest` without its ending.
const fn api_name(request: &'static str) -> &'static str {
    let (name, _) = request.split_at(request.len() - "Request".len());
    name
}

/// Those with a form of their own. Produce is advertised from version 0 and served from 3, as by Apache Kafka: old librdkafka turns
/// compression off where it does not see version 0 (KIP-896).
const OWN_FORM: &[Api] = &[
    Api {
        key: ProduceRequest::KEY,
        name: "Produce",
        min: 0,
        max: 13,
    },
    Api {
        key: FetchRequest::KEY,
        name: "Fetch",
        min: 4,
        max: 18,
    },
    Api {
        key: WriteTxnMarkersRequest::KEY,
        name: "WriteTxnMarkers",
        min: 1,
        max: 2,
    },
];
const PRODUCE_SERVED_SINCE: i16 = 3;

fn all() -> impl Iterator<Item = &'static Api> {
    OWN_FORM.iter().chain(PLAIN)
}

/// All that is served, by key: the answer to ApiVersions.
pub fn served() -> Vec<Api> {
    let mut all: Vec<Api> = all().copied().collect();
    all.sort_by_key(|api| api.key);
    all
}

/// A request of a version that is served, ready to start.
pub struct Opened {
    api: &'static Api,
    kind: Kind,
}

enum Kind {
    Plain(Ctx, Incoming<Charge>),
    Fetch(Ctx, Incoming<Charge>),
    Markers(Ctx, Incoming<Charge>),
    Produce(Box<OpenedProduce>),
    /// ApiVersions at a version from the future.
    Downgrade(RequestHeader),
}

/// Opens a request of any kind. An unknown key or version ends the connection, as with Apache Kafka; only ApiVersions says what
/// would have been understood.
pub fn open(ctx: Ctx, incoming: Incoming<Charge>) -> Result<Opened, Closing> {
    let RequestHeader {
        api: key, version, ..
    } = incoming.header;
    let unsupported = Closing::Unsupported { api: key, version };
    let Some(api) = all().find(|api| api.key == key as i16) else {
        return Err(unsupported);
    };
    let kind = match key {
        ApiKey::ApiVersions if !api.speaks(version) => Kind::Downgrade(incoming.header),
        _ if !api.speaks(version) => return Err(unsupported),
        ApiKey::Produce if version < PRODUCE_SERVED_SINCE => return Err(unsupported),
        ApiKey::Produce => Kind::Produce(Box::new(produce::open(ctx, incoming)?)),
        ApiKey::Fetch => Kind::Fetch(ctx, incoming),
        ApiKey::WriteTxnMarkers => Kind::Markers(ctx, incoming),
        _ => Kind::Plain(ctx, incoming),
    };
    Ok(Opened { api, kind })
}

impl Opened {
    /// Produce requests of a connection run at the same time.
    pub fn runs_ahead(&self) -> bool {
        matches!(&self.kind, Kind::Produce(produce) if produce.runs_ahead())
    }

    /// Only a fetch is a long poll.
    pub fn waits_for_news(&self) -> bool {
        matches!(self.kind, Kind::Fetch(..))
    }

    pub fn start(self) -> Answering {
        let api = self.api.name;
        metrics::counter!("streamhouse_kafka_requests_total", "api" => api).increment(1);
        let since = Instant::now();
        let answering = match self.kind {
            Kind::Fetch(ctx, incoming) => fetch::start(ctx, incoming),
            Kind::Markers(ctx, incoming) => write_txn_markers::start(ctx, incoming),
            Kind::Plain(ctx, incoming) => start_plain(ctx, incoming),
            Kind::Produce(produce) => produce.start(),
            Kind::Downgrade(header) => Box::pin(async move { api_versions::downgrade(&header) }),
        };
        let took = move || {
            metrics::histogram!("streamhouse_kafka_request_seconds", "api" => api)
                .record(since.elapsed());
        };
        Box::pin(answering.inspect(move |_| took()))
    }
}

fn unsupported(header: &RequestHeader) -> Answering {
    let closing = Closing::Unsupported {
        api: header.api,
        version: header.version,
    };
    Box::pin(async { Err(closing) })
}
