//! Which bytes to ask for, so that ranges that lie close cost one request, and none is endless.

use std::ops::Range;

use super::super::error::Result;
use super::super::transport::Sink;

/// Bytes that are fetched and dropped rather than asked around: less than a request costs.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// Largest answer that is asked for at once; it is held in memory.
const SPAN_BYTES_MAX: u64 = 8 << 20;

/// Returns what to ask for, given ranges that ascend and don't overlap.
pub(super) fn of(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= GAP_BYTES_MAX => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    let cut = |range: Range<u64>| {
        let starts = (range.start..range.end).step_by(SPAN_BYTES_MAX as usize);
        starts.map(move |start| start..range.end.min(start.saturating_add(SPAN_BYTES_MAX)))
    };
    joined.into_iter().flat_map(cut).collect()
}

/// Hands the bytes of a span to the ranges that they belong to.
pub(super) fn deliver(
    span: &Range<u64>,
    bytes: &[u8],
    ranges: &[Range<u64>],
    sink: &mut Sink<'_>,
) -> Result<()> {
    let first = ranges.partition_point(|range| range.end <= span.start);
    for (at, range) in ranges.iter().enumerate().skip(first) {
        if range.start >= span.end {
            break;
        }
        let (start, end) = (range.start.max(span.start), range.end.min(span.end));
        if start < end {
            sink(at, &bytes[(start - span.start) as usize..(end - span.start) as usize])?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ranges_that_lie_close_are_asked_for_together() {
        assert_eq!(of(&[0..10, 10..20, 100..200]), [0..200]);
        assert_eq!(of(&[0..10, MIB..MIB + 1]), [0..10, MIB..MIB + 1]);
        assert_eq!(of(&[5..5, 7..8]), [7..8]);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn no_answer_is_larger_than_what_may_be_in_memory() {
        let spans = of(&[1..20 * MIB]);
        assert_eq!(spans, [1..8 * MIB + 1, 8 * MIB + 1..16 * MIB + 1, 16 * MIB + 1..20 * MIB]);
        assert_eq!(of(&[u64::MAX - 1..u64::MAX]), [u64::MAX - 1..u64::MAX]);
    }

    #[test]
    fn each_byte_reaches_its_range_once() {
        let ranges = [2..5, 5..5, 6..9, 400_000..400_010, 3 * MIB..12 * MIB];
        let mut found = vec![Vec::new(); ranges.len()];
        for span in of(&ranges) {
            let bytes: Vec<u8> = span.clone().map(|at| at as u8).collect();
            let mut sink = |at: usize, bytes: &[u8]| {
                found[at].extend_from_slice(bytes);
                Ok(())
            };
            deliver(&span, &bytes, &ranges, &mut sink).expect("delivered");
        }
        for (range, found) in ranges.iter().zip(found) {
            assert_eq!(found, range.clone().map(|at| at as u8).collect::<Vec<_>>());
        }
    }
}
