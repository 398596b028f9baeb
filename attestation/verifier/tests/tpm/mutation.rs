//! No changed bit of what counts, and no cut, is accepted; nothing panics.

use crate::support::*;
use anchorhold_rats::{Der, TpmEvidence};
use anchorhold_verifier::tpm::Attest;
use proptest::prelude::*;

#[test]
fn case_47_refuses_every_changed_bit_of_key_quote_signature_and_values() {
    let good = sent(&tpm());
    let parts: [fn(&mut TpmEvidence) -> &mut Vec<u8>; 4] = [
        |sent| &mut sent.key,
        |sent| &mut sent.quote,
        |sent| &mut sent.signature,
        |sent| &mut sent.pcrs[1].0,
    ];
    for (index, part) in parts.into_iter().enumerate() {
        let length = part(&mut good.clone()).len();
        for bit in 0..8 * length {
            let mut changed = good.clone();
            part(&mut changed)[bit / 8] ^= 1 << (bit % 8);
            assert!(authenticate(&changed).is_err(), "part {index} bit {bit}");
        }
    }
}

#[test]
fn every_changed_bit_of_a_log_is_refused_or_seen() {
    let good = sent(&tpm());
    let quote = authenticate(&good).unwrap();
    let log = good.event_log.clone().unwrap().0;
    for bit in 0..8 * log.len() {
        let mut changed = log.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let sent = TpmEvidence { event_log: Some(Der(changed)), ..good.clone() };
        let Ok(read) = authenticate(&sent) else { continue };
        // What no PCR was extended with: SHA-1 digests, types, data, and bytes of the header.
        let same_digests = read.log().unwrap().pcrs() == quote.log().unwrap().pcrs();
        assert_eq!(failed(&read, &policy(&quote), &NONCE).is_empty(), same_digests, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn case_47_random_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let good = sent(&tpm());
        prop_assert!(Attest::parse(&bytes).is_err());
        for changed in [
            TpmEvidence { key: bytes.clone(), ..good.clone() },
            TpmEvidence { quote: bytes.clone(), ..good.clone() },
            TpmEvidence { signature: bytes.clone(), ..good.clone() },
            TpmEvidence { event_log: Some(Der(bytes.clone())), ..good },
        ] {
            prop_assert!(authenticate(&changed).is_err());
        }
    }
}
