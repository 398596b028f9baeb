//! Authentic quotes that are not acceptable.

use crate::support::*;
use anchorhold_attester::software::tpm::PcrEvent;
use anchorhold_verifier::tpm::{KeyName, Policy};
use std::collections::BTreeMap;

#[test]
fn a_quote_is_accepted_by_the_policy_for_it() {
    let quote = authenticate(&sent(&tpm())).unwrap();
    assert_eq!(failed(&quote, &policy(&quote), &NONCE), [""; 0]);
    let log = quote.log().unwrap();
    assert_eq!((log.events().len(), log.pcrs() == quote.pcrs()), (3, true));
}

#[test]
fn refuses_a_key_that_no_policy_names() {
    let quote = authenticate(&sent(&tpm())).unwrap();
    let other = Policy { keys: vec![name_of(&tpm())], ..policy(&quote) };
    assert_eq!(failed(&quote, &other, &NONCE), ["tpm_key"]);
    let none = Policy { keys: Vec::new(), ..policy(&quote) };
    assert_eq!(failed(&quote, &none, &NONCE), ["tpm_keys_empty", "tpm_key"]);
    let several = Policy { keys: vec![KeyName::of(b""), quote.key()], ..policy(&quote) };
    assert_eq!(failed(&quote, &several, &NONCE), [""; 0]);
}

#[test]
fn refuses_other_pcrs_each_for_itself() {
    let quote = authenticate(&sent(&tpm())).unwrap();
    let good = policy(&quote);
    let mut other = good.clone();
    other.pcrs.insert(4, vec![[1; 32], [2; 32]]);
    other.pcrs.insert(11, vec![[3; 32]]);
    assert_eq!(failed(&quote, &other, &NONCE), ["tpm_pcr_value", "tpm_pcr_not_quoted"]);
    other.pcrs = BTreeMap::new();
    assert_eq!(failed(&quote, &other, &NONCE), ["tpm_pcrs_empty"]);
    let mut either = good;
    either.pcrs.entry(4).or_default().push([1; 32]);
    assert_eq!(failed(&quote, &either, &NONCE), [""; 0]);
}

#[test]
fn case_01_refuses_another_nonce() {
    let quote = authenticate(&sent(&tpm())).unwrap();
    for nonce in [&[6; 64][..], &NONCE[..63], &[]] {
        assert_eq!(failed(&quote, &policy(&quote), nonce), ["tpm_nonce"]);
    }
}

#[test]
fn refuses_a_log_that_is_not_the_history_of_the_pcrs() {
    let mut tpm = tpm();
    let log = tpm.log.take();
    let quote = authenticate(&sent(&tpm)).unwrap();
    assert_eq!(failed(&quote, &policy(&quote), &NONCE), ["tpm_log_missing"]);
    let without = Policy { require_event_log: false, ..policy(&quote) };
    assert_eq!(failed(&quote, &without, &NONCE), [""; 0]);

    let mut events = log.unwrap();
    events.push(PcrEvent::of_data(9, 0xd, b"init=/bin/sh"));
    tpm.log = Some(events.clone());
    let quote = authenticate(&sent(&tpm)).unwrap();
    assert_eq!(failed(&quote, &policy(&quote), &NONCE), ["tpm_log_replay"]);
    // What the log says of a PCR that the policy does not name is not asked about.
    let mut only_four = policy(&quote);
    only_four.pcrs.retain(|pcr, _| *pcr == 4);
    assert_eq!(failed(&quote, &only_four, &NONCE), [""; 0]);
    events.drain(1..);
    tpm.log = Some(events);
    let quote = authenticate(&sent(&tpm)).unwrap();
    assert_eq!(failed(&quote, &policy(&quote), &NONCE), ["tpm_log_replay", "tpm_log_replay"]);
}
