//! `anchorhold-body/1`: one test for each rule.

use crate::made::{LIMIT, NONCE, OK, POST, accept, entropy, frames, key, receive, seal, send};
use anchorhold_body_encryption::{
    BodyKey, Buckets, Error, KeyId, MAX_FRAME_BYTES, MAX_FRAME_DATA_BYTES, MAX_HEAD_BYTES, MAX_HEADER_CHARS,
    Request, RequestHeader, Response, seal_bodyless_request, seal_request,
};
use anchorhold_rats::{Kem, Nonce, Secret, WrappingKey};

#[test]
fn a_request_and_its_response_arrive() {
    for kem in Kem::ALL {
        let key = key(kem);
        let sent = send(&key, &[b"one ", b"two"]);
        let (opened, reply) = accept(&key, &POST, &sent.header).unwrap();
        assert_eq!(opened.head, b"head");
        assert_eq!(opened.body.unwrap().open_whole(&sent.body).unwrap(), b"one two");
        let (header, sealer) = reply.seal(&OK, b"receipt", &NONCE).unwrap();
        let body = seal(sealer, &[b"data: a\n\n", b"data: b\n\n"]);
        let opened = sent.awaiting.open(&OK, &header, LIMIT).unwrap();
        assert_eq!(opened.head, b"receipt");
        assert_eq!(opened.body.unwrap().open_whole(&body).unwrap(), b"data: a\n\ndata: b\n\n");
    }
}

#[test]
fn a_request_without_a_body_has_an_encrypted_response() {
    let key = key(Kem::XWing);
    let get = Request { method: "GET", target: "/v1/models", content_type: "" };
    let (header, awaiting) = seal_bodyless_request(key.public_key(), &get, b"", entropy(1)).unwrap();
    let (opened, reply) = accept(&key, &get, &header).unwrap();
    assert!(opened.body.is_none());
    let (header, sealer) = reply.seal(&OK, b"", &NONCE).unwrap();
    let body = seal(sealer, &[b"models"]);
    let opened = awaiting.open(&OK, &header, LIMIT).unwrap();
    assert_eq!(opened.body.unwrap().open_whole(&body).unwrap(), b"models");
}

#[test]
fn a_response_without_a_body_is_authentic_too() {
    let key = key(Kem::X25519);
    let none = Response { status: 204, content_type: "" };
    let answer = || {
        let sent = send(&key, &[b"a"]);
        let (_, reply) = accept(&key, &POST, &sent.header).unwrap();
        (reply.seal_bodyless(&none, b"head", &NONCE).unwrap(), sent.awaiting)
    };
    let (header, awaiting) = answer();
    let opened = awaiting.open(&none, &header, LIMIT).unwrap();
    assert!(opened.body.is_none() && opened.head == b"head");
    let (header, awaiting) = answer();
    assert_eq!(awaiting.open(&OK, &header, LIMIT).unwrap_err(), Error::Head);
}

#[test]
fn refuses_another_method_target_or_content_type() {
    let key = key(Kem::XWing);
    let sent = send(&key, &[b"a"]);
    for other in [
        Request { method: "PUT", ..POST },
        Request { target: "/v1/chat/completions?a=2", ..POST },
        Request { target: "/v1/chat/completions", ..POST },
        Request { target: "/v1/embeddings?a=1", ..POST },
        Request { content_type: "text/plain", ..POST },
        Request { content_type: "", ..POST },
        // The same bytes, cut elsewhere.
        Request { method: "POST/", target: "v1/chat/completions?a=1", ..POST },
    ] {
        assert_eq!(receive(&key, &other, &sent.header, &sent.body), Err(Error::Head), "{other:?}");
    }
}

#[test]
fn refuses_another_status_or_content_type_of_the_response() {
    let key = key(Kem::X25519);
    for other in [Response { status: 201, ..OK }, Response { content_type: "text/html", ..OK }] {
        let sent = send(&key, &[b"a"]);
        let (_, reply) = accept(&key, &POST, &sent.header).unwrap();
        let (header, _) = reply.seal(&OK, b"", &NONCE).unwrap();
        assert_eq!(sent.awaiting.open(&other, &header, LIMIT).unwrap_err(), Error::Head);
    }
}

#[test]
fn refuses_the_response_to_another_request() {
    let key = key(Kem::X25519);
    let [one, two] = [1, 2].map(|byte| seal_request(key.public_key(), &POST, b"", entropy(byte)).unwrap());
    let (_, reply) = accept(&key, &POST, &one.header).unwrap();
    let (header, _) = reply.seal(&OK, b"", &NONCE).unwrap();
    assert_eq!(two.awaiting.open(&OK, &header, LIMIT).unwrap_err(), Error::Head);
}

