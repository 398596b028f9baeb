//! What holds for any body, cut anywhere.

use crate::made::{LIMIT, NONCE, OK, POST, accept, key, receive, seal, send};
use anchorhold_body_encryption::{Buckets, ehbp};
use anchorhold_hpke::Entropy;
use anchorhold_rats::Kem;
use proptest::prelude::*;

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)
}

/// `bytes` in pieces of the given sizes, the rest at the end.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes {
        let (piece, rest) = bytes.split_at(bytes.len().min(*size));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_cutting_round_trips(chunks in chunks(), cuts in proptest::collection::vec(0_usize..200, 0..20), size in 1_usize..500) {
        let key = key(Kem::X25519);
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let sent = send(&key, &chunks);
        let (opened, reply) = accept(&key, &POST, &sent.header).unwrap();
        let (mut opener, mut out) = (opened.body.unwrap(), Vec::new());
        for piece in pieces(&sent.body, &cuts) {
            opener.push(piece, &mut out).unwrap();
        }
        opener.finish().unwrap();
        prop_assert_eq!(&out, &chunks.concat());

        let (header, sealer) = reply.seal(&OK, b"", &NONCE).unwrap();
        let body = seal(sealer.padded(Buckets::new(&[size]).unwrap()), &chunks);
        let (mut opener, mut out) = (sent.awaiting.open(&OK, &header, LIMIT).unwrap().body.unwrap(), Vec::new());
        for piece in pieces(&body, &cuts) {
            opener.push(piece, &mut out).unwrap();
        }
        opener.finish().unwrap();
        prop_assert_eq!(&out, &chunks.concat());
    }

    #[test]
    fn any_change_is_refused_and_what_came_out_is_a_beginning(chunks in chunks(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = key(Kem::X25519);
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let mut sent = send(&key, &chunks);
        let at = at.index(sent.body.len());
        sent.body[at] ^= 1 << bit;
        prop_assert!(receive(&key, &POST, &sent.header, &sent.body).is_err());
        let (opened, _) = accept(&key, &POST, &sent.header).unwrap();
        let mut out = Vec::new();
        let _ = opened.body.unwrap().push(&sent.body, &mut out);
        prop_assert!(chunks.concat().starts_with(&out));
    }

    #[test]
    fn ehbp_round_trips_whatever_the_cutting(chunks in chunks(), cuts in proptest::collection::vec(0_usize..200, 0..20)) {
        let key = key(Kem::X25519);
        let (header, mut sealer, awaiting) = ehbp::seal_request(key.public_key(), Entropy::random().unwrap()).unwrap();
        let mut body = Vec::new();
        for chunk in chunks.iter().map(Vec::as_slice).chain([b"last".as_slice()]) {
            sealer.push(chunk, &mut body).unwrap();
            body.extend([0; 4]);
        }
        let whole = [chunks.concat().as_slice(), b"last"].concat();
        let (mut opener, mut out) = (ehbp::open_request(&key, &header, LIMIT).unwrap(), Vec::new());
        for piece in pieces(&body, &cuts) {
            opener.push(piece, &mut out).unwrap();
        }
        let (header, mut sealer) = opener.reply().unwrap().seal(&NONCE);
        opener.finish().unwrap();
        prop_assert_eq!(&out, &whole);

        let mut body = Vec::new();
        for chunk in &chunks {
            sealer.push(chunk, &mut body).unwrap();
        }
        let (mut opener, mut out) = (awaiting.open(&header, LIMIT).unwrap(), Vec::new());
        for piece in pieces(&body, &cuts) {
            opener.push(piece, &mut out).unwrap();
        }
        opener.finish().unwrap();
        prop_assert_eq!(out, chunks.concat());
    }
}
