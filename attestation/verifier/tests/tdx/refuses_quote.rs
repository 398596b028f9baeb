//! One test for each rule about the shape of a quote.

use crate::made::*;
use anchorhold_attester::software::tdx::QuoteVersion;
use anchorhold_rats::Stage;
use anchorhold_verifier::tdx::{BodyKind, MAX_PADDING_BYTES, Quote};

#[test]
fn every_version_and_body_is_read_and_accepted() {
    for (version, number, kind) in [
        (QuoteVersion::V4, 4, BodyKind::Td10),
        (QuoteVersion::V5Td10, 5, BodyKind::Td10),
        (QuoteVersion::V5Td15, 5, BodyKind::Td15),
        (QuoteVersion::V5Td15Ex, 5, BodyKind::Td15Extended),
    ] {
        let made = made(|config| config.version = version);
        let accepted = made.verify(|_| {});
        let accepted = accepted.unwrap_or_else(|refusal| panic!("{version:?}: {refusal}"));
        let quote = accepted.claims().quote();
        assert_eq!((quote.version, quote.kind, quote.padding), (number, kind, 0));
        assert_eq!(quote.body.mrtd, MRTD);
        let holds = |part: &[u8]| made.quote.windows(part.len()).any(|bytes| bytes == part);
        assert!(quote.qe_report().len() == 384 && holds(quote.qe_report()));
        assert!(quote.pck_chain().starts_with(b"-----BEGIN CERTIFICATE-----\n") && holds(quote.pck_chain()));
        assert!(accepted.simulated());
    }
}

#[test]
fn case_09_refuses_a_quote_that_is_cut_anywhere() {
    let made = made(|_| {});
    for length in (0..made.quote.len()).step_by(7) {
        let cut = Made { quote: made.quote[..length].to_vec(), ..made.clone() };
        assert_eq!(cut.refused(), ["tdx_quote_truncated"], "{length}");
    }
}

#[test]
fn case_09_refuses_unknown_versions_and_types_in_the_header() {
    for (range, bytes, code) in [
        (0..2, &[3, 0][..], "tdx_quote_version"),
        (0..2, &[6, 0], "tdx_quote_version"),
        (0..2, &[5, 1], "tdx_quote_version"),
        (2..4, &[3, 0], "tdx_attestation_key_type"),
        (4..8, &[0, 0, 0, 0], "tdx_tee_type"),
        (4..8, &[0x81, 0, 0, 1], "tdx_tee_type"),
        (12..13, &[0x94], "tdx_qe_vendor"),
        (27..28, &[0x08], "tdx_qe_vendor"),
        (48..50, &[1, 0], "tdx_body_type"),
        (48..50, &[5, 0], "tdx_body_type"),
        (50..54, &[0x48, 2, 0, 0], "tdx_body_size"),
        (50..54, &[0x89, 2, 0, 0], "tdx_body_size"),
        (50..54, &[0xff, 0xff, 0xff, 0xff], "tdx_body_size"),
    ] {
        let made = with_signed(|signed| {
            signed.splice(range.clone(), bytes.iter().copied());
        });
        assert_eq!(made.refused(), [code], "{range:?} {bytes:?}");
        assert_eq!(Quote::parse(&made.quote).unwrap_err().stage(), Stage::Parse);
    }
}

#[test]
fn refuses_reserved_bytes_in_the_header_of_version_4_only() {
    for (version, wanted) in [(QuoteVersion::V4, &["tdx_header_reserved"][..]), (QuoteVersion::V5Td15, &[])] {
        for at in 8..12 {
            let guest = guest_with(|config| config.version = version);
            let mut signed = guest.fields(&REPORT_DATA).encode();
            signed[at] = 1;
            let made = Made { quote: guest.sign(&signed).unwrap(), ..Made::by(&guest) };
            assert_eq!(made.refused(), wanted, "{version:?} {at}");
        }
    }
}

