//! Refusals of the quote, its signature and the PCR values. Every quote here carries a good signature over the changed
//! bytes, so only the rule in question can refuse it.

use crate::support::*;
use anchorhold_rats::Der;
use anchorhold_verifier::azure::Attest;

/// Offsets in the quote of the software paravisor, whose nonce has 64 bytes.
const SIGNER_AT: usize = 6;
const NONCE_AT: usize = 42;
const SAFE_AT: usize = 124;
const SELECTION_AT: usize = 133;
const DIGEST_AT: usize = 143;

#[test]
fn refuses_anything_but_a_tpms_quote() {
    // The magic; certify, time, creation and other types.
    for (offset, value) in [(0, 0xfe), (3, 0x46), (4, 0x00), (5, 0x17), (5, 0x19), (5, 0x1a), (5, 0x14)] {
        assert_eq!(quote_with(|quote| quote[offset] = value).refusal(), "azure_quote_type", "{offset}");
    }
}

#[test]
fn refuses_a_quote_that_is_not_whole() {
    let whole = snp().paravisor.quote;
    for length in 0..whole.len() {
        assert_eq!(quote_with(|quote| quote.truncate(length)).refusal(), "azure_quote_malformed", "{length}");
    }
    assert_eq!(quote_with(|quote| quote.push(0)).refusal(), "azure_quote_malformed");
    for (offset, value) in [
        (SIGNER_AT, 1),
        (SIGNER_AT + 1, 67),
        (NONCE_AT, 1),
        (NONCE_AT + 1, 65),
        (SAFE_AT, 2),
        (DIGEST_AT, 1),
        (DIGEST_AT + 1, 31),
        (DIGEST_AT + 1, 33),
    ] {
        let sent = quote_with(|quote| quote[offset] = value);
        assert_eq!(sent.refusal(), "azure_quote_malformed", "{offset} {value}");
    }
    let short = quote_with(|quote| {
        quote[DIGEST_AT + 1] = 31;
        quote.pop();
    });
    assert_eq!(short.refusal(), "azure_quote_malformed");
}

#[test]
fn case_09_refuses_a_nonce_over_its_length() {
    let paravisor = paravisor();
    let mut sent = sent_by(&paravisor);
    sent.paravisor.quote = paravisor.quote(&[1; 65]);
    sent.paravisor.signature = paravisor.sign(&sent.paravisor.quote).unwrap();
    assert_eq!(sent.refusal(), "azure_quote_malformed");
    sent.paravisor.quote = paravisor.quote(&[]);
    sent.paravisor.signature = paravisor.sign(&sent.paravisor.quote).unwrap();
    assert_eq!(sent.authentic().nonce(), [0; 0]);
}

#[test]
fn refuses_other_banks_than_sha256() {
    // Banks: none, two, many; SHA-1, SHA-384; bit maps of other lengths.
    for (offset, value) in [(3, 0), (3, 2), (0, 1), (5, 0x04), (5, 0x0c), (4, 1), (6, 2), (6, 4)] {
        let sent = quote_with(|quote| quote[SELECTION_AT + offset] = value);
        assert_eq!(sent.refusal(), "azure_pcr_selection", "{offset} {value}");
        assert_eq!(sent.said().0, "PCRs of the SHA-256 bank");
    }
}

#[test]
fn refuses_a_signature_by_another_key_or_over_other_bytes() {
    let whole = snp();
    for offset in 0..whole.paravisor.quote.len() {
        let mut changed = whole.clone();
        changed.paravisor.quote[offset] ^= 1;
        if Attest::parse(&changed.paravisor.quote).is_ok() {
            assert_eq!(changed.refusal(), "azure_quote_signature", "{offset}");
        }
    }
    for signature in [vec![], vec![0; 256], vec![0xff; 256], whole.paravisor.signature[1..].to_vec()] {
        let mut changed = whole.clone();
        changed.paravisor.signature = signature;
        assert_eq!(changed.refusal(), "azure_quote_signature");
    }
    let mut longer = whole.clone();
    longer.paravisor.signature.insert(0, 0);
    assert_eq!(longer.refusal(), "azure_quote_signature");
    let other_key = claims_with(|claims| {
        let from = claims.find("\"n\":\"").unwrap() + 5;
        let replaced = if &claims[from + 100..=from + 100] == "A" { "B" } else { "A" };
        format!("{}{replaced}{}", &claims[..from + 100], &claims[from + 101..])
    });
    assert_eq!(other_key.refusal(), "azure_quote_signature");
}

#[test]
fn refuses_another_number_of_pcr_values() {
    let whole = snp();
    let refusal = |edit: fn(&mut Vec<Der>)| {
        let mut other = whole.clone();
        edit(&mut other.paravisor.pcrs);
        other.refusal()
    };
    assert_eq!(refusal(|pcrs| pcrs.push(Der(vec![0; 32]))), "azure_pcr_count");
    assert_eq!(refusal(|pcrs| pcrs.push(Der(vec![]))), "azure_pcr_count");
    assert_eq!(refusal(|pcrs| pcrs.truncate(23)), "azure_pcr_count");
    assert_eq!(refusal(Vec::clear), "azure_pcr_count");
    assert_eq!(refusal(|pcrs| pcrs[23].0.push(0)), "azure_pcr_count");
    assert_eq!(refusal(|pcrs| pcrs[0].0.truncate(31)), "azure_pcr_count");
    // The same bytes in all, cut elsewhere.
    assert_eq!(
        refusal(|pcrs| {
            pcrs[0].0.push(0);
            pcrs[1].0.pop();
        }),
        "azure_pcr_count"
    );
    assert_eq!(
        refusal(|pcrs| {
            pcrs[0].0.extend([0; 32]);
            pcrs.pop();
        }),
        "azure_pcr_count"
    );
}

#[test]
fn refuses_pcr_values_that_were_not_quoted() {
    let mut paravisor = paravisor();
    paravisor.pcrs = (0..24).map(|pcr| (pcr, [pcr; 32])).collect();
    let whole = sent_by(&paravisor);
    for pcr in 0..24 {
        let mut other = whole.clone();
        other.paravisor.pcrs[pcr].0[31] ^= 1;
        assert_eq!(other.refusal(), "azure_pcr_digest", "{pcr}");
    }
    let mut swapped = whole;
    swapped.paravisor.pcrs.swap(4, 7);
    assert_eq!(swapped.refusal(), "azure_pcr_digest");
}

#[test]
fn pcr_values_belong_to_the_numbers_of_the_selection() {
    let mut paravisor = paravisor();
    paravisor.pcrs = vec![(0, [1; 32]), (7, [2; 32]), (8, [3; 32]), (23, [4; 32])];
    let vtpm = sent_by(&paravisor).authentic();
    let wanted = [(0, [1; 32]), (7, [2; 32]), (8, [3; 32]), (23, [4; 32])].into_iter().collect();
    assert_eq!(vtpm.pcrs(), &wanted);
}

#[test]
fn offsets_of_these_tests_are_right() {
    let quote = snp().paravisor.quote;
    assert_eq!(quote[SIGNER_AT..SIGNER_AT + 2], [0, 34]);
    assert_eq!(quote[NONCE_AT..NONCE_AT + 2], [0, 64]);
    assert_eq!(quote[SAFE_AT], 1);
    assert_eq!(quote[SELECTION_AT..SELECTION_AT + 7], [0, 0, 0, 1, 0, 0x0b, 3]);
    assert_eq!(quote[DIGEST_AT..DIGEST_AT + 2], [0, 32]);
    assert_eq!(quote.len(), DIGEST_AT + QUOTE_DIGEST_BYTES);
}
