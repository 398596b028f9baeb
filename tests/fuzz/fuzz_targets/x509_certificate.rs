//! Any bytes as a certificate and as a revocation list are read without a panic, and what is read lies inside them.
#![no_main]

use anchorhold_verifier::der::Reader;
use anchorhold_verifier::x509::{Certificate, MAX_REVOKED, RevocationList};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(certificate) = Certificate::parse(input) {
        assert!(certificate.subject.len() < input.len() && certificate.issuer.len() < input.len());
        let _ = certificate.common_name();
        let _ = certificate.amd_extension(&[1]);
        let _ = certificate.verify_signature(&certificate.public_key);
    }
    if let Ok(list) = RevocationList::parse(input) {
        assert!(list.revoked.len() <= MAX_REVOKED);
    }
    let mut reader = Reader::new(input);
    while let Ok((_, value)) = reader.any() {
        assert!(value.len() < input.len());
    }
});
