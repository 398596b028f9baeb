use std::fs;

use fast_floe::low_level::{start_decryption, start_encryption};
use fast_floe::{Key, Parameters};
use proptest::prelude::*;

use super::*;

/// Decrypts a whole segment in place and returns its plaintext.
fn open_segment<'s>(
    message: &Message,
    index: u64,
    last: bool,
    segment: &'s mut [u8],
) -> Result<&'s mut [u8], SegmentRefusal> {
    let (prefix, rest) = segment.split_first_chunk_mut().ok_or(SegmentRefusal::Framing)?;
    let (payload, tag) = rest.split_last_chunk_mut().ok_or(SegmentRefusal::Framing)?;
    message.decrypt(index, last, &Frame { prefix: *prefix, tag: *tag }, payload)?;
    Ok(payload)
}

/// Encrypts a whole segment whose payload lies between room for what stands around it.
fn seal_segment(
    message: &Message,
    index: u64,
    last: bool,
    nonce: [u8; 12],
    segment: &mut [u8],
) -> Option<()> {
    let (prefix, rest) = segment.split_first_chunk_mut()?;
    let (payload, tag) = rest.split_last_chunk_mut()?;
    let frame = message.encrypt(index, last, nonce, payload)?;
    (*prefix, *tag) = (frame.prefix, frame.tag);
    Some(())
}

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/floe");

fn start<'a>(
    key: &'a [u8; 32],
    associated_data: &'a [u8],
    segment_len: u32,
    segment_count: u64,
) -> Start<'a> {
    Start { key, associated_data, segment_len, segment_count }
}

/// Decrypts a whole ciphertext, segment by segment.
fn decrypt(start: &Start<'_>, ciphertext: &[u8]) -> Result<Vec<u8>, String> {
    let (header, body) = ciphertext.split_first_chunk::<HEADER_LEN>().ok_or("no header")?;
    let message = Message::open(start, header).map_err(|refusal| format!("{refusal:?}"))?;
    let segments: Vec<&[u8]> = body.chunks(start.segment_len as usize).collect();
    let mut out = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let mut segment = segment.to_vec();
        let last = index + 1 == segments.len();
        let plain = open_segment(&message, index as u64, last, &mut segment);
        out.extend_from_slice(plain.map_err(|refusal| format!("{refusal:?} at {index}"))?);
    }
    Ok(out)
}

/// Encrypts a whole plaintext under given nonces.
fn encrypt(start: &Start<'_>, iv: &[u8; 32], plain: &[u8], nonce: impl Fn(usize) -> [u8; 12]) -> Vec<u8> {
    let message = Message::create(start, iv);
    let mut out = message.header().to_vec();
    let payload = start.segment_len as usize - SEGMENT_OVERHEAD;
    let parts: Vec<&[u8]> = if plain.is_empty() { vec![&[]] } else { plain.chunks(payload).collect() };
    for (index, part) in parts.iter().enumerate() {
        let mut segment = vec![0; part.len() + SEGMENT_OVERHEAD];
        segment[PREFIX_LEN..PREFIX_LEN + part.len()].copy_from_slice(part);
        seal_segment(&message, index as u64, index + 1 == parts.len(), nonce(index), &mut segment).unwrap();
        out.extend_from_slice(&segment);
    }
    out
}