#[test]
fn refuses_signature_data_whose_parts_do_not_fill_it() {
    assert_eq!(with_data(|data| data.auth_data.push(0)).refused(), ["tdx_signature_layout"]);
    assert_eq!(with_data(|data| data.auth_data.truncate(31)).refused(), ["tdx_signature_layout"]);
    assert_eq!(with_data(|data| data.auth_data.clear()).refused(), ["tdx_signature_layout"]);
    assert_eq!(with_data(|data| data.qe_report.push(0)).refused(), ["tdx_signature_layout"]);
    assert_eq!(with_data(|data| data.signature.push(0)).refused(), ["tdx_signature_layout"]);
    let made = made(|_| {});
    let body_end = 54 + 648;
    // Both a shorter and a longer outer length, with the bytes that it then covers.
    for (delta, more) in [(-1_i64, 0), (1, 1)] {
        let mut quote = made.quote.clone();
        quote.extend(vec![0; more]);
        let length = u32::from_le_bytes(quote[body_end..body_end + 4].try_into().unwrap());
        let changed = u32::try_from(i64::from(length) + delta).unwrap();
        quote[body_end..body_end + 4].copy_from_slice(&changed.to_le_bytes());
        let changed = Made { quote, ..made.clone() };
        assert_eq!(changed.refused(), ["tdx_signature_layout"], "{delta}");
    }
}

#[test]
fn case_09_refuses_lengths_that_lie() {
    let made = made(|_| {});
    let body_end = 54 + 648;
    let outer = body_end + 4 + 128 + 2;
    let inner = outer + 4 + 384 + 64 + 2 + 32 + 2;
    for (at, code) in
        [(body_end, "tdx_quote_truncated"), (outer, "tdx_signature_layout"), (inner, "tdx_signature_layout")]
    {
        for length in [u32::MAX, 0x7fff_ffff, 0, 1] {
            let mut quote = made.quote.clone();
            quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
            let refused = Made { quote, ..made.clone() }.refused();
            let wanted = if at == body_end && length < 2 { "tdx_signature_layout" } else { code };
            assert_eq!(refused, [wanted], "{at} {length}");
        }
    }
}

#[test]
fn refuses_other_certification_data() {
    for other in [1, 2, 3, 4, 5, 7] {
        let made = with_data(|data| data.certification_type = other);
        assert_eq!(made.refused(), ["tdx_certification_type"], "{other}");
    }
    for other in [1, 2, 3, 4, 6, 7] {
        assert_eq!(with_data(|data| data.pck_type = other).refused(), ["tdx_certification_type"], "{other}");
    }
}

#[test]
fn refuses_what_follows_a_quote_unless_it_is_zero_and_short() {
    let padded = |tail: &[u8]| {
        let mut made = made(|_| {});
        made.quote.extend(tail);
        made
    };
    assert_eq!(padded(&[1]).refused(), ["tdx_trailing_bytes"]);
    assert_eq!(padded(&[0, 0, 0, 7, 0]).refused(), ["tdx_trailing_bytes"]);
    assert_eq!(padded(&vec![0; MAX_PADDING_BYTES + 1]).refused(), ["tdx_trailing_bytes"]);
    let most = padded(&vec![0; MAX_PADDING_BYTES]);
    assert_eq!(most.refused(), [""; 0]);
    assert_eq!(most.authentic().claims().quote().padding, MAX_PADDING_BYTES);
    assert_eq!(most.failed(|policy| policy.allow_zero_padding = false), ["tdx_padding"]);
    assert_eq!(padded(&[]).failed(|policy| policy.allow_zero_padding = false), [""; 0]);
}

#[test]
fn refuses_chains_that_are_not_pem_of_three_certificates() {
    for data in
        [&b"not PEM"[..], b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAQI\n-----END CERTIFICATE-----\n"]
    {
        let made = with_data(|parts| parts.pck_data = data.to_vec());
        assert_eq!(made.refused(), ["tdx_certificate_malformed"]);
    }
    let trailing = with_data(|parts| parts.pck_data.extend(b"more"));
    assert_eq!(trailing.refused(), ["tdx_certificate_malformed"]);
    assert_eq!(with_chain(|chain| chain.insert(1, chain[1].clone())).refused(), ["tdx_certificate_count"]);
    assert_eq!(with_chain(|chain| chain.truncate(2)).refused(), ["tdx_certificate_count"]);
    assert_eq!(with_chain(Vec::clear).refused(), ["tdx_certificate_count"]);
    assert_eq!(with_chain(|chain| chain[0].push(0)).refused(), ["tdx_certificate_malformed"]);
    assert_eq!(with_chain(|chain| chain[1].truncate(100)).refused(), ["tdx_certificate_malformed"]);
}