#[test]
fn refuses_a_request_that_is_sent_back_as_a_response() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"a"]);
    let (header, body) = (sent.header.clone(), sent.body.clone());
    let opened = sent.awaiting.open(&OK, &header, LIMIT);
    assert!(matches!(opened, Err(Error::Head)), "{opened:?}");
    // Nor do its frames open under a response's header.
    let again = send(&key, &[b"a"]);
    let (_, reply) = accept(&key, &POST, &again.header).unwrap();
    let (header, _) = reply.seal(&OK, b"", &NONCE).unwrap();
    let opener = again.awaiting.open(&OK, &header, LIMIT).unwrap().body.unwrap();
    assert_eq!(opener.open_whole(&body), Err(Error::Frame));
}

#[test]
fn refuses_another_key_and_asks_for_the_new_one() {
    let sent = send(&key(Kem::X25519), &[b"a"]);
    for other in [BodyKey::from_seed(Kem::X25519, &Secret::take(&mut [9; 32])), key(Kem::XWing)] {
        let error = accept(&other, &POST, &sent.header).unwrap_err();
        assert!(error == Error::OtherKey && error.asks_for_new_key());
    }
    let header = RequestHeader::parse(&sent.header).unwrap();
    assert_eq!(header.key_id(), KeyId::of(key(Kem::X25519).public_key()));
    assert_eq!(header.key_id().to_string(), key(Kem::X25519).public_key().digest().to_string()[..16]);
    assert!(!Error::Head.asks_for_new_key());
}

#[test]
fn refuses_a_body_that_is_cut_anywhere() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"one", b"two", b"three"]);
    for end in 0..sent.body.len() {
        assert_eq!(receive(&key, &POST, &sent.header, &sent.body[..end]), Err(Error::Truncated), "{end}");
    }
    assert_eq!(receive(&key, &POST, &sent.header, &sent.body).unwrap(), b"onetwothree");
}

#[test]
fn refuses_frames_that_are_reordered_repeated_left_out_or_foreign() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"aaa", b"bbb", b"ccc"]);
    let other = seal_request(key.public_key(), &POST, b"head", entropy(2)).unwrap();
    let foreign = seal(other.body, &[b"aaa", b"bbb", b"ccc"]);
    let [a, b, c] = frames(&sent.body).try_into().unwrap();
    let parts: [&[&[u8]]; 5] = [&[b, a, c], &[a, a, b, c], &[a, c], &[c], &[frames(&foreign)[0], b, c]];
    for body in parts {
        assert_eq!(receive(&key, &POST, &sent.header, &body.concat()), Err(Error::Frame));
    }
}

#[test]
fn refuses_what_follows_the_end() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"aaa", b"bbb"]);
    let last = frames(&sent.body)[1];
    for more in [b"\0", last, &sent.body] {
        let body = [sent.body.as_slice(), more].concat();
        assert_eq!(receive(&key, &POST, &sent.header, &body), Err(Error::Appended));
    }
    // At once, though the body was whole before.
    let (opened, _) = accept(&key, &POST, &sent.header).unwrap();
    let (mut opener, mut out) = (opened.body.unwrap(), Vec::new());
    opener.push(&sent.body, &mut out).unwrap();
    assert!(opener.is_ended());
    assert_eq!(opener.push(b"x", &mut out), Err(Error::Appended));
    assert_eq!(opener.push(b"", &mut out), Ok(()));
    assert_eq!(opener.finish(), Err(Error::Appended));
}

#[test]
fn refuses_an_end_that_was_moved() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"aaa", b"bbb"]);
    let [first, last] = frames(&sent.body).try_into().unwrap();
    let with = |frame: &[u8]| [&[frame[0] ^ 0x80], &frame[1..]].concat();
    assert_eq!(receive(&key, &POST, &sent.header, &with(first)), Err(Error::Frame));
    assert_eq!(receive(&key, &POST, &sent.header, &[first, &with(last)].concat()), Err(Error::Frame));
}

#[test]
fn a_refusal_is_final_and_what_came_before_stays() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"aaa", b"bbb"]);
    let [first, last] = frames(&sent.body).try_into().unwrap();
    let (opened, _) = accept(&key, &POST, &sent.header).unwrap();
    let (mut opener, mut out) = (opened.body.unwrap(), Vec::new());
    let mut broken = last.to_vec();
    broken[9] ^= 1;
    assert_eq!(opener.push(&[first, &broken].concat(), &mut out), Err(Error::Frame));
    assert_eq!(opener.push(last, &mut out), Err(Error::Frame));
    assert_eq!(out, b"aaa");
    assert_eq!(opener.finish(), Err(Error::Frame));
}

