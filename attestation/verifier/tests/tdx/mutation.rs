//! Changed bytes anywhere in evidence are refused, and nothing panics.

use crate::made::*;
use crate::support::{Sample, sample};
use anchorhold_rats::TdxCollateral;
use proptest::prelude::*;

#[test]
fn every_changed_byte_of_a_quote_is_refused() {
    let made = made(|_| {});
    for at in 0..made.quote.len() {
        for mask in [0x01, 0x20] {
            let mut changed = made.clone();
            changed.quote[at] ^= mask;
            assert!(!changed.refused().is_empty(), "byte {at} mask {mask:#x}");
        }
    }
}

#[test]
fn every_changed_byte_of_signed_collateral_is_refused() {
    let Some(sample) = sample("tdx/v4-gcp") else { return };
    let refused = |edit: &dyn Fn(&mut TdxCollateral)| !sample.with_collateral(edit).refused().is_empty();
    let collateral = sample.collateral.clone().unwrap();
    for at in (0..collateral.tcb_info.len()).step_by(13) {
        assert!(refused(&|changed| flip(&mut changed.tcb_info, at)), "TCB info {at}");
    }
    for at in 0..collateral.qe_identity.len() {
        assert!(refused(&|changed| flip(&mut changed.qe_identity, at)), "QE identity {at}");
    }
    for at in (0..collateral.pck_crl.0.len()).step_by(17) {
        assert!(refused(&|changed| changed.pck_crl.0[at] ^= 1), "PCK list {at}");
    }
    for at in 0..collateral.root_ca_crl.0.len() {
        assert!(refused(&|changed| changed.root_ca_crl.0[at] ^= 1), "root list {at}");
    }
    for at in 0..64 {
        assert!(refused(&|changed| changed.tcb_info_signature.0[at] ^= 1), "signature {at}");
        assert!(refused(&|changed| changed.qe_identity_signature.0[at] ^= 1), "signature {at}");
    }
}

/// Changes one ASCII character to another.
fn flip(text: &mut String, at: usize) {
    let changed = char::from(text.as_bytes()[at] ^ 1).to_string();
    text.replace_range(at..=at, &changed);
}

#[test]
fn collateral_of_another_sample_is_refused() {
    let (Some(mine), Some(other)) = (sample("tdx/v5-gcp-like"), sample("tdx/v4-debug")) else { return };
    let mixed: Sample = mine.with_collateral_of(&other);
    assert_eq!(mixed.refused(), ["tdx_fmspc", "tdx_platform_level", "tdx_platform_level"]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let made = Made { quote: bytes, collateral: None };
        prop_assert!(!made.refused().is_empty());
    }

    #[test]
    fn no_changed_bytes_make_the_verifier_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut quote = SAMPLE.with(Clone::clone);
        for (at, value) in changes {
            let at = at % quote.quote.len();
            quote.quote[at] = value;
        }
        let _ = quote.refused();
    }
}

thread_local! {
    static SAMPLE: Made = made(|_| {});
}
