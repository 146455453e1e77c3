//! The client's direction: requests out, answers in.
use bytes::Bytes;
use kafka_protocol::{
    messages::{self, ApiKey},
    protocol::{Decodable, Request, StrBytes},
};

use crate::{WireError, header, message, reader::Reader};

/// A whole frame with this request: length, header of the right version, body.
pub fn encode_request<T: Request>(
    correlation_id: i32,
    client_id: &StrBytes,
    version: i16,
    request: &T,
) -> Result<Bytes, WireError> {
    let header = messages::RequestHeader::default()
        .with_request_api_key(T::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    message::encode(&header, T::header_version(version), request, version)
}

/// Which request a frame answers. (The header version need not be known for this.)
pub fn correlation_id(frame: &Bytes) -> Result<i32, WireError> {
    Reader::new(frame).i32("the correlation id")
}

/// The body of an answer frame to a request of this key and version.
pub fn response_body(api: ApiKey, version: i16, frame: &Bytes) -> Result<Bytes, WireError> {
    let mut reader = Reader::new(frame);
    reader.i32("the correlation id")?;
    if header::response_header_version(api, version) >= 1 {
        reader.skip_tagged_fields()?;
    }
    Ok(frame.slice(reader.at()..))
}

/// The answer in `frame` to a request `T` of this version. Answers come from servers that the user chose: their arrays are
/// not checked beforehand, as those of requests are.
pub fn decode_response<T: Request>(version: i16, frame: &Bytes) -> Result<T::Response, WireError> {
    let api = ApiKey::try_from(T::KEY).map_err(|()| WireError::UnknownApi { key: T::KEY })?;
    let mut body = response_body(api, version, frame)?;
    T::Response::decode(&mut body, version).map_err(WireError::malformed)
}
