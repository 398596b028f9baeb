//! One test for each rule about the signatures and the quoting enclave.

use crate::made::*;
use anchorhold_attester::software::tdx::EnclaveReport;
use anchorhold_rats::Stage;

#[test]
fn case_05_refuses_a_quoting_enclave_that_the_pck_did_not_sign() {
    let made = with_data(|data| data.qe_report_signature[63] ^= 1);
    assert_eq!(made.refused(), ["tdx_qe_report_signature"]);
    assert_eq!(made.authenticate_under(&simulated(), now()).unwrap_err().stage(), Stage::Signature);
    let made = with_data(|data| data.qe_report[100] ^= 1);
    assert_eq!(made.refused(), ["tdx_qe_report_signature"]);
}

#[test]
fn case_05_refuses_an_attestation_key_that_the_quoting_enclave_did_not_name() {
    let made = with_enclave(|report| report.report_data[0] ^= 1);
    assert_eq!(made.refused(), ["tdx_qe_report_data"]);
    let made = with_enclave(|report| report.report_data[31] ^= 1);
    assert_eq!(made.refused(), ["tdx_qe_report_data"]);
    let made = with_data(|data| data.auth_data[31] ^= 1);
    assert_eq!(made.refused(), ["tdx_qe_report_data"]);
    let other = new_key();
    let made = with_data(|data| data.attestation_key = other.point()[1..].to_vec());
    assert_eq!(made.refused(), ["tdx_qe_report_data", "tdx_quote_signature"]);
}

#[test]
fn refuses_anything_in_the_second_half_of_the_report_data_of_the_quoting_enclave() {
    for at in [32, 63] {
        let made = with_enclave(|report| report.report_data[at] = 1);
        assert_eq!(made.refused(), ["tdx_qe_report_data_tail"], "{at}");
    }
}

#[test]
fn case_05_refuses_a_quote_that_was_changed_after_signing() {
    let made = made(|_| {});
    // The first and last byte of what is signed and may change without breaking the shape.
    for at in [28, 54, 54 + 136, 54 + 647] {
        let mut changed = made.clone();
        changed.quote[at] ^= 1;
        assert_eq!(changed.refused(), ["tdx_quote_signature"], "{at}");
    }
    let made = with_data(|data| data.signature[0] ^= 1);
    assert_eq!(made.refused(), ["tdx_quote_signature"]);
    let made = with_data(|data| data.signature = vec![0; 64]);
    assert_eq!(made.refused(), ["tdx_quote_signature"]);
}

#[test]
fn refuses_a_quoting_enclave_that_is_not_the_one_that_intel_describes() {
    type Change = fn(&mut EnclaveReport);
    let changes: [(Change, &str); 6] = [
        (|report| report.mr_signer[0] ^= 1, "tdx_qe_mrsigner"),
        (|report| report.product_id = 1, "tdx_qe_product"),
        (|report| report.attributes[0] |= 0x02, "tdx_qe_attributes"),
        (|report| report.attributes[0] &= !0x10, "tdx_qe_attributes"),
        (|report| report.misc_select[0] = 1, "tdx_qe_miscselect"),
        (|report| report.svn = 3, "tdx_qe_level"),
    ];
    for (change, code) in changes {
        assert_eq!(with_enclave(change).refused(), [code]);
    }
    // Outside the masks: MODE64BIT and XFRM.
    let masked = with_enclave(|report| {
        report.attributes[0] &= !0x04;
        report.attributes[8] = 3;
    });
    assert_eq!(masked.refused(), [""; 0]);
}
