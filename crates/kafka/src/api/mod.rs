//! One module for each API key, and the table of what is served.
//!
//! A module has `pub async fn handle(ctx: &Ctx, version: i16, request: XRequest) -> XResponse`: it translates the request into calls
//! of `node` and their outcomes into the response; a handler cannot fail. A line in [`apis!`] makes it served and advertised:
//! **an advertised version is a promise for every field of it.**
//!
//! Two APIs carry records and have their own form: Produce starts in the order of the requests and is answered later, Fetch is
//! answered with slices of the cache.
mod api_versions;

use kafka_protocol::{messages::*, protocol::Request};
use sh_wire::{ApiKey, RequestHeader, decode_request, encode_response};

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
}

/// `XRequest` without its ending.
const fn api_name(request: &'static str) -> &'static str {
    let (name, _) = request.split_at(request.len() - "Request".len());
    name
}

/// All that is served, by key: the answer to ApiVersions.
pub fn served() -> Vec<Api> {
    let mut all = PLAIN.to_vec();
    all.sort_by_key(|api| api.key);
    all
}

/// A request of a version that is served, ready to start.
pub enum Opened {
    Plain(Ctx, Incoming<Charge>),
    /// ApiVersions at a version from the future.
    Downgrade(RequestHeader),
}

/// Opens a request of any kind. An unknown key or version ends the connection, as with Apache Kafka; only ApiVersions says what would
/// have been understood.
pub fn open(ctx: Ctx, incoming: Incoming<Charge>) -> Result<Opened, Closing> {
    let RequestHeader { api, version, .. } = incoming.header;
    match PLAIN.iter().find(|served| served.key == api as i16) {
        Some(served) if served.speaks(version) => Ok(Opened::Plain(ctx, incoming)),
        Some(_) if api == ApiKey::ApiVersions => Ok(Opened::Downgrade(incoming.header)),
        _ => Err(Closing::Unsupported { api, version }),
    }
}

impl Opened {
    pub fn runs_ahead(&self) -> bool {
        false
    }

    pub fn start(self) -> Answering {
        match self {
            Opened::Plain(ctx, incoming) => start_plain(ctx, incoming),
            Opened::Downgrade(header) => Box::pin(async move { api_versions::downgrade(&header) }),
        }
    }
}

fn unsupported(header: &RequestHeader) -> Answering {
    let closing = Closing::Unsupported {
        api: header.api,
        version: header.version,
    };
    Box::pin(async { Err(closing) })
}
