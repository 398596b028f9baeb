//! The built-in certificates are AMD's, and a root is only what a caller named.

use crate::support::*;
use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::{Authority, simulated_ark_der};
use anchorhold_verifier::dangerous::{AnchorError, SimulatedRoots, simulated_anchors};
use anchorhold_verifier::x509::Certificate;
use sev::certs::snp::{Certificate as SevCertificate, builtin};

macro_rules! amd {
    ($name:literal) => {
        [
            include_bytes!(concat!("../../src/snp/roots/", $name, "-ark.der")),
            include_bytes!(concat!("../../src/snp/roots/", $name, "-ask.der")),
            include_bytes!(concat!("../../src/snp/roots/", $name, "-asvk.der")),
        ]
    };
}

const BUILT_IN: [(&str, [&[u8]; 3]); 3] =
    [("milan", amd!("milan")), ("genoa", amd!("genoa")), ("turin", amd!("turin"))];

#[test]
fn the_built_in_certificates_chain_to_self_signed_roots() {
    for (name, certificates) in BUILT_IN {
        let [ark, ask, asvk] = certificates.map(|der| Certificate::parse(der).unwrap());
        assert!(ark.issuer == ark.subject && ark.verify_signature(&ark.public_key), "{name}");
        for intermediate in [ask, asvk] {
            assert!(intermediate.issuer == ark.subject, "{name}");
            assert!(intermediate.verify_signature(&ark.public_key), "{name}");
            assert!(!intermediate.verify_signature(&intermediate.public_key), "{name}");
        }
    }
}

#[test]
fn the_built_in_certificates_are_those_of_the_sev_crate() {
    let der = |certificate: std::io::Result<SevCertificate>| certificate.unwrap().to_der().unwrap();
    let theirs = [
        [der(builtin::milan::ark()), der(builtin::milan::ask())],
        [der(builtin::genoa::ark()), der(builtin::genoa::ask())],
        [der(builtin::turin::ark()), der(builtin::turin::ask())],
    ];
    for ((name, ours), theirs) in BUILT_IN.into_iter().zip(theirs) {
        assert_eq!(ours[0], theirs[0], "{name} ARK");
        assert_eq!(ours[1], theirs[1], "{name} ASK");
    }
}

#[test]
fn the_built_in_certificates_are_those_of_the_shared_samples() {
    let Some(folder) = samples() else { return };
    for (name, ours) in BUILT_IN {
        for (kind, ours) in ["ark", "ask", "asvk"].into_iter().zip(ours) {
            assert_eq!(
                std::fs::read(folder.join(format!("snp/ca/{name}-{kind}.der"))).unwrap(),
                ours,
                "{name} {kind}"
            );
        }
    }
}

#[test]
fn the_simulated_root_says_that_it_is_simulated() {
    let root = Certificate::parse(simulated_ark_der()).unwrap();
    assert!(root.common_name().unwrap().starts_with("ARK-SIMULATED"));
}

#[test]
fn case_05_refuses_anchors_that_are_no_roots() {
    let refused = |der: &[u8]| simulated_anchors(&SimulatedRoots::amd(der)).unwrap_err();
    assert!(matches!(refused(b"no certificate"), AnchorError::Malformed(_)));
    assert_eq!(refused(Authority::Ask.certificate_der()), AnchorError::NotARoot);
    let mut template = ask_template();
    template.issuer = template.subject.clone();
    let ark_key = Authority::Ark.key().unwrap();
    assert_eq!(refused(&template.sign(&ark_key).unwrap()), AnchorError::Signature);
    let own = template.sign(&Authority::Ask.key().unwrap()).unwrap();
    assert!(simulated_anchors(&SimulatedRoots::amd(&own)).is_ok());
    template.extensions = vec![Extension::amd_byte(&[1], 0)];
    assert_eq!(refused(&template.sign(&Authority::Ask.key().unwrap()).unwrap()), AnchorError::NotARoot);
}
