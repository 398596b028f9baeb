//! Encrypted bodies: any bytes, in any cutting, are opened to a beginning of what was sealed or refused; and so is any header. In front of the
//! fuzzer's bytes stand as many honest ones as it asks for, since it cannot make a tag.
#![no_main]

use anchorhold_body_encryption::{
    BodyKey, Error, Opener, Request, RequestHeader, Response, ehbp, seal_request,
};
use anchorhold_hpke::Entropy;
use anchorhold_rats::{Kem, Nonce, Secret};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const POST: Request<'static> = Request { method: "POST", target: "/", content_type: "" };
const OK: Response<'static> = Response { status: 200, content_type: "" };
const TEXT: &[u8] = b"data: one\n\ndata: two\n\ndata: three\n\n";
const LIMIT: u64 = 4096;

/// One exchange of each profile: headers and bodies as the honest ends make them.
struct Honest {
    key: BodyKey,
    request: (String, Vec<u8>),
    response: (String, Vec<u8>),
    ehbp_request: (String, Vec<u8>),
    ehbp_response: (String, Vec<u8>),
}

fn entropy() -> Entropy {
    Entropy::take(&mut [1; 64])
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let key = BodyKey::from_seed(Kem::X25519, &Secret::take(&mut [7; 32]));
    let nonce = Nonce::new([9; 32]);
    let sealed = seal_request(key.public_key(), &POST, b"head", entropy()).unwrap();
    let reply = RequestHeader::parse(&sealed.header).unwrap().open(&key, &POST, LIMIT).unwrap().1;
    let (answer, answering) = reply.seal(&OK, b"head", &nonce).unwrap();
    let [request, response] = [sealed.body, answering].map(|mut sealer| {
        let mut body = Vec::new();
        TEXT.chunks(11).for_each(|text| sealer.push(text, &mut body).unwrap());
        sealer.finish(b"", &mut body).unwrap();
        body
    });
    let (enc, mut sealer, _) = ehbp::seal_request(key.public_key(), entropy()).unwrap();
    let mut ehbp_request = Vec::new();
    TEXT.chunks(11).for_each(|text| sealer.push(text, &mut ehbp_request).unwrap());
    let mut opener = ehbp::open_request(&key, &enc, LIMIT).unwrap();
    opener.push(&ehbp_request, &mut Vec::new()).unwrap();
    let (answer_nonce, mut sealer) = opener.reply().unwrap().seal(&nonce);
    let mut ehbp_response = Vec::new();
    TEXT.chunks(11).for_each(|text| sealer.push(text, &mut ehbp_response).unwrap());
    Honest {
        key,
        request: (sealed.header, request),
        response: (answer, response),
        ehbp_request: (enc, ehbp_request),
        ehbp_response: (answer_nonce, ehbp_response),
    }
});

/// Pushes a body piece by piece and checks what comes out; the outcome of the last piece.
fn run(
    honest: &[u8],
    kept: usize,
    step: usize,
    bytes: &[u8],
    mut push: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let body = [honest.get(..kept).unwrap_or(honest), bytes].concat();
    let (mut out, mut outcome) = (Vec::new(), Ok(()));
    for piece in body.chunks(step) {
        let now = push(piece, &mut out);
        assert!(outcome.is_ok() || now == outcome, "a refusal is final");
        outcome = now;
        assert!(TEXT.starts_with(&out));
    }
    outcome.map(|()| out)
}

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (kept, step, bytes) = (usize::from(input.1), usize::from(input.2).max(1), input.3);
    let honest = &*HONEST;
    // One part at a time, because every one costs work on curves.
    match input.0 % 5 {
        0 => {
            let (header, body) = &honest.request;
            let opened = RequestHeader::parse(header).unwrap().open(&honest.key, &POST, LIMIT).unwrap().0;
            ours(opened.body.unwrap(), body, kept, step, bytes);
        }
        1 => {
            let (header, body) = &honest.response;
            let awaiting = seal_request(honest.key.public_key(), &POST, b"head", entropy()).unwrap().awaiting;
            ours(awaiting.open(&OK, header, LIMIT).unwrap().body.unwrap(), body, kept, step, bytes);
        }
        2 => {
            let (header, body) = &honest.ehbp_request;
            let mut opener = ehbp::open_request(&honest.key, header, LIMIT).unwrap();
            let _ = run(body, kept, step, bytes, |piece, out| opener.push(piece, out));
            let _ = opener.finish();
        }
        3 => {
            let (header, body) = &honest.ehbp_response;
            let awaiting = ehbp::seal_request(honest.key.public_key(), entropy()).unwrap().2;
            let mut opener = awaiting.open(header, LIMIT).unwrap();
            let _ = run(body, kept, step, bytes, |piece, out| opener.push(piece, out));
            let _ = opener.finish();
        }
        _ => headers(bytes),
    }
});

fn ours(mut opener: Opener, body: &[u8], kept: usize, step: usize, bytes: &[u8]) {
    let whole = run(body, kept, step, bytes, |piece, out| opener.push(piece, out));
    if let (Ok(out), Ok(())) = (whole, opener.finish()) {
        assert_eq!(out, TEXT);
    }
}

/// A header of the fuzzer's opens only if it is the honest one.
fn headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = RequestHeader::parse(text) {
        assert!(parsed.open(&HONEST.key, &POST, LIMIT).is_err() || text == HONEST.request.0);
    }
    let awaiting = seal_request(HONEST.key.public_key(), &POST, b"head", entropy()).unwrap().awaiting;
    assert!(awaiting.open(&OK, text, LIMIT).is_err() || text == HONEST.response.0);
    let _ = ehbp::open_request(&HONEST.key, text, LIMIT);
}
