//! Sealing and opening bodies, against plain AES-256-GCM of `ring` over the same data in pieces of the same size, in the same run; and
//! what one exchange costs before its first byte.
//!
//! Run with `cargo bench -p anchorhold-body-encryption`. `JSON` names a file for the results. Times are of the processor, which other
//! work on the machine disturbs less than the clock's; one thread; every number is the median of rounds that were taken in turn.

use anchorhold_body_encryption::{
    BodyKey, Request, RequestHeader, Response, ehbp, seal_bodyless_request, seal_request,
};
use anchorhold_hpke::Entropy;
use anchorhold_rats::{Kem, Nonce};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce as AeadNonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::Write as _;

type Failure = Box<dyn std::error::Error>;
/// A thing to measure; it appends what it makes.
type Round<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Result<(), Failure> + 'a>;

const BODY_BYTES: usize = 16 << 20;
const READ_BYTES: usize = 1 << 20;
const ROUNDS: usize = 31;
const LIMIT: u64 = u64::MAX;
const POST: Request<'static> =
    Request { method: "POST", target: "/v1/chat/completions", content_type: "application/json" };
const OK: Response<'static> = Response { status: 200, content_type: "text/event-stream" };

fn main() -> Result<(), Failure> {
    let mut results = Vec::new();
    // A body at once; a stream of tokens.
    for (name, piece) in [("64k", 65_535), ("256", 256)] {
        throughput(name, piece, &mut results)?;
    }
    for kem in Kem::ALL {
        exchange(kem, &mut results)?;
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

fn throughput(name: &str, piece: usize, results: &mut Vec<Value>) -> Result<(), Failure> {
    let data = vec![0x61; BODY_BYTES];
    let key = BodyKey::generate(Kem::X25519)?;
    let plain = ring_key()?;
    let [mut by_ring, mut ours, mut envelopes] = [(); 3].map(|()| Vec::new());
    ring_seal(&plain, &data, piece, &mut by_ring)?;
    let header = seal(&key, &data, piece, &mut ours)?;
    let enc = ehbp_seal(&key, &data, piece, &mut envelopes)?;
    let (key, data, by_ring, ours, envelopes) = (&key, &data, &by_ring, &ours, &envelopes);
    let mut rounds: Vec<(&str, Round<'_>)> = vec![
        ("ring_seal", Box::new(|out| ring_seal(&plain, data, piece, out))),
        ("ring_open", Box::new(|out| ring_open(&plain, by_ring, piece, out))),
        ("seal", Box::new(|out| seal(key, data, piece, out).map(drop))),
        ("open", Box::new(|out| open(key, &header, ours, out))),
        ("ehbp_request_seal", Box::new(|out| ehbp_seal(key, data, piece, out).map(drop))),
        ("ehbp_request_open", Box::new(|out| ehbp_open(key, &enc, envelopes, out))),
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); rounds.len()];
    // Memory that was touched before, as a server's is.
    let mut out = Vec::with_capacity(2 * BODY_BYTES);
    for _ in 0..ROUNDS {
        for ((_, round), times) in rounds.iter_mut().zip(&mut times) {
            out.clear();
            let begun = cpu_s();
            round(&mut out)?;
            times.push(cpu_s() - begun);
            black_box(&out);
        }
    }
    let rates: Vec<f64> = times.iter_mut().map(|times| BODY_BYTES as f64 / 1e6 / median(times)).collect();
    for (at, ((what, _), rate)) in rounds.iter().zip(&rates).enumerate() {
        // Sealing beside sealing, opening beside opening.
        let peer = rates.get(at % 2).copied().unwrap_or(f64::NAN);
        let named = format!("body_{what}_{name}");
        let ratio = rate / peer;
        writeln!(std::io::stdout(), "{named}: {rate:.0} MB/s, {ratio:.2} of ring")?;
        results.push(json!({ "name": named, "value": rate, "unit": "MB/s", "peer": peer, "ratio": ratio }));
    }
    Ok(())
}

/// The time of a request and a response without bodies, on each side.
fn exchange(kem: Kem, results: &mut Vec<Value>) -> Result<(), Failure> {
    let key = BodyKey::generate(kem)?;
    let nonce = Nonce::new([1; 32]);
    let (mut client, mut guest) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let entropy = Entropy::random()?;
        let begun = cpu_s();
        let (header, awaiting) = seal_bodyless_request(key.public_key(), &POST, b"", entropy)?;
        let sealed = cpu_s() - begun;
        let begun = cpu_s();
        let (_, reply) = RequestHeader::parse(&header)?.open(&key, &POST, LIMIT)?;
        let (header, _) = reply.seal(&OK, b"", &nonce)?;
        guest.push((cpu_s() - begun) * 1e6);
        let begun = cpu_s();
        black_box(awaiting.open(&OK, &header, LIMIT)?);
        client.push((sealed + cpu_s() - begun) * 1e6);
    }
    for (side, times) in [("client", &mut client), ("guest", &mut guest)] {
        let (name, value) = (format!("body_exchange_{kem}_{side}"), median(times));
        writeln!(std::io::stdout(), "{name}: {value:.0} us")?;
        results.push(json!({ "name": name, "value": value, "unit": "us" }));
    }
    Ok(())
}

