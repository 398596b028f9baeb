//! No single changed bit of what counts, and no cut, is accepted; nothing panics.

use crate::samples::trustee;
use crate::support::*;
use anchorhold_verifier::azure::{Attest, HclReport};
use proptest::prelude::*;

/// The bytes of an HCL report that carry no meaning here: of a TDREPORT what is not in a quote (version of the type, CPUSVN,
/// hashes, MAC, valid fields, later TCB fields), and the version of the report itself.
fn is_free(sent: &Sent, offset: usize) -> bool {
    let hardware = offset.checked_sub(32);
    let td = sent.tee == anchorhold_rats::Tee::Tdx
        && hardware.is_some_and(|at| matches!(at, 2 | 16..128 | 224..264 | 384..512 | 912..1024));
    td || offset == 4
}

fn refuses_changed_bits(sent: &Sent, bits: impl Fn(usize) -> std::ops::Range<usize>) {
    for part in 0..3 {
        let length =
            [&sent.paravisor.hcl_report, &sent.paravisor.quote, &sent.paravisor.signature][part].len();
        for offset in 0..length {
            for bit in bits(offset) {
                let mut changed = sent.clone();
                let Sent { paravisor, .. } = &mut changed;
                [&mut paravisor.hcl_report, &mut paravisor.quote, &mut paravisor.signature][part][offset] ^=
                    1 << bit;
                let free = part == 0 && is_free(sent, offset);
                assert!(free || changed.authenticate().is_err(), "part {part} byte {offset} bit {bit}");
            }
        }
    }
}

#[test]
fn case_47_refuses_every_changed_bit_of_simulated_evidence() {
    for sent in [snp(), tdx(4)] {
        refuses_changed_bits(&sent, |_| 0..8);
    }
}

#[test]
fn case_47_refuses_a_changed_bit_in_every_byte_of_the_real_samples() {
    for name in [
        "azure/snp-vtpm/evidence-v1.json",
        "azure/snp-vtpm/evidence-v2.json",
        "azure/tdx-vtpm/evidence-v1.json",
    ] {
        let Some((sent, _)) = trustee(name) else { return };
        refuses_changed_bits(&sent, |offset| offset % 8..offset % 8 + 1);
    }
}

#[test]
fn case_47_refuses_every_cut_of_an_hcl_report_into_its_claims() {
    let whole = snp();
    for length in 0..1236 + paravisor().claims.len() {
        let mut cut = whole.clone();
        cut.paravisor.hcl_report.truncate(length);
        let code = cut.refusal();
        assert!(["azure_hcl_length", "azure_hcl_sizes"].contains(&code.as_str()), "{length}: {code}");
    }
}

proptest! {
    #[test]
    fn case_47_random_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(HclReport::parse(&bytes).is_err());
        prop_assert!(Attest::parse(&bytes).is_err());
        let _ = Attest::parse(&[&[0xff, 0x54, 0x43, 0x47, 0x80, 0x18], &bytes[..]].concat());
    }

    #[test]
    fn case_47_random_claims_are_refused_without_a_panic(
        at in 0_usize..600,
        splice in "[\\[\\]{}:,\"a-zA-Z0-9_\\-\\\\]{1,40}",
    ) {
        let whole = paravisor().claims;
        let mut changed = whole.clone();
        let end = (at + splice.len()).min(whole.len());
        changed.replace_range(at.min(end)..end, &splice);
        prop_assume!(changed != whole);
        if let Ok(vtpm) = claims_with(|_| changed).authenticate() {
            prop_assert_eq!(vtpm.nonce(), NONCE);
        }
    }
}
