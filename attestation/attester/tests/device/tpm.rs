//! The TPM client against an emulator (`swtpm`), its quotes before the verifier, and responses that no TPM gives.

use anchorhold_attester::device::tpm::{Tpm, TpmError};
use anchorhold_rats::{Der, Sha256Digest, TpmEvidence};
use anchorhold_verifier::Refusal;
use anchorhold_verifier::tpm::{self, AuthenticQuote, KeyName, Policy, appraise};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

const NONCE: [u8; 64] = [5; 64];

/// An emulator with a state of its own, at the other end of a pair of sockets; it ends with them.
struct Emulator {
    child: Child,
    _state: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None` where there is no emulator, which CI has.
fn emulator() -> Option<(Emulator, Tpm<UnixStream>)> {
    let state = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    // The child inherits this end.
    rustix::io::fcntl_setfd(theirs.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.path().display()))
        .args(["--fd", &theirs.as_raw_fd().to_string()])
        .stdin(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some((Emulator { child, _state: state }, Tpm::new(ours))),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "swtpm: {error}: run tests/scripts/setup.sh");
            None
        }
    }
}

/// Without certificates the time does not matter.
fn authenticate(evidence: &TpmEvidence) -> Result<AuthenticQuote, Refusal> {
    tpm::authenticate(evidence, "2026-10-01T00:00:00Z".parse().unwrap())
}

fn quote(tpm: &mut Tpm<UnixStream>, pcrs: &[u8]) -> TpmEvidence {
    tpm.quote(pcrs, &NONCE).unwrap()
}

fn policy(quote: &AuthenticQuote) -> Policy {
    let pcrs: BTreeMap<u8, Vec<[u8; 32]>> =
        quote.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
    Policy { require_event_log: false, ..Policy::strict(vec![quote.key()], pcrs) }
}

#[test]
fn a_quote_of_all_pcrs_is_accepted_after_they_were_extended() {
    let Some((_emulator, mut tpm)) = emulator() else { return };
    let digest = Sha256Digest::of(b"measured");
    tpm.extend(14, &digest).unwrap();
    let all: Vec<u8> = (0..24).collect();
    let evidence = quote(&mut tpm, &all);
    let authentic = authenticate(&evidence).unwrap();
    let extended = Sha256Digest::of(&[&[0; 32][..], digest.as_bytes()].concat());
    assert_eq!((authentic.pcrs().len(), &authentic.pcrs()[&14]), (24, extended.as_bytes()));
    assert_eq!(authentic.pcrs()[&17], [0xff; 32]);
    assert_eq!(authentic.nonce(), NONCE);
    appraise(&authentic, &policy(&authentic), &NONCE).unwrap();
    assert_eq!(tpm.read_pcrs(&[14, 0]).unwrap(), [[0; 32], *extended.as_bytes()]);
}

#[test]
fn the_key_is_the_same_in_every_quote_and_no_key_stays_loaded() {
    let Some((_emulator, mut tpm)) = emulator() else { return };
    // An emulator has room for three.
    let keys: Vec<_> = (0..8).map(|_| authenticate(&quote(&mut tpm, &[0, 7])).unwrap().key()).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    let Some((_other, mut other)) = emulator() else { return };
    assert_ne!(authenticate(&quote(&mut other, &[0])).unwrap().key(), keys[0]);
    assert!(matches!(tpm.read_public(0x8000_0000), Err(TpmError::Refused { command: 0x173, .. })));
}

#[test]
fn what_an_emulator_quoted_is_refused_when_it_is_changed_or_not_wanted() {
    let Some((_emulator, mut tpm)) = emulator() else { return };
    let before = authenticate(&quote(&mut tpm, &[10, 11])).unwrap();
    let policy = policy(&before);
    tpm.extend(11, &Sha256Digest::of(b"another kernel")).unwrap();
    let evidence = quote(&mut tpm, &[10, 11]);
    let after = authenticate(&evidence).unwrap();
    let refusal = |quote: &AuthenticQuote, policy: &Policy, nonce: &[u8]| {
        appraise(quote, policy, nonce).unwrap_err().code().to_owned()
    };
    assert_eq!(refusal(&after, &policy, &NONCE), "tpm_pcr_value");
    assert_eq!(refusal(&before, &policy, &[6; 64]), "tpm_nonce");
    let other_key = Policy { keys: vec![KeyName::of(b"another")], ..policy.clone() };
    assert_eq!(refusal(&before, &other_key, &NONCE), "tpm_key");
    let mut replaced = evidence.clone();
    replaced.pcrs[1] = Der(before.pcrs()[&11].to_vec());
    assert_eq!(authenticate(&replaced).unwrap_err().code(), "tpm_pcr_digest");
    let mut changed = evidence;
    *changed.quote.last_mut().unwrap() ^= 1;
    assert_eq!(authenticate(&changed).unwrap_err().code(), "tpm_quote_signature");
}

#[test]
fn refuses_arguments_that_no_tpm_takes() {
    let mut tpm = Tpm::new(Scripted::default());
    assert!(matches!(tpm.quote(&[24], &NONCE), Err(TpmError::Argument(_))));
    assert!(matches!(tpm.quote(&[], &NONCE), Err(TpmError::Argument(_))));
    assert!(matches!(tpm.quote(&[0], &[0; 65]), Err(TpmError::Argument(_))));
    assert!(matches!(tpm.extend(24, &Sha256Digest::of(b"")), Err(TpmError::Argument(_))));
}

/// Responses in their order, in pieces of so many bytes.
#[derive(Default)]
struct Scripted {
    responses: Vec<Vec<u8>>,
    current: Vec<u8>,
    piece: usize,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.current = if self.responses.is_empty() { Vec::new() } else { self.responses.remove(0) };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.current.len().min(buffer.len()).min(self.piece);
        buffer[..count].copy_from_slice(&self.current[..count]);
        self.current.drain(..count);
        Ok(count)
    }
}

fn response(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

/// The response to a read of PCRs 0 to 7 with these values.
fn pcrs(selected: u8, values: &[[u8; 32]]) -> Vec<u8> {
    let mut body = [&[0; 4][..], &[0, 0, 0, 1, 0, 0x0b, 3, selected, 0, 0]].concat();
    body.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    values.iter().for_each(|value| body.extend([&[0, 32][..], value].concat()));
    response(0x8001, 0, &body)
}

fn read(responses: &[Vec<u8>], piece: usize) -> Result<Vec<[u8; 32]>, TpmError> {
    let responses = responses.to_vec();
    Tpm::new(Scripted { responses, current: Vec::new(), piece }).read_pcrs(&[0, 1])
}

#[test]
fn responses_may_come_in_any_pieces_and_values_in_several_responses() {
    let whole = pcrs(3, &[[1; 32], [2; 32]]);
    for piece in [1, 5, 11, 4096] {
        assert_eq!(read(std::slice::from_ref(&whole), piece).unwrap(), [[1; 32], [2; 32]]);
    }
    assert_eq!(read(&[pcrs(1, &[[1; 32]]), pcrs(2, &[[2; 32]])], 4096).unwrap(), [[1; 32], [2; 32]]);
}

#[test]
fn refuses_responses_that_are_not_to_the_command() {
    let good = pcrs(3, &[[1; 32], [2; 32]]);
    let mut long = good.clone();
    long.push(0);
    let mut tag = good.clone();
    tag[1] = 2;
    let mut huge = good.clone();
    huge[2] = 1;
    let mut small = good.clone();
    small[5] = 9;
    for (bad, what) in [
        (long, "bytes after the end"),
        (tag, "another tag"),
        (huge, "a size over the limit"),
        (small, "a size below a header"),
        (pcrs(0, &[]), "no values at all"),
        (pcrs(7, &[[1; 32], [2; 32], [3; 32]]), "a PCR that was not asked for"),
        (pcrs(3, &[[1; 32]]), "too few values"),
        (pcrs(2, &[[2; 32]]), "values out of their order"),
        (response(0x8001, 0, &[0; 8]), "no selection"),
    ] {
        let error = read(&[bad], 4096).unwrap_err();
        assert!(matches!(error, TpmError::Malformed { command: 0x17e, .. }), "{what}: {error}");
    }
    for length in 0..good.len() {
        let mut cut = good.clone();
        cut.truncate(length);
        assert!(matches!(read(&[cut], 4096).unwrap_err(), TpmError::Transport(_)), "{length}");
        let mut short = response(0x8001, 0, &good[10..length.max(10)]);
        short.truncate(length.max(10));
        assert!(read(&[short], 4096).is_err(), "{length}");
    }
    for code in [0x908, 0x90a, 0x922] {
        let busy = response(0x8001, code, &[]);
        assert_eq!(read(&[busy.clone(), busy.clone(), good.clone()], 4096).unwrap().len(), 2, "{code:#x}");
        let error = read(&vec![busy; 40], 4096).unwrap_err();
        assert!(matches!(error, TpmError::Refused { command: 0x17e, .. }), "{error}");
    }
    let refused = read(&[response(0x8001, 0x101, &[])], 4096).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { command: 0x17e, code: 0x101 }));
}
