//! OCSP responses of the software attester, judged by OpenSSL where it is there.

#[cfg(test)]
mod tests {
    use anchorhold_attester::software::gpu::{CertificateStatus, Chip, GpuConfig, GpuDevice, OcspHash};
    use anchorhold_rats::Timestamp;
    use std::path::Path;
    use std::process::Command;

    fn now() -> Timestamp {
        "2026-07-25T00:00:00Z".parse().unwrap()
    }

    fn pem(der: &[u8]) -> String {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// What OpenSSL says of a response about the second certificate of `chain`, asked with this hash.
    fn openssl(folder: &Path, chain: &[Vec<u8>], response: &[u8], hash: &str) -> Option<String> {
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let output = Command::new("openssl")
            // The times of answers are held against this machine's clock, so they get a century of leeway.
            .args(["ocsp", hash, "-no_nonce", "-validity_period", "3000000000"])
            .args(["-attime", &now().unix_seconds().to_string()])
            .arg("-respin")
            .arg(file("response.der", response))
            .arg("-issuer")
            .arg(file("issuer.pem", pem(&chain[2]).as_bytes()))
            .arg("-cert")
            .arg(file("certificate.pem", pem(&chain[1]).as_bytes()))
            .arg("-CAfile")
            .arg(file("root.pem", pem(&chain[4]).as_bytes()))
            .arg("-verify_other")
            .arg(file("others.pem", [pem(&chain[2]), pem(&chain[3])].concat().as_bytes()))
            .output();
        let Ok(output) = output else {
            assert!(std::env::var_os("CI").is_none(), "openssl is missing");
            eprintln!("skipped: openssl is not on this machine");
            return None;
        };
        Some([output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
    }

    #[test]
    fn openssl_reads_every_status_of_issuers_and_delegates() {
        let folder = tempfile::tempdir().unwrap();
        let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [7; 8])).unwrap();
        let [(good, issuer), ..] = device.ocsp_templates(now()).unwrap();
        let revoked = CertificateStatus::Revoked { at: now(), reason: Some(6) };
        for (hash, asked) in
            [(OcspHash::Sha1, "-sha1"), (OcspHash::Sha256, "-sha256"), (OcspHash::Sha384, "-sha384")]
        {
            for (status, said) in [
                (CertificateStatus::Good, "certificate.pem: good"),
                (revoked, "certificate.pem: revoked"),
                (CertificateStatus::Unknown, "certificate.pem: unknown"),
            ] {
                let mut own = good.clone();
                own.entries[0].hash = hash;
                own.entries[0].status = status;
                let (delegated, key) = own.clone().delegate(&issuer).unwrap();
                for response in [own.sign(&issuer).unwrap(), delegated.sign(&key).unwrap()] {
                    let Some(text) = openssl(folder.path(), device.chain(), &response, asked) else { return };
                    assert!(text.contains("Response verify OK") && text.contains(said), "{status:?}: {text}");
                    assert_eq!(text.contains("certificateHold"), status == revoked, "{text}");
                }
                let by_another = own.sign(&key).unwrap();
                let Some(text) = openssl(folder.path(), device.chain(), &by_another, asked) else { return };
                assert!(text.contains("Response Verify Failure"), "{text}");
            }
        }
    }
}
