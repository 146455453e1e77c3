//! Whatever a client sends: a stream is cut into frames, a frame is opened, its request is read.
#![no_main]
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use sh_wire::{
    ApiKey, FrameDecoder, MarkersRequest, ProduceRequest, RequestHeader, decode_any_request,
};

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    while let Ok(Some(frame)) = FrameDecoder::default().decode(&mut stream) {
        read(frame);
    }
    read(Bytes::copy_from_slice(data));
});

fn read(frame: Bytes) {
    let Ok((header, body)) = RequestHeader::decode(&frame) else {
        return;
    };
    let read = decode_any_request(&header, &body);
    if header.api == ApiKey::Produce {
        let ours = ProduceRequest::decode(&header, &body);
        assert_eq!(ours.is_ok(), read.is_ok(), "the two decoders disagree");
    }
    if header.api == ApiKey::WriteTxnMarkers {
        let ours = MarkersRequest::decode(&header, &body);
        let both = header.version == 1;
        assert!(
            !both || ours.is_ok() == read.is_ok(),
            "the two decoders disagree"
        );
    }
}
