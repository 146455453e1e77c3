//! Headers of requests and answers.
use bytes::Bytes;
use kafka_protocol::{messages::ApiKey, protocol::StrBytes};

use crate::{WireError, reader::Reader};

/// What stands in front of every request.
///
/// The client id is a string with a 16-bit length in both header versions, though version 2 is flexible otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: ApiKey,
    /// As the client says; perhaps one that we do not support (see [`crate::decode_request`]).
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
}

impl RequestHeader {
    /// Reads the header of a request frame; also returns the request's body. The header can be read at any version, so that
    /// an ApiVersions request of a version that is too new can be answered (with version 0 and UNSUPPORTED_VERSION).
    pub fn decode(frame: &Bytes) -> Result<(RequestHeader, Bytes), WireError> {
        let mut reader = Reader::new(frame);
        let key = reader.i16("the api key")?;
        let version = reader.i16("the api version")?;
        let correlation_id = reader.i32("the correlation id")?;
        let api = ApiKey::try_from(key).map_err(|()| WireError::UnknownApi { key })?;
        let client_id = reader.string(false, "the client id")?;
        let client_id = client_id
            .map(|at| string(frame.slice(at), "the client id"))
            .transpose()?;
        if request_header_version(api, version) >= 2 {
            reader.skip_tagged_fields()?;
        }
        let header = RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        };
        Ok((header, frame.slice(reader.at()..)))
    }
}

/// 1, or 2 for flexible requests.
pub fn request_header_version(api: ApiKey, version: i16) -> i16 {
    api.request_header_version(version)
}

/// 0, or 1 for flexible answers; always 0 for ApiVersions, whose client cannot know yet what we speak (KIP-511).
pub fn response_header_version(api: ApiKey, version: i16) -> i16 {
    api.response_header_version(version)
}

pub(crate) fn string(bytes: Bytes, what: &'static str) -> Result<StrBytes, WireError> {
    StrBytes::from_utf8(bytes)
        .map_err(|_| WireError::malformed(format_args!("{what} is not UTF-8")))
}
