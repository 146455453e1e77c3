//! WriteTxnMarkers (KIP-98, KIP-664, KIP-1228): an administrator ends a transaction that hangs in a partition.
use kafka_protocol::messages::{
    WriteTxnMarkersResponse,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
    write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    },
};
use sh_base::ProducerId;
use sh_node::MarkerChoice;

use sh_wire::{MarkersRequest, encode_response};

use crate::{
    connection::Answering,
    door::{Charge, Ctx},
    errors::{self, NONE},
    frames::Incoming,
};

/// Version 2 is newer than the library that codes the others: its request is read by hand, and its answer is that of version 1.
const ANSWERED_AS: i16 = 1;

pub fn start(
    ctx: Ctx,
    Incoming {
        header,
        body,
        charge,
    }: Incoming<Charge>,
) -> Answering {
    Box::pin(async move {
        let _held = charge;
        let request = MarkersRequest::decode(&header, &body)?;
        let response = handle(&ctx, request).await;
        Ok(vec![encode_response(
            header.correlation_id,
            ANSWERED_AS,
            &response,
        )?])
    })
}

async fn handle(ctx: &Ctx, request: MarkersRequest) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for (marker, transaction_version) in request.markers {
        let choice = choice(&marker, transaction_version);
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in marker.topics {
            topics.push(write(ctx, topic, choice).await);
        }
        markers.push(
            WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(topics),
        );
    }
    WriteTxnMarkersResponse::default().with_markers(markers)
}

fn choice(marker: &WritableTxnMarker, transaction_version: i8) -> MarkerChoice {
    MarkerChoice {
        producer: ProducerId(marker.producer_id.0),
        epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        commit: marker.transaction_result,
        transaction_version,
    }
}

async fn write(
    ctx: &Ctx,
    topic: WritableTxnMarkerTopic,
    choice: MarkerChoice,
) -> WritableTxnMarkerTopicResult {
    let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
    for index in topic.partition_indexes {
        let written = ctx
            .node()
            .write_marker(&ctx.caller, &topic.name, index, choice)
            .await;
        let code = written.map_or_else(|failure| errors::code(&failure), |()| NONE);
        partitions.push(
            WritableTxnMarkerPartitionResult::default()
                .with_partition_index(index)
                .with_error_code(code),
        );
    }
    WritableTxnMarkerTopicResult::default()
        .with_name(topic.name)
        .with_partitions(partitions)
}