#[test]
fn refuses_lengths_that_no_frame_has() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"a"]);
    for length in [0, 1, 16, u32::try_from(MAX_FRAME_BYTES).unwrap() + 17, 0x7fff_ffff, 0xffff_ffff] {
        let body = [&length.to_be_bytes(), sent.body.as_slice()].concat();
        assert_eq!(receive(&key, &POST, &sent.header, &body), Err(Error::FrameLength), "{length}");
    }
    // The longest: refused for its content only.
    let body =
        [&(u32::try_from(MAX_FRAME_BYTES).unwrap() + 16).to_be_bytes(), [0; MAX_FRAME_BYTES + 16].as_slice()];
    assert_eq!(receive(&key, &POST, &sent.header, &body.concat()), Err(Error::Frame));
}

#[test]
fn refuses_more_than_the_limit_before_keeping_it() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"aaa", b"bbb"]);
    let open = |limit: usize| {
        let header = RequestHeader::parse(&sent.header).unwrap();
        let (opened, _) = header.open(&key, &POST, u64::try_from(limit).unwrap()).unwrap();
        opened.body.unwrap().open_whole(&sent.body)
    };
    assert_eq!(open(sent.body.len()).unwrap(), b"aaabbb");
    for limit in [0, 3, 4, 10, sent.body.len() - 1] {
        assert_eq!(open(limit), Err(Error::TooLong), "{limit}");
    }
    // Said at the prefix, before the frame comes.
    let header = RequestHeader::parse(&sent.header).unwrap();
    let (opened, _) = header.open(&key, &POST, 20).unwrap();
    let outcome = opened.body.unwrap().push(&sent.body[..4], &mut Vec::new());
    assert_eq!(outcome, Err(Error::TooLong));
}

#[test]
fn refuses_headers_of_another_form() {
    let header = send(&key(Kem::X25519), &[b"a"]).header;
    let mut other_version = header.clone();
    other_version.replace_range(..2, "Ag");
    for bad in [
        "",
        "AQ",
        &header[..header.len() - 4],
        &header[..40],
        &format!("{header}="),
        &format!(" {header}"),
        &header.replace('A', "+"),
        &other_version,
        &format!("{header}{}", "A".repeat(1368)),
        &"A".repeat(MAX_HEADER_CHARS + 1),
    ] {
        let error = RequestHeader::parse(bad).err();
        // Cutting the sealed part leaves a header that is shorter than any.
        assert_eq!(error, Some(Error::Header), "{bad}");
    }
    let key = key(Kem::XWing);
    let (sent, again) = (send(&key, &[b"a"]), send(&key, &[b"a"]));
    let (_, reply) = accept(&key, &POST, &sent.header).unwrap();
    let (header, _) = reply.seal(&OK, b"", &NONCE).unwrap();
    assert_eq!(sent.awaiting.open(&OK, &header[..64], LIMIT).unwrap_err(), Error::Header);
    assert_eq!(again.awaiting.open(&OK, "", LIMIT).unwrap_err(), Error::Header);
}

#[test]
fn the_longest_head_arrives_and_a_longer_one_is_refused() {
    let key = key(Kem::XWing);
    let head = [7; MAX_HEAD_BYTES + 1];
    let sealed = seal_request(key.public_key(), &POST, &head[1..], entropy(1)).unwrap();
    assert_eq!(sealed.header.len(), MAX_HEADER_CHARS);
    let (opened, reply) = accept(&key, &POST, &sealed.header).unwrap();
    assert_eq!(opened.head, &head[1..]);
    assert_eq!(reply.seal(&OK, &head, &NONCE).unwrap_err(), Error::HeadTooLong);
    let longer = seal_request(key.public_key(), &POST, &head, entropy(1));
    assert!(matches!(longer, Err(Error::HeadTooLong)));
}

#[test]
fn case_47_refuses_every_change_of_one_byte() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    for kem in Kem::ALL {
        let key = key(kem);
        let sent = send(&key, &[b"one", b"two"]);
        let header = BASE64.decode(&sent.header).unwrap();
        for at in 0..header.len() {
            let mut header = header.clone();
            header[at] ^= 1 << (at % 8);
            let changed = receive(&key, &POST, &BASE64.encode(&header), &sent.body);
            assert!(changed.is_err(), "{kem} header {at}");
        }
        for at in 0..sent.body.len() {
            let mut body = sent.body.clone();
            body[at] ^= 1 << (at % 8);
            assert!(receive(&key, &POST, &sent.header, &body).is_err(), "{kem} body {at}");
        }
    }
}

