//! A TPM's key, its certificates, quote, PCR values and event log, changed without or with new signatures, and what a TPM answers to commands: what the
//! key did not sign is not believed, a log is believed as far as quoted PCRs, and no response is read past its end.
#![no_main]

use anchorhold_attester::device::tpm::Tpm;
use anchorhold_attester::software::SoftwareTpm;
use anchorhold_attester::software::tpm::{PcrEvent, TpmAuthority};
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::{accepted, assert_named};
use anchorhold_rats::{Sha256Digest, Timestamp, TpmEvidence};
use anchorhold_verifier::tpm::{Attest, AuthenticQuote, MAX_NONCE_BYTES, Policy, appraise, authenticate};
use libfuzzer_sys::fuzz_target;
use std::io::{self, Read, Write};
use std::sync::LazyLock;

const NONCE: [u8; 32] = [9; 32];

fn at() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

struct Good {
    tpm: SoftwareTpm,
    sent: TpmEvidence,
    policy: Policy,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let events = vec![
        PcrEvent::of_data(4, 0x8000_0003, b"a kernel"),
        PcrEvent { pcr: 0, kind: 3, digest: [0; 32], data: b"StartupLocality\0\x03".to_vec() },
        PcrEvent::of_data(9, 0xd, b"a command line"),
    ];
    let mut tpm = SoftwareTpm::after(events).expect("a key");
    tpm.pcrs.remove(&0);
    let authority = TpmAuthority::new().expect("keys");
    tpm.certificates = authority.sign(&authority.templates(&tpm, at())).expect("certificates");
    let sent = tpm.attest(&NONCE).expect("evidence");
    let quote = authenticate(&sent, at()).expect("good evidence");
    let pcrs = quote.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
    let policy = Policy::strict(vec![quote.key()], pcrs);
    appraise(&quote, &policy, &NONCE).expect("acceptable evidence");
    Good { tpm, sent, policy }
});

fn judge(sent: &TpmEvidence) -> Option<AuthenticQuote> {
    let quote = accepted(authenticate(sent, at()))?;
    if let Some(checks) = accepted(appraise(&quote, &GOOD.policy, &NONCE)) {
        assert_eq!(quote.nonce(), NONCE);
        let log = quote.log().expect("a log, which the policy demands");
        assert!(GOOD.policy.pcrs.keys().all(|pcr| log.pcrs().get(pcr) == quote.pcrs().get(pcr)));
        assert_named(&checks);
    }
    Some(quote)
}

/// Answers every command with the next part of these bytes.
struct Device<'a>(&'a [u8]);

impl Write for Device<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Device<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut sent = GOOD.sent.clone();
    match script.byte() % 9 {
        0 => {
            if let Some(attest) = accepted(Attest::parse(&raw_or_edited(script.0, &sent.quote))) {
                assert!(attest.nonce.len() <= MAX_NONCE_BYTES);
            }
            return;
        }
        1 => {
            let mut tpm = Tpm::new(Device(script.0));
            if let Ok(values) = tpm.read_pcrs(&[0, 4, 9]) {
                assert_eq!(values.len(), 3);
            }
            let _ = tpm.quote(&[0, 4, 9], &NONCE);
            return;
        }
        2 => script.edit(&mut sent.key),
        3 => script.edit(&mut sent.quote),
        4 => script.edit(&mut sent.signature),
        5 => {
            let at = script.below(sent.pcrs.len());
            script.edit(&mut sent.pcrs[at].0);
        }
        6 => {
            let at = script.below(sent.certificates.len());
            script.edit(&mut sent.certificates[at].0);
            // Of another root whatever is said of it: it has another digest.
            if let Some(quote) = judge(&sent) {
                let root = Sha256Digest::of(&sent.certificates[sent.certificates.len() - 1].0);
                assert_eq!(quote.root(), Some(root));
            }
            return;
        }
        7 => {
            script.edit(&mut sent.quote);
            let Ok(signature) = GOOD.tpm.sign(&sent.quote) else { return };
            sent.signature = signature;
            judge(&sent);
            return;
        }
        _ => {
            if let Some(log) = &mut sent.event_log {
                script.edit(&mut log.0);
            }
            judge(&sent);
            return;
        }
    }
    // Without a new signature nothing but what was signed is accepted.
    if let Some(quote) = judge(&sent) {
        assert_eq!(
            (quote.key().to_string(), &sent.quote),
            (Sha256Digest::of(&GOOD.sent.key).to_string(), &GOOD.sent.quote)
        );
    }
});