fn vector(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(format!("{VECTORS}/{name}.txt")).unwrap();
    text.trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn reproduces_the_known_answers_of_four_implementations() {
    for maker in ["cpp", "go", "java", "rust"] {
        for (name, segment_len) in [("64", 64_u32), ("4K", 4096)] {
            let ciphertext = vector(&format!("{maker}_GCM256_IV256_{name}_ct"));
            let plain = vector(&format!("{maker}_GCM256_IV256_{name}_pt"));
            let count = (ciphertext.len() - HEADER_LEN).div_ceil(segment_len as usize);
            let start = start(&[0; 32], b"This is AAD", segment_len, count as u64);
            assert_eq!(decrypt(&start, &ciphertext).unwrap(), plain, "{maker} {name}");
            if plain.len().div_ceil(segment_len as usize - SEGMENT_OVERHEAD) == count {
                let iv = ciphertext[10..42].try_into().unwrap();
                let nonce = |index: usize| {
                    let at = HEADER_LEN + index * segment_len as usize + LENGTH_LEN;
                    ciphertext[at..at + NONCE_LEN].try_into().unwrap()
                };
                assert_eq!(encrypt(&start, iv, &plain, nonce), ciphertext, "{maker} {name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fast_floe_and_this_module_read_each_other(
        key: [u8; 32],
        iv: [u8; 32],
        data in proptest::collection::vec(any::<u8>(), 0..100),
        plain in proptest::collection::vec(any::<u8>(), 0..2000),
        segment_len in 64_u32..600,
    ) {
        let parameters = Parameters::with_segment_length(segment_len).unwrap();
        let theirs = Key::from_bytes(key);
        let count = plain.len().div_ceil(segment_len as usize - SEGMENT_OVERHEAD).max(1) as u64;
        let start = start(&key, &data, segment_len, count);

        let made_here = encrypt(&start, &iv, &plain, |index| [u8::try_from(index).unwrap(); 12]);
        prop_assert_eq!(&fast_floe::decrypt(&theirs, &data, &made_here).unwrap(), &plain);

        let made_there = fast_floe::encrypt(&theirs, &data, parameters, &plain).unwrap();
        prop_assert_eq!(decrypt(&start, &made_there).unwrap(), plain);
    }
}

#[test]
fn agrees_with_fast_floe_where_the_segment_key_changes() {
    const CHANGE: u64 = 1 << ROTATION_BITS;
    let (key, data) = ([5; 32], b"rotation");
    let parameters = Parameters::SEGMENT_64_B;
    let layout = parameters.plaintext_layout(32 * (CHANGE + 3)).unwrap();
    let start = start(&key, data, 64, layout.segment_count());

    let ours = Message::create(&start, &[6; 32]);
    let header = fast_floe::Header::from(*ours.header());
    let mut theirs = start_decryption(&Key::from_bytes(key), data, parameters, &header).unwrap();
    let (mut their_encryption, their_header) =
        start_encryption(&Key::from_bytes(key), data, parameters).unwrap();
    let our_decryption = Message::open(&start, their_header.as_bytes()).unwrap();

    for position in [0, CHANGE - 1, CHANGE, CHANGE + 2] {
        let place = layout.segment_for_position(position).unwrap();
        let last = position == CHANGE + 2;
        let mut segment = [9; 64];
        seal_segment(&ours, position, last, [3; 12], &mut segment).unwrap();
        assert_eq!(theirs.decrypt_segment(&segment, place).unwrap(), [9; 32], "{position}");

        let mut segment = their_encryption.encrypt_segment(&[8; 32], place).unwrap();
        assert_eq!(
            open_segment(&our_decryption, position, last, &mut segment).unwrap(),
            [8; 32],
            "{position}"
        );
    }
}

#[test]
fn refuses_a_header_of_other_parameters_key_or_data() {
    let key = [1; 32];
    let header = *Message::create(&start(&key, b"a", 64, 1), &[2; 32]).header();
    let open = |start: Start<'_>| Message::open(&start, &header).err();
    assert_eq!(open(start(&key, b"a", 64, 1)), None);
    assert_eq!(open(start(&key, b"a", 65, 1)), Some(HeaderRefusal::Parameters));
    assert_eq!(open(start(&key, b"b", 64, 1)), Some(HeaderRefusal::Tag));
    assert_eq!(open(start(&[2; 32], b"a", 64, 1)), Some(HeaderRefusal::Tag));
    for bit in 0..HEADER_LEN * 8 {
        let mut flipped = header;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Message::open(&start(&key, b"a", 64, 1), &flipped).is_err(), "{bit}");
    }
}

#[test]
fn refuses_every_flipped_bit_of_a_segment_and_leaves_no_plaintext() {
    let key = [1; 32];
    let message = Message::create(&start(&key, b"a", 64, 2), &[2; 32]);
    let mut genuine = [7; 64];
    seal_segment(&message, 0, false, [3; 12], &mut genuine).unwrap();
    for bit in 0..genuine.len() * 8 {
        let mut segment = genuine;
        segment[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < 32 { SegmentRefusal::Framing } else { SegmentRefusal::Tag };
        assert_eq!(open_segment(&message, 0, false, &mut segment).err(), Some(expected), "{bit}");
        if bit >= 32 {
            assert_eq!(segment[PREFIX_LEN..48], [0; 32], "{bit}");
        }
    }
}

#[test]
fn refuses_a_segment_at_another_place() {
    let key = [1; 32];
    let message = Message::create(&start(&key, b"a", 64, 3), &[2; 32]);
    let mut first = [7; 64];
    seal_segment(&message, 0, false, [3; 12], &mut first).unwrap();
    assert_eq!(open_segment(&message, 1, false, &mut first.clone()).err(), Some(SegmentRefusal::Tag));
    assert_eq!(open_segment(&message, 0, true, &mut first.clone()).err(), Some(SegmentRefusal::Framing));
    let mut claims_last = first;
    claims_last[..4].copy_from_slice(&64_u32.to_be_bytes());
    assert_eq!(open_segment(&message, 0, true, &mut claims_last).err(), Some(SegmentRefusal::Tag));
    assert_eq!(
        open_segment(&message, 1 << ROTATION_BITS, false, &mut first).err(),
        Some(SegmentRefusal::Framing)
    );
}

#[test]
fn refuses_segments_of_an_impossible_length() {
    let message = Message::create(&start(&[1; 32], b"a", 64, 2), &[2; 32]);
    for (len, last) in [(63, false), (65, false), (31, true), (65, true), (0, true)] {
        let mut segment = vec![0; len];
        assert_eq!(seal_segment(&message, 0, last, [0; 12], &mut segment), None, "{len}");
        assert_eq!(
            open_segment(&message, 0, last, &mut segment).err(),
            Some(SegmentRefusal::Framing),
            "{len}"
        );
    }
}