#[test]
fn a_body_can_be_neither_removed_nor_added() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let key = key(Kem::X25519);
    let (without, _) = seal_bodyless_request(key.public_key(), &POST, b"", entropy(1)).unwrap();
    for header in [send(&key, &[b"a"]).header, without] {
        let mut header = BASE64.decode(header).unwrap();
        header[1] ^= 1;
        assert_eq!(accept(&key, &POST, &BASE64.encode(header)).unwrap_err(), Error::Head);
    }
}

#[test]
fn refuses_public_keys_that_are_none() {
    for key in [
        WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap(),
        WrappingKey::new(Kem::XWing, vec![0xff; 1216]).unwrap(),
    ] {
        assert!(matches!(seal_request(&key, &POST, b"", entropy(1)), Err(Error::PublicKey)));
    }
}

#[test]
fn a_repeated_request_gets_a_response_under_another_key() {
    let key = key(Kem::X25519);
    let sent = send(&key, &[b"a"]);
    let bodies = [[1; 32], [2; 32]].map(|nonce| {
        let (_, reply) = accept(&key, &POST, &sent.header).unwrap();
        let (header, sealer) = reply.seal(&OK, b"", &Nonce::new(nonce)).unwrap();
        (header, seal(sealer, &[b"answer"]))
    });
    assert!(bodies[0].0 != bodies[1].0 && bodies[0].1 != bodies[1].1);
    // Bodies of one exchange do not mix.
    let opener = sent.awaiting.open(&OK, &bodies[0].0, LIMIT).unwrap().body.unwrap();
    assert_eq!(opener.open_whole(&bodies[1].1), Err(Error::Frame));
}

#[test]
fn padded_frames_and_covers_have_the_sizes_of_the_list() {
    let key = key(Kem::X25519);
    let sealed = seal_request(key.public_key(), &POST, b"", entropy(1)).unwrap();
    let mut sealer = sealed.body.padded(Buckets::new(&[32, 100]).unwrap());
    let mut body = Vec::new();
    let texts =
        [b"".as_slice(), b"a", &[0; 31], &[0x80; 32], &[0; 99], &[1; 100], &[0; MAX_FRAME_DATA_BYTES]];
    for text in texts {
        sealer.push(text, &mut body).unwrap();
    }
    sealer.cover(&mut body).unwrap();
    sealer.finish(b"end", &mut body).unwrap();
    let sizes: Vec<_> = frames(&body).iter().map(|frame| frame.len() - 20).collect();
    assert_eq!(sizes, [32, 32, 100, 100, 200, MAX_FRAME_BYTES, 32, 32]);
    let opened = receive(&key, &POST, &sealed.header, &body).unwrap();
    assert_eq!(opened, [texts.concat().as_slice(), b"end"].concat());
}

#[test]
fn long_data_is_cut_into_frames() {
    let key = key(Kem::X25519);
    for (length, count) in
        [(0, 1), (MAX_FRAME_DATA_BYTES, 1), (MAX_FRAME_DATA_BYTES + 1, 2), (3 * MAX_FRAME_DATA_BYTES, 3)]
    {
        let data = vec![7; length];
        let sent = send(&key, &[&data]);
        assert_eq!(frames(&sent.body).len(), count);
        assert_eq!(sent.body.len(), length + 21 * count);
        assert_eq!(receive(&key, &POST, &sent.header, &sent.body).unwrap(), data);
    }
}

#[test]
fn no_secret_is_printed() {
    let key = key(Kem::X25519);
    let sealed = seal_request(key.public_key(), &POST, b"canary", entropy(1)).unwrap();
    let (opened, reply) = accept(&key, &POST, &sealed.header).unwrap();
    let shown = format!("{key:?} {:?} {:?} {reply:?} {:?}", sealed.body, sealed.awaiting, opened.body);
    assert!(!shown.contains("94, 94") && !shown.contains("5e5e"), "{shown}");
    assert!(shown.contains("BodyKey(") && shown.contains("Awaiting") && shown.contains("Reply"));
}

#[test]
fn every_error_says_what_it_is() {
    for (error, word) in [
        (Error::Header, "form"),
        (Error::OtherKey, "key in use"),
        (Error::PublicKey, "public key"),
        (Error::HeadTooLong, "1024"),
        (Error::Head, "method"),
        (Error::FrameLength, "length"),
        (Error::Frame, "next one"),
        (Error::Truncated, "ended"),
        (Error::Appended, "follow"),
        (Error::TooLong, "limit"),
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
