//! Many small ranges as few requests.
use std::ops::Range;

use bytes::Bytes;

/// Reading this much for nothing is cheaper than another request (one costs a few milliseconds and as much as 100 KB of egress).
const GAP_BYTES_MAX: u64 = 256 * 1024;

/// The fewest spans that cover all non-empty ranges with small gaps only, in order.
pub(super) fn merge(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match spans.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES_MAX) => {
                last.end = last.end.max(range.end)
            }
            _ => spans.push(range),
        }
    }
    spans
}

/// Cuts the ranges out of the spans that [`merge`] made of them, without a copy.
pub(super) fn split(ranges: &[Range<u64>], spans: &[Range<u64>], bytes: &[Bytes]) -> Vec<Bytes> {
    let cut = |range: &Range<u64>| {
        let at = spans.partition_point(|span| span.end < range.end);
        match (spans.get(at), bytes.get(at)) {
            (Some(span), Some(bytes)) if !range.is_empty() => {
                bytes.slice((range.start - span.start) as usize..(range.end - span.start) as usize)
            }
            _ => Bytes::new(),
        }
    };
    ranges.iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_become_one_request_and_far_ones_do_not() {
        let far = 10 * GAP_BYTES_MAX;
        let spans = merge(&[
            far..far + 5,
            10..20,
            0..1,
            15..30,
            7..7,
            2 * far..2 * far + 1,
        ]);
        assert_eq!(spans, [0..30, far..far + 5, 2 * far..2 * far + 1]);
        assert_eq!(merge(&[]), []);
    }

    #[test]
    fn ranges_are_cut_out_of_their_spans() {
        let far = 10 * GAP_BYTES_MAX;
        let ranges = [far..far + 2, 3..5, 4..4, 0..6];
        let spans = merge(&ranges);
        let bytes = [Bytes::from_static(b"abcdef"), Bytes::from_static(b"yz")];
        assert_eq!(split(&ranges, &spans, &bytes), ["yz", "de", "", "abcdef"]);
    }
}
