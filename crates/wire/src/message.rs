//! Any request and any answer, by the structs of `kafka-protocol`.
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestKind, ResponseHeader},
    protocol::{Encodable, HeaderVersion, Request},
};

use crate::{RequestHeader, WireError, frame, schema};

/// Reads the body of a request. Its arrays are walked over first: the decoder behind this makes room for as many elements as
/// a frame claims to have.
pub fn decode_request<T: Request>(header: &RequestHeader, body: &Bytes) -> Result<T, WireError> {
    if header.api as i16 != T::KEY {
        return Err(WireError::malformed(format_args!(
            "{:?} read as another request",
            header.api
        )));
    }
    check_version(header.api, header.version, T::VERSIONS)?;
    schema::check(header.api, header.version, body)?;
    T::decode(&mut body.clone(), header.version).map_err(WireError::malformed)
}

/// Reads the body of whatever request it is, guarded as [`decode_request`] is.
pub fn decode_any_request(header: &RequestHeader, body: &Bytes) -> Result<RequestKind, WireError> {
    schema::check(header.api, header.version, body)?;
    RequestKind::decode(header.api, &mut body.clone(), header.version).map_err(WireError::malformed)
}

/// A whole frame with this answer: length, header of the right version, body.
pub fn encode_response<T: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &T,
) -> Result<Bytes, WireError> {
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    encode(&header, T::header_version(version), response, version)
}

/// A frame of a header and a body.
pub(crate) fn encode<H: Encodable, T: Encodable>(
    header: &H,
    header_version: i16,
    body: &T,
    version: i16,
) -> Result<Bytes, WireError> {
    let header_size = header
        .compute_size(header_version)
        .map_err(WireError::malformed)?;
    let body_size = body.compute_size(version).map_err(WireError::malformed)?;
    let mut out = BytesMut::with_capacity(frame::LENGTH_BYTES + header_size + body_size);
    out.resize(frame::LENGTH_BYTES, 0);
    header
        .encode(&mut out, header_version)
        .map_err(WireError::malformed)?;
    body.encode(&mut out, version)
        .map_err(WireError::malformed)?;
    frame::seal(out)
}

pub(crate) fn check_version(
    api: ApiKey,
    version: i16,
    known: kafka_protocol::protocol::VersionRange,
) -> Result<(), WireError> {
    let (min, max) = (known.min, known.max);
    if (min..=max).contains(&version) {
        return Ok(());
    }
    Err(WireError::UnsupportedVersion {
        api: format!("{api:?}"),
        version,
        min,
        max,
    })
}
