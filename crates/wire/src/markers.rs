//! WriteTxnMarkers requests of versions 1 and 2. `kafka-protocol` knows version 1; version 2 (KIP-1228) has one byte more at the
//! end of each marker, which is taken out here before the rest is decoded.
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, WriteTxnMarkersRequest, write_txn_markers_request::WritableTxnMarker},
    protocol::{Decodable, VersionRange},
};

use crate::{RequestHeader, WireError, message::check_version, reader::Reader, schema};

const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };
/// The version of a marker's transaction where none is given.
const LEGACY: i8 = 0;

/// Markers to write, each with the version of its transaction (`transaction.version`).
#[derive(Clone, Debug, PartialEq)]
pub struct MarkersRequest {
    pub markers: Vec<(WritableTxnMarker, i8)>,
}

impl MarkersRequest {
    pub fn decode(header: &RequestHeader, body: &Bytes) -> Result<MarkersRequest, WireError> {
        check_version(ApiKey::WriteTxnMarkers, header.version, VERSIONS)?;
        // Every element is really there: see `schema`.
        schema::check(header.api, header.version, body)?;
        let (known, versions) = match header.version {
            1 => (body.clone(), None),
            _ => without_versions(body).map(|(known, versions)| (known, Some(versions)))?,
        };
        let request = WriteTxnMarkersRequest::decode(&mut known.clone(), 1);
        let markers = request.map_err(WireError::malformed)?.markers;
        let versions = versions.unwrap_or_else(|| vec![LEGACY; markers.len()]);
        Ok(MarkersRequest {
            markers: markers.into_iter().zip(versions).collect(),
        })
    }
}

/// The body as version 1 has it, and what was taken out.
fn without_versions(body: &Bytes) -> Result<(Bytes, Vec<i8>), WireError> {
    let mut reader = Reader::new(body);
    let (mut known, mut versions) = (BytesMut::with_capacity(body.len()), Vec::new());
    let mut from = 0;
    for _ in 0..reader.length(true, "markers")?.unwrap_or(0) {
        reader.skip(8 + 2 + 1, "producer, epoch, result")?;
        for _ in 0..reader.length(true, "topics")?.unwrap_or(0) {
            reader.string(true, "topic")?;
            let partitions = reader.length(true, "partitions")?.unwrap_or(0);
            reader.skip(partitions * 4, "partitions")?;
            reader.skip_tagged_fields()?;
        }
        reader.skip(4, "coordinator epoch")?;
        let before = body.get(from..reader.at()).unwrap_or_default();
        known.extend_from_slice(before);
        versions.push(reader.i8("transaction version")?);
        from = reader.at();
        reader.skip_tagged_fields()?;
    }
    known.extend_from_slice(body.get(from..).unwrap_or_default());
    Ok((known.freeze(), versions))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::write_txn_markers_request::WritableTxnMarkerTopic,
        protocol::{Encodable, StrBytes},
    };

    use super::*;

    fn header(version: i16) -> RequestHeader {
        RequestHeader {
            api: ApiKey::WriteTxnMarkers,
            version,
            correlation_id: 7,
            client_id: None,
        }
    }

    fn marker(producer: i64) -> WritableTxnMarker {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(StrBytes::from_static_str("t").into())
            .with_partition_indexes(vec![0, 300]);
        WritableTxnMarker::default()
            .with_producer_id(producer.into())
            .with_producer_epoch(3)
            .with_topics(vec![topic])
            .with_coordinator_epoch(9)
    }

    #[test]
    fn a_marker_of_version_2_has_a_byte_more() {
        let request = |markers| WriteTxnMarkersRequest::default().with_markers(markers);
        let mut one = BytesMut::new();
        request(vec![marker(1)]).encode(&mut one, 1).unwrap();
        let one = one.freeze();
        let decoded = MarkersRequest::decode(&header(1), &one).unwrap();
        assert_eq!(decoded.markers, [(marker(1), 0)]);

        // The last two bytes are the tagged fields of the marker and of the request.
        let (head, tags) = one.split_at(one.len() - 2);
        let two = Bytes::from([head, &[2], tags].concat());
        let decoded = MarkersRequest::decode(&header(2), &two).unwrap();
        assert_eq!(decoded.markers, [(marker(1), 2)]);
        for cut in 0..two.len() {
            assert!(MarkersRequest::decode(&header(2), &two.slice(..cut)).is_err());
        }
    }
}