fn seal(key: &BodyKey, data: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<String, Failure> {
    let mut sealed = seal_request(key.public_key(), &POST, b"", Entropy::random()?)?;
    for data in data.chunks(piece) {
        sealed.body.push(data, out)?;
    }
    sealed.body.finish(&[], out)?;
    Ok(sealed.header)
}

fn open(key: &BodyKey, header: &str, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
    let (opened, _) = RequestHeader::parse(header)?.open(key, &POST, LIMIT)?;
    let mut opener = opened.body.ok_or("a body")?;
    // In reads of a socket.
    for read in body.chunks(READ_BYTES) {
        opener.push(read, out)?;
    }
    Ok(opener.finish()?)
}

fn ehbp_seal(key: &BodyKey, data: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<String, Failure> {
    let (header, mut sealer, _) = ehbp::seal_request(key.public_key(), Entropy::random()?)?;
    for data in data.chunks(piece) {
        sealer.push(data, out)?;
    }
    Ok(header)
}

fn ehbp_open(key: &BodyKey, header: &str, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut opener = ehbp::open_request(key, header, LIMIT)?;
    for read in body.chunks(READ_BYTES) {
        opener.push(read, out)?;
    }
    Ok(opener.finish()?)
}

fn ring_key() -> Result<LessSafeKey, Failure> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "a key")?))
}

fn nonce(count: usize) -> AeadNonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().rev().zip(count.to_le_bytes()).for_each(|(byte, count)| *byte = count);
    AeadNonce::assume_unique_for_key(nonce)
}

/// Every piece copied to the output and encrypted there, its tag after it.
fn ring_seal(key: &LessSafeKey, data: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    for (count, data) in data.chunks(piece).enumerate() {
        let start = out.len();
        out.extend_from_slice(data);
        let bytes = out.get_mut(start..).ok_or("a piece")?;
        let tag = key.seal_in_place_separate_tag(nonce(count), Aad::empty(), bytes).map_err(|_| "seal")?;
        out.extend_from_slice(tag.as_ref());
    }
    Ok(())
}

/// Every piece copied to the output and decrypted there.
fn ring_open(key: &LessSafeKey, sealed: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    for (count, sealed) in sealed.chunks(piece + 16).enumerate() {
        let start = out.len();
        out.extend_from_slice(sealed);
        let bytes = out.get_mut(start..).ok_or("a piece")?;
        let plain = key.open_in_place(nonce(count), Aad::empty(), bytes).map_err(|_| "open")?.len();
        out.truncate(start + plain);
    }
    Ok(())
}

/// Seconds that this thread has used.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
