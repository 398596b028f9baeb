//! The vectors in tests/vectors/body-encryption (their README says what the fields are). `WRITE_VECTORS=1` writes those of ours anew.

use crate::made::{LIMIT, frames};
use anchorhold_body_encryption::{
    Awaiting, BodyKey, Buckets, Error, KeyConfigError, KeyId, Opened, Request, RequestHeader, Response,
    Sealer, ehbp, read_key_config, read_key_configs, seal_bodyless_request, seal_request, write_key_config,
    write_key_configs,
};
use anchorhold_hpke::Entropy;
use anchorhold_rats::{Kem, Nonce, Secret, hex};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/body-encryption").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// What stands in the file; after writing it there, when asked to.
fn kept(name: &str, made: &Value) -> Value {
    if std::env::var_os("WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).unwrap();
        std::fs::write(path(name), text + "\n").unwrap();
    }
    read(name)
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn key(vector: &Value) -> BodyKey {
    let kem = Kem::named(text(vector, "kem")).unwrap();
    BodyKey::from_seed(kem, &Secret::copy_from(&unhex(&vector["seed"])).unwrap())
}

fn request(vector: &Value) -> Request<'_> {
    Request {
        method: text(vector, "method"),
        target: text(vector, "target"),
        content_type: text(vector, "content_type"),
    }
}

fn response(vector: &Value) -> Response<'_> {
    let status = u16::try_from(vector["status"].as_u64().unwrap()).unwrap();
    Response { status, content_type: text(vector, "content_type") }
}

fn chunks(vector: &Value) -> Option<Vec<Vec<u8>>> {
    vector["chunks"].as_array().map(|chunks| chunks.iter().map(unhex).collect())
}

/// The body that belongs to `vector`: every chunk pushed alone, an empty one as a cover, the last one with the end.
fn body(sealer: Sealer, vector: &Value) -> Vec<u8> {
    let sizes: Option<Vec<_>> = vector["buckets"]
        .as_array()
        .map(|sizes| sizes.iter().map(|size| usize::try_from(size.as_u64().unwrap()).unwrap()).collect());
    let mut sealer = match sizes {
        Some(sizes) => sealer.padded(Buckets::new(&sizes).unwrap()),
        None => sealer,
    };
    let (mut out, chunks) = (Vec::new(), chunks(vector).unwrap());
    let (last, inner) = chunks.split_last().unwrap();
    for chunk in inner {
        if chunk.is_empty() { sealer.cover(&mut out) } else { sealer.push(chunk, &mut out) }.unwrap();
    }
    sealer.finish(last, &mut out).unwrap();
    out
}

/// The header and the body of the request of `vector`, and what opens the response.
fn send(vector: &Value) -> (String, Option<Vec<u8>>, Awaiting) {
    let (key, sent) = (key(vector), &vector["request"]);
    let entropy = Entropy::copy_from(&unhex(&sent["entropy"])).unwrap();
    let head = unhex(&sent["head"]);
    if sent["chunks"].is_null() {
        let (header, awaiting) =
            seal_bodyless_request(key.public_key(), &request(sent), &head, entropy).unwrap();
        return (header, None, awaiting);
    }
    let sealed = seal_request(key.public_key(), &request(sent), &head, entropy).unwrap();
    (sealed.header, Some(body(sealed.body, sent)), sealed.awaiting)
}

/// `vector` with everything that follows from its inputs.
fn complete(mut vector: Value) -> Value {
    let key = key(&vector);
    vector["public_key"] = hex(key.public_key().as_bytes()).into();
    vector["key_id"] = KeyId::of(key.public_key()).to_string().into();
    let (header, sealed, _) = send(&vector);
    let (_, reply) =
        RequestHeader::parse(&header).unwrap().open(&key, &request(&vector["request"]), LIMIT).unwrap();
    vector["request"]["header"] = header.into();
    vector["request"]["body"] = sealed.map(|body| hex(&body)).into();
    let answer = vector["response"].clone();
    let nonce = Nonce::new(unhex(&answer["nonce"]).try_into().unwrap());
    let head = unhex(&answer["head"]);
    let (header, sealed) = if answer["chunks"].is_null() {
        (reply.seal_bodyless(&response(&answer), &head, &nonce).unwrap(), Value::Null)
    } else {
        let (header, sealer) = reply.seal(&response(&answer), &head, &nonce).unwrap();
        (header, hex(&body(sealer, &answer)).into())
    };
    vector["response"]["header"] = header.into();
    vector["response"]["body"] = sealed;
    vector
}

