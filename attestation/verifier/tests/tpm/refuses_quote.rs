//! Quotes that are none, or not of these PCRs.

use crate::support::*;
use anchorhold_attester::software::tpm::{PcrEvent, encode_log};
use anchorhold_rats::Der;

/// Where the selection begins, after a nonce of 64 bytes.
const SELECTION_AT: usize = 6 + 36 + 66 + 17 + 8;

#[test]
fn refuses_what_is_not_a_quote() {
    let tpm = tpm();
    assert_eq!(refusal(&requoted(&tpm, |quote| quote[5] = 0x17)), "tpm_quote_type");
    assert_eq!(refusal(&requoted(&tpm, |quote| quote.push(0))), "tpm_quote_malformed");
    assert_eq!(refusal(&requoted(&tpm, |quote| quote.truncate(100))), "tpm_quote_malformed");
    assert_eq!(refusal(&requoted(&tpm, |quote| quote[SELECTION_AT + 5] = 0x0c)), "tpm_pcr_selection");
}

#[test]
fn refuses_other_values_than_were_quoted() {
    let good = sent(&tpm());
    let mut fewer = good.clone();
    fewer.pcrs.pop();
    assert_eq!(refusal(&fewer), "tpm_pcr_count");
    let mut short = good.clone();
    short.pcrs[0].0.pop();
    assert_eq!(refusal(&short), "tpm_pcr_count");
    let mut exchanged = good.clone();
    exchanged.pcrs.swap(0, 1);
    assert_eq!(refusal(&exchanged), "tpm_pcr_digest");
    let mut changed = good;
    changed.quote[80] ^= 1;
    assert_eq!(refusal(&changed), "tpm_quote_signature");
}

#[test]
fn refuses_logs_that_are_none() {
    let good = sent(&tpm());
    let with = |log: Vec<u8>| {
        let mut changed = good.clone();
        changed.event_log = Some(Der(log));
        refusal(&changed)
    };
    assert_eq!(with(Vec::new()), "eventlog_header");
    assert_eq!(with(vec![0; 262_145]), "eventlog_length");
    let event = |pcr| PcrEvent::of_data(pcr, 4, &[0; 4]);
    assert_eq!(with(encode_log(&[event(24)])), "eventlog_register");
    let log = encode_log(&[event(1)]);
    assert_eq!(with(log[..log.len() - 1].to_vec()), "eventlog_truncated");
    // A header that names SHA-1 alone.
    let mut sha1 = log.clone();
    (sha1[28], sha1[56]) = (33, 1);
    sha1.drain(64..68);
    assert_eq!(with(sha1), "eventlog_algorithms");
    let mut second = log.clone();
    second.extend([&[0; 4][..], &[3, 0, 0, 0], &[0; 4], &[16, 0, 0, 0], b"Spec ID Event03\0"].concat());
    assert_eq!(with(second), "eventlog_digests");
}

/// PCR 0 begins with the locality from which the TPM was started.
#[test]
fn a_startup_locality_in_the_log_counts() {
    let mut tpm = tpm();
    let startup = |data: &[u8]| PcrEvent { pcr: 0, kind: 3, digest: [0; 32], data: data.to_vec() };
    let measured = PcrEvent::of_data(0, 8, b"firmware");
    let from = |data: &[u8], tpm: &mut anchorhold_attester::software::SoftwareTpm| {
        tpm.log = Some(vec![startup(data), measured.clone()]);
        let quote = authenticate(&sent(tpm)).unwrap();
        quote.log().unwrap().pcrs()[&0]
    };
    let third = from(b"StartupLocality\0\x03", &mut tpm);
    assert_ne!(third, from(b"StartupLocality\0\x00", &mut tpm));
    assert_eq!(from(b"StartupLocality\0\x00", &mut tpm), from(b"something else", &mut tpm));
    let mut first = [0; 32];
    first[31] = 3;
    let wanted = anchorhold_rats::Sha256Digest::of(&[&first[..], &measured.digest].concat());
    assert_eq!(third, *wanted.as_bytes());
}
