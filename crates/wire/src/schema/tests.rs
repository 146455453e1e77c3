use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestKind;
use proptest::prelude::*;

use super::*;
use crate::writer::{put_length, put_null, put_nullable_string, put_uvarint};

/// Writes random requests along the schema: whatever it allows, the decoder must understand.
struct Writer {
    version: i16,
    flexible: bool,
    state: u64,
    out: BytesMut,
}

impl Writer {
    fn random(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.state >> 33) % below
    }

    fn fields(&mut self, fields: &[Field]) {
        let (version, flexible) = (self.version, self.flexible);
        let tag_of = |f: &Field| f.tag.filter(|(_, v)| flexible && v.contain(version));
        for field in fields.iter().filter(|f| f.versions.contain(version)) {
            if tag_of(field).is_none() {
                self.kind(&field.kind);
            }
        }
        if !flexible {
            return;
        }
        let tagged: Vec<_> = fields.iter().filter(|f| tag_of(f).is_some()).collect();
        put_uvarint(&mut self.out, tagged.len() as u32 + 1);
        for field in tagged {
            let outer = self.out.split();
            self.kind(&field.kind);
            let value = std::mem::replace(&mut self.out, outer);
            self.tag(tag_of(field).map_or(0, |(tag, _)| tag), &value);
        }
        self.tag(9_999, b"of a later day");
    }

    fn tag(&mut self, tag: u32, value: &[u8]) {
        put_uvarint(&mut self.out, tag);
        put_uvarint(&mut self.out, value.len() as u32);
        self.out.put_slice(value);
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(size) => {
                for _ in 0..*size {
                    let byte = self.random(256) as u8;
                    self.out.put_u8(byte);
                }
            }
            Kind::String => put_nullable_string(&mut self.out, self.flexible, Some("text")),
            Kind::Bytes => {
                put_length(&mut self.out, self.flexible, 3);
                self.out.put_slice(b"abc");
            }
            Kind::Array(element) => {
                let count = self.random(4) as usize;
                put_length(&mut self.out, self.flexible, count);
                (0..count).for_each(|_| self.kind(element));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::NullableStruct(fields, versions) => {
                let nullable = versions.contain(self.version);
                let present = !nullable || self.random(2) == 1;
                if nullable {
                    self.out.put_i8(if present { 1 } else { -1 });
                }
                if present {
                    self.fields(fields);
                }
            }
        }
    }
}

/// Every request of every version that the decoder knows.
fn every_request() -> impl Iterator<Item = (ApiKey, i16)> {
    let all = ApiKey::iter().flat_map(|api| {
        let versions = api.valid_versions();
        (versions.min..=versions.max).map(move |version| (api, version))
    });
    all.filter(|(api, version)| {
        // `ApiKey` gives the versions of answers, a few of which the decoder of the requests does not reach.
        let decoded = RequestKind::decode(*api, &mut Bytes::new(), *version);
        !decoded.is_err_and(|e| e.root_cause().to_string().contains("version not supported"))
    })
}

fn random_request(api: ApiKey, version: i16, state: u64) -> Bytes {
    let schema = &SCHEMAS[&(api as i16)];
    let flexible = schema.flexible.contain(version);
    let mut writer = Writer {
        version,
        flexible,
        state,
        out: BytesMut::new(),
    };
    writer.fields(&schema.fields);
    writer.out.freeze()
}

#[test]
fn every_line_of_the_table_is_understood() {
    assert_eq!(
        SCHEMAS.len(),
        include_str!("../../schema/requests.txt").lines().count()
    );
    for (api, version) in every_request() {
        let schema = &SCHEMAS[&(api as i16)];
        let flexible = api.request_header_version(version) >= 2;
        assert_eq!(
            schema.flexible.contain(version),
            flexible,
            "{api:?} {version}"
        );
    }
}

#[test]
fn what_the_walk_accepts_the_decoder_reads_to_the_same_byte() {
    for (seed, (api, version)) in (0..20).flat_map(|s| every_request().map(move |r| (s, r))) {
        let mut body = random_request(api, version, seed);
        check(api, version, &body).unwrap();
        for cut in 0..body.len() {
            assert!(
                check(api, version, &body[..cut]).is_err(),
                "{api:?} {version} cut at {cut}"
            );
        }
        let decoded = RequestKind::decode(api, &mut body, version);
        assert!(decoded.is_ok(), "{api:?} {version}: {decoded:?}");
        assert!(
            body.is_empty(),
            "{api:?} {version}: {} bytes left",
            body.len()
        );
    }
}

#[test]
fn an_array_that_claims_gigabytes_is_refused_before_room_is_made_for_it() {
    let mut body = BytesMut::new();
    body.put_i32(i32::MAX);
    body.put_bytes(0, 100);
    let max = REQUEST_ELEMENTS_MAX;
    assert_eq!(
        check(ApiKey::Metadata, 0, &body),
        Err(WireError::TooManyElements { max })
    );
    let mut body = BytesMut::new();
    put_null(&mut body, true);
    put_uvarint(&mut body, u32::MAX);
    assert!(check(ApiKey::Metadata, 12, &body).is_err());
}

proptest! {
    #[test]
    fn damaged_requests_are_refused_or_decoded_and_never_panic(
        which: prop::sample::Index,
        seed: u64,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let requests: Vec<_> = every_request().collect();
        let (api, version) = requests[which.index(requests.len())];
        let mut body = BytesMut::from(&random_request(api, version, seed)[..]);
        for (at, byte) in hits {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if check(api, version, &body).is_ok() {
            let _ = RequestKind::decode(api, &mut body.freeze(), version);
        }
    }
}