fn inputs() -> Vec<Value> {
    let post = json!({
        "method": "POST", "target": "/v1/chat/completions", "content_type": "application/json", "head": "",
        "entropy": "01".repeat(64), "buckets": null, "chunks": [hex(br#"{"model":"m","messages":[]}"#)],
    });
    let answer = json!({
        "status": 200, "content_type": "application/json", "head": "", "nonce": "4e".repeat(32),
        "buckets": null, "chunks": [hex(br#"{"choices":[]}"#)],
    });
    let vector = |name: &str, kem: Kem| {
        json!({
            "name": name, "kem": kem.name(), "seed": "5e".repeat(32), "request": post, "response": answer,
        })
    };
    let mut vectors = vec![
        vector("x25519", Kem::X25519),
        vector("x-wing", Kem::XWing),
        vector("stream, padded, with heads", Kem::XWing),
        vector("no body but in the response", Kem::XWing),
        vector("empty body, response without one", Kem::X25519),
        vector("text beyond ASCII in what is bound", Kem::X25519),
    ];
    vectors[2]["request"]["head"] = hex(b"authorization: Bearer key-of-a-tenant").into();
    vectors[2]["request"]["chunks"] = json!([hex(b"{\"stream\":"), "", hex(b"true}")]);
    vectors[2]["request"]["buckets"] = json!([32, 256]);
    vectors[2]["response"] = json!({
        "status": 200, "content_type": "text/event-stream", "head": hex(b"receipt"), "nonce": "6e".repeat(32),
        "buckets": [64], "chunks": [hex(b"data: one\n\n"), "", hex(b"data: \xf0\x9f\x98\x80\n\n"), hex(b"data: [DONE]\n\n"), ""],
    });
    let empty = json!([""]);
    for (at, method, target) in [(3, "GET", "/v1/models?limit=1"), (4, "POST", "/v1/models/unload")] {
        let sent = &mut vectors[at]["request"];
        (sent["method"], sent["target"], sent["content_type"]) = (method.into(), target.into(), "".into());
        sent["chunks"] = if at == 3 { Value::Null } else { empty.clone() };
    }
    let none = &mut vectors[4]["response"];
    (none["status"], none["content_type"], none["chunks"]) = (204.into(), "".into(), Value::Null);
    vectors[5]["request"]["target"] = "/v1/modèles?q=%20".into();
    vectors
}

#[test]
fn our_vectors_are_what_is_made_from_their_inputs() {
    let made: Vec<_> = inputs().into_iter().map(complete).collect();
    let kept = kept("anchorhold-body-1.json", &made.into());
    for vector in kept.as_array().unwrap() {
        assert_eq!(&complete(vector.clone()), vector, "{}", vector["name"]);
        let key = key(vector);
        let sent = &vector["request"];
        let header = RequestHeader::parse(text(sent, "header")).unwrap();
        let (opened, _) = header.open(&key, &request(sent), LIMIT).unwrap();
        arrives(opened, sent);
        let (_, _, awaiting) = send(vector);
        let answer = &vector["response"];
        arrives(awaiting.open(&response(answer), text(answer, "header"), LIMIT).unwrap(), answer);
    }
    assert!(kept.as_array().unwrap().len() >= 6);
}

fn arrives(opened: Opened, vector: &Value) {
    assert_eq!(opened.head, unhex(&vector["head"]));
    let body = opened.body.map(|opener| opener.open_whole(&unhex(&vector["body"])).unwrap());
    assert_eq!(body, chunks(vector).map(|chunks| chunks.concat()));
}

/// Messages that are refused: the vector that each is made from, its side, what is changed, and why it is refused.
struct Refused<'a> {
    vectors: &'a [Value],
    all: Vec<Value>,
}

impl Refused<'_> {
    fn add(&mut self, of: usize, side: &str, name: &str, error: Error, change: impl Fn(&mut Value)) {
        let vector = &self.vectors[of];
        let mut message = vector[side].clone();
        change(&mut message);
        for input in ["chunks", "buckets", "entropy", "nonce", "head"] {
            message.as_object_mut().unwrap().remove(input);
        }
        self.all.push(json!({
            "name": name, "of": vector["name"], "side": side, "message": message, "error": format!("{error:?}"),
        }));
    }

    fn bound(&mut self) {
        for (field, value) in [
            ("method", "PUT"),
            ("target", "/v1/completions"),
            ("target", "/v1/chat/completions?a"),
            ("content_type", "text/plain"),
        ] {
            let name = format!("another {} ({value})", field.replace('_', " "));
            self.add(0, "request", &name, Error::Head, |message| message[field] = value.into());
        }
        self.add(0, "response", "another status", Error::Head, |message| message["status"] = 201.into());
        self.add(0, "response", "another content type", Error::Head, |message| {
            message["content_type"] = "text/plain".into();
        });
    }

    fn headers(&mut self) {
        let header = |at: usize, bits: u8| {
            move |message: &mut Value| {
                let mut bytes = BASE64.decode(text(message, "header")).unwrap();
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= bits;
                message["header"] = BASE64.encode(bytes).into();
            }
        };
        self.add(0, "request", "another version", Error::Header, header(0, 3));
        self.add(0, "request", "an unknown body flag", Error::Header, header(1, 3));
        self.add(0, "request", "a body denied", Error::Head, header(1, 1));
        self.add(3, "request", "a body claimed", Error::Head, header(1, 1));
        self.add(0, "request", "an unknown KEM", Error::Header, header(3, 1));
        self.add(0, "request", "another key id", Error::OtherKey, header(4, 1));
        for of in [0, 1] {
            self.add(of, "request", "another encapsulated key", Error::Head, header(40, 1));
            self.add(of, "request", "another tag", Error::Head, header(usize::MAX, 1));
        }
        self.add(0, "response", "another nonce", Error::Head, header(2, 1));
        self.add(0, "response", "another tag", Error::Head, header(usize::MAX, 1));
        self.add(0, "request", "a tag cut short", Error::Header, |message| {
            let header = text(message, "header");
            message["header"] = header[..header.len() - 4].into();
        });
        self.add(0, "request", "padding in base64", Error::Header, |message| {
            message["header"] = format!("{}=", text(message, "header")).into();
        });
    }

    fn bodies(&mut self, side: &str) {
        /// From the frames of a body, another body.
        type Change = fn(&[&[u8]]) -> Vec<u8>;
        let changes: [(&str, Error, Change); 12] = [
            ("cut between two frames", Error::Truncated, |frames| frames[..frames.len() - 1].concat()),
            ("cut inside a frame", Error::Truncated, |frames| {
                let all = frames.concat();
                all[..all.len() - 1].to_vec()
            }),
            ("no frame at all", Error::Truncated, |_| Vec::new()),
            ("the first two frames exchanged", Error::Frame, |frames| {
                [&[frames[1], frames[0]], &frames[2..]].concat().concat()
            }),
            ("a frame twice", Error::Frame, |frames| [frames[0], &frames.concat()].concat()),
            ("a frame left out", Error::Frame, |frames| frames[1..].concat()),
            ("a frame after the end", Error::Appended, |frames| {
                [&frames.concat(), frames[frames.len() - 1]].concat()
            }),
            ("a byte after the end", Error::Appended, |frames| [frames.concat().as_slice(), b"\0"].concat()),
            ("the end claimed too early", Error::Frame, |frames| flip(frames, 0, 0x80)),
            ("a changed byte", Error::Frame, |frames| flip(frames, 4, 1)),
            ("a frame of no plaintext", Error::FrameLength, |_| vec![0, 0, 0, 16]),
            ("a frame over the limit", Error::FrameLength, |_| vec![0, 1, 0, 17]),
        ];
        for (name, error, change) in changes {
            self.add(2, side, name, error, |message| {
                message["body"] = hex(&change(&frames(&unhex(&message["body"])))).into();
            });
        }
    }
}

fn flip(frames: &[&[u8]], at: usize, bits: u8) -> Vec<u8> {
    let mut all = frames.concat();
    all[at] ^= bits;
    all
}

fn refused(vectors: &[Value]) -> Vec<Value> {
    let mut refused = Refused { vectors, all: Vec::new() };
    refused.bound();
    refused.headers();
    refused.bodies("request");
    refused.bodies("response");
    refused.all
}

#[test]
fn our_refused_vectors_are_refused() {
    let vectors: Vec<_> = inputs().into_iter().map(complete).collect();
    let kept = kept("anchorhold-body-1-refused.json", &refused(&vectors).into());
    for case in kept.as_array().unwrap() {
        let message = &case["message"];
        let vector = vectors.iter().find(|vector| vector["name"] == case["of"]).unwrap();
        let opened = if case["side"] == "request" {
            RequestHeader::parse(text(message, "header"))
                .and_then(|header| header.open(&key(vector), &request(message), LIMIT))
                .map(|(opened, _)| opened)
        } else {
            send(vector).2.open(&response(message), text(message, "header"), LIMIT)
        };
        let outcome = opened.and_then(|opened| match opened.body {
            Some(opener) => opener.open_whole(&unhex(&message["body"])),
            None => Ok(Vec::new()),
        });
        assert_eq!(format!("{:?}", outcome.unwrap_err()), case["error"], "{} {}", case["of"], case["name"]);
    }
    assert!(kept.as_array().unwrap().len() >= 40);
}

#[test]
fn key_configurations_are_read_as_the_vectors_say() {
    let keys = Kem::ALL.map(|kem| BodyKey::from_seed(kem, &Secret::take(&mut [0x5e; 32])));
    let [x_wing, x25519] = keys.each_ref().map(BodyKey::public_key);
    let one = write_key_config(x25519);
    let list = write_key_configs(&[x_wing, x25519]).unwrap();
    let mut foreign = vec![0, 72, 0, 0, 0x10];
    foreign.extend([4; 65]);
    foreign.extend([0, 4, 0, 1, 0, 2]);
    foreign[1] = 74;
    let case = |name: &str, form: &str, bytes: &[u8], keys: Value, error: Value| json!({ "name": name, "form": form, "bytes": hex(bytes), "keys": keys, "error": error });
    let malformed = || format!("{:?}", KeyConfigError::Malformed).into();
    let unsupported = || format!("{:?}", KeyConfigError::Unsupported).into();
    let names = |keys: &[&anchorhold_rats::WrappingKey]| {
        keys.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    };
    let mut other_suite = one.clone();
    other_suite[40] = 3;
    let made = json!([
        case("one, as EHBP serves it", "one", &one, names(&[x25519]), Value::Null),
        case("X-Wing and X25519", "list", &list, names(&[x_wing, x25519]), Value::Null),
        case(
            "P-256 is left out",
            "list",
            &[&foreign, list.as_slice()].concat(),
            names(&[x_wing, x25519]),
            Value::Null
        ),
        case("P-256 alone", "list", &foreign, Value::Null, unsupported()),
        case("another AEAD", "one", &other_suite, Value::Null, unsupported()),
        case("cut", "one", &one[..40], Value::Null, malformed()),
        case("a byte more", "one", &[one.as_slice(), &[0]].concat(), Value::Null, malformed()),
        case("no suite", "one", &[&one[..35], &[0, 0]].concat(), Value::Null, malformed()),
        case("half a suite", "one", &[&one[..35], &[0, 2, 0, 1]].concat(), Value::Null, malformed()),
        case("a length beyond the end", "list", &list[..list.len() - 1], Value::Null, malformed()),
        case("nothing", "list", &[], Value::Null, unsupported()),
    ]);
    for case in kept("key-configs.json", &made).as_array().unwrap() {
        let bytes = unhex(&case["bytes"]);
        let read = match text(case, "form") {
            "one" => read_key_config(&bytes).map(|key| vec![key]),
            _ => read_key_configs(&bytes),
        };
        match read {
            Ok(keys) => {
                let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                assert_eq!(Value::from(keys), case["keys"], "{}", case["name"]);
            }
            Err(error) => assert_eq!(format!("{error:?}"), case["error"], "{}", case["name"]),
        }
    }
}

/// The requests were made by the `ehbp` package of npm; the responses by us, and that package opened them.
#[test]
fn ehbp_exchanges_with_another_implementation_are_what_they_were() {
    let mut made = read("ehbp.json");
    for vector in made.as_array_mut().unwrap() {
        let key = key(vector);
        assert_eq!(hex(key.public_key().as_bytes()), vector["public_key"]);
        assert_eq!(hex(&write_key_config(key.public_key())), vector["key_config"]);
        let mut opener = ehbp::open_request(&key, text(&vector["request"], "header"), LIMIT).unwrap();
        let mut plain = Vec::new();
        opener.push(&unhex(&vector["request"]["body"]), &mut plain).unwrap();
        let nonce = Nonce::new(unhex(&vector["response"]["header"]).try_into().unwrap());
        let (header, mut sealer) = opener.reply().unwrap().seal(&nonce);
        opener.finish().unwrap();
        assert_eq!(plain, unhex(&vector["request"]["plaintext"]));
        assert_eq!(header, vector["response"]["header"]);
        let mut body = Vec::new();
        for chunk in chunks(&vector["response"]).unwrap() {
            sealer.push(&chunk, &mut body).unwrap();
        }
        vector["response"]["body"] = hex(&body).into();
    }
    assert!(made.as_array().unwrap().len() >= 3);
    assert_eq!(kept("ehbp.json", &made), made);
}
