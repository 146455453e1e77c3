//! WriteTxnMarkers (KIP-98, KIP-664): an administrator ends a transaction that hangs in a partition.
use kafka_protocol::messages::{
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
    write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    },
};
use sh_base::ProducerId;
use sh_node::MarkerChoice;

use crate::{
    door::Ctx,
    errors::{self, NONE},
};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let choice = choice(&marker);
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

fn choice(marker: &WritableTxnMarker) -> MarkerChoice {
    MarkerChoice {
        producer: ProducerId(marker.producer_id.0),
        epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        commit: marker.transaction_result,
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
