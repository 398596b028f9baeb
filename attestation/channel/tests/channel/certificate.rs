//! Evidence in the server's certificate, for those who look there.

use crate::support::{Guest, anchors, at, policy, strict_policy};
use anchorhold_attester::software::LaunchConfig;
use anchorhold_channel::tls::SelfSigned;
use anchorhold_channel::wrapper::{
    CertificateRefusal, EXTENSION, WrapperError, certificate_nonce, verify_certificate,
};
use anchorhold_rats::{Endorsements, Measurement, Nonce, Sha256Digest};
use rcgen::{CertificateParams, CustomExtension, KeyPair};

fn own() -> SelfSigned {
    SelfSigned::generate(&["localhost".into()]).unwrap()
}

fn judged(certificate: &[u8]) -> Option<Result<Sha256Digest, String>> {
    let judged = verify_certificate(certificate, &Endorsements::default(), &anchors(), &policy(), at())?;
    Some(judged.map(|server| server.keys().tls_key).map_err(|refusal| match refusal {
        CertificateRefusal::Wrapper(error) => format!("{error:?}"),
        CertificateRefusal::Refused(refusal) => refusal.code().to_owned(),
    }))
}

#[test]
fn a_certificate_carries_evidence_that_names_its_own_key() {
    let own = own();
    let tls_key = own.tls_key;
    assert_eq!(judged(&own.certificate), None, "without a document there is nothing to judge");
    let document = Guest::new(tls_key).document(certificate_nonce());
    let carrying = own.with_document(&document).unwrap();
    assert_eq!(carrying.tls_key, tls_key);
    assert_eq!(judged(&carrying.certificate), Some(Ok(tls_key)));
    let strict = verify_certificate(
        &carrying.certificate,
        &Endorsements::default(),
        &anchors(),
        &strict_policy(),
        at(),
    );
    assert!(
        matches!(strict, Some(Err(CertificateRefusal::Refused(_)))),
        "a simulated root is not accepted by itself"
    );
    assert!(carrying.into_server_config().is_ok(), "rustls takes it");
}

#[test]
fn case_04_evidence_of_another_key_of_another_guest_or_of_another_nonce_is_refused() {
    let refused = |document: &[u8], own: SelfSigned| {
        judged(&own.with_document(document).unwrap().certificate).unwrap().unwrap_err()
    };
    let (one, other) = (own(), own());
    let document = Guest::new(other.tls_key).document(certificate_nonce());
    assert_eq!(refused(&document, one), "tls_key_bound");
    let one = own();
    let document = Guest::new(one.tls_key).document(Nonce::new([7; 32]));
    assert_eq!(refused(&document, one), "document_nonce");
    let one = own();
    let config = LaunchConfig::new(Measurement::new([0x11; 48]));
    let document = Guest::launch(config, one.tls_key).document(certificate_nonce());
    assert_eq!(refused(&document, one), "snp_measurement");
    assert_eq!(refused(b"{}", own()), "document_format");
}

#[test]
fn an_extension_that_is_no_wrapper_is_refused_and_not_passed_over() {
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION, b"[]".to_vec())];
    let certificate = params.self_signed(&pair).unwrap();
    assert_eq!(judged(certificate.der()), Some(Err(format!("{:?}", WrapperError::Form))));
    assert_eq!(judged(b"no certificate"), None);
}
