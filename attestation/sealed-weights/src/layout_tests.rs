//! The arithmetic of segments: every small case, and proptest where 64 bits end.

use proptest::prelude::*;

use super::*;

const MAX_LEN: u64 = 40;
const MAX_PAYLOAD: u64 = 9;

fn small_layouts() -> impl Iterator<Item = Layout> {
    (1..=MAX_PAYLOAD)
        .flat_map(|payload| (0..=MAX_LEN).map(move |plaintext_len| Layout { payload, plaintext_len }))
}

#[test]
fn every_small_layout_covers_file_and_plaintext_without_gap() {
    for layout in small_layouts() {
        let count = layout.segment_count();
        let (mut file_at, mut plain_at) = (HEADER_LEN as u64, 0);
        for index in 0..count {
            let span = layout.span(index).unwrap();
            let range = layout.payload_range(index).unwrap();
            assert_eq!((span.offset, range.start), (file_at, plain_at), "{layout:?} {index}");
            assert_eq!(span.payload_len() as u64, range.end - range.start);
            assert_eq!(span.last, index + 1 == count);
            // Only the one segment of an empty plaintext is empty, and only the last one may be short.
            assert!(range.end > range.start || layout.plaintext_len == 0);
            assert!(span.last || range.end - range.start == layout.payload);
            file_at += span.len as u64;
            plain_at = range.end;
        }
        assert_eq!(Some(file_at), layout.ciphertext_len());
        assert_eq!(plain_at, layout.plaintext_len);
        for index in [count, count + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!((layout.span(index), layout.payload_range(index)), (None, None));
        }
    }
}

#[test]
fn every_small_range_is_cut_into_the_bytes_of_its_segments() {
    for layout in small_layouts() {
        for start in 0..=MAX_LEN + 2 {
            for end in start..=MAX_LEN + 2 {
                let bytes: Vec<u64> = layout
                    .pieces(start..end)
                    .flat_map(|piece| {
                        let range = layout.payload_range(piece.segment).unwrap();
                        let from = range.start + piece.start as u64;
                        assert!(piece.len > 0 && from + piece.len as u64 <= range.end);
                        from..from + piece.len as u64
                    })
                    .collect();
                let expected: Vec<u64> = (start..end.min(layout.plaintext_len)).collect();
                assert_eq!(bytes, expected, "{layout:?} {start}..{end}");
            }
        }
    }
}

proptest! {
    #[test]
    fn never_overflows_and_never_overlaps_at_the_end_of_64_bits(
        payload in prop_oneof![1..=u64::MAX, Just(1 << 20), Just(4 << 20), Just(16 << 20)],
        back in 0_u64..1 << 40,
        index in any::<u64>(),
    ) {
        let layout = Layout { payload, plaintext_len: u64::MAX - back };
        let count = layout.segment_count();
        prop_assert!(u128::from(count) * u128::from(payload) >= u128::from(layout.plaintext_len));
        prop_assert!((u128::from(count) - 1) * u128::from(payload) < u128::from(layout.plaintext_len));
        let exact = u128::from(layout.plaintext_len) + u128::from(count) * 32 + HEADER_LEN as u128;
        prop_assert_eq!(layout.ciphertext_len().map(u128::from), u64::try_from(exact).ok().map(u128::from));
        for index in [index % count, count - 1, 0] {
            let range = layout.payload_range(index).unwrap();
            prop_assert_eq!(u128::from(range.start), u128::from(index) * u128::from(payload));
            prop_assert!(range.end <= layout.plaintext_len && range.start < range.end);
            let offset = u128::from(index) * (u128::from(payload) + 32) + HEADER_LEN as u128;
            let end = offset + u128::from(range.end - range.start) + 32;
            match layout.span(index) {
                Some(span) => {
                    prop_assert_eq!(u128::from(span.offset), offset);
                    prop_assert_eq!(span.len as u128, end - offset);
                    prop_assert_eq!(span.last, index == count - 1);
                }
                None => prop_assert!(end > u128::from(u64::MAX)),
            }
        }
        for index in [count, count.saturating_add(index), u64::MAX] {
            prop_assert_eq!(layout.span(index), None);
        }
    }

    #[test]
    fn pieces_near_the_end_of_64_bits_stay_inside(
        payload in prop_oneof![Just(1_u64 << 20), Just(4 << 20), Just(16 << 20)],
        back in 0_u64..1 << 24,
        start in 0_u64..1 << 24,
        len in 0_u64..1 << 26,
    ) {
        let layout = Layout { payload, plaintext_len: u64::MAX - back };
        let start = layout.plaintext_len - start;
        let pieces: Vec<Piece> = layout.pieces(start..start.saturating_add(len)).collect();
        let covered: u64 = pieces.iter().map(|piece| piece.len as u64).sum();
        prop_assert_eq!(covered, len.min(layout.plaintext_len - start));
        for piece in pieces {
            prop_assert!(piece.start as u64 + piece.len as u64 <= payload);
        }
    }
}

#[test]
fn sizes_are_those_of_the_specification() {
    for (size, payload) in
        [(SegmentSize::Mib1, 1_u32 << 20), (SegmentSize::Mib4, 4 << 20), (SegmentSize::Mib16, 16 << 20)]
    {
        assert_eq!((size.payload_len(), size.segment_len()), (payload, payload + 32));
        assert_eq!(SegmentSize::from_segment_len(u64::from(payload) + 32), Some(size));
        assert_eq!(SegmentSize::from_segment_len(u64::from(payload)), None);
        assert_eq!(size.layout(7), Layout { payload: u64::from(payload), plaintext_len: 7 });
    }
}
