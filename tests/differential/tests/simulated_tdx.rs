//! dcap-qvl accepts simulated quotes and collateral with only the root exchanged, and refuses them under Intel's.

#[cfg(test)]
mod tests {
    use anchorhold_attester::software::tdx::{
        CollateralTemplate, QuoteVersion, TdConfig, TdxGuest, simulated_intel_root_der,
    };
    use anchorhold_rats::{Measurement, ReportData, TdxCollateral, Timestamp};
    use dcap_qvl::QuoteCollateralV3;
    use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};

    const REPORT_DATA: ReportData = ReportData::new([9; 64]);

    fn now() -> Timestamp {
        "2026-07-25T00:00:00Z".parse().unwrap()
    }

    fn guest(version: QuoteVersion) -> TdxGuest {
        let config = TdConfig { version, ..TdConfig::new(Measurement::new([7; 48])) };
        TdxGuest::launch(config, now()).unwrap()
    }

    fn theirs(collateral: TdxCollateral) -> QuoteCollateralV3 {
        QuoteCollateralV3 {
            pck_crl_issuer_chain: collateral.pck_crl_issuer_chain,
            root_ca_crl: collateral.root_ca_crl.0,
            pck_crl: collateral.pck_crl.0,
            tcb_info_issuer_chain: collateral.tcb_info_issuer_chain,
            tcb_info: collateral.tcb_info,
            tcb_info_signature: collateral.tcb_info_signature.0,
            qe_identity_issuer_chain: collateral.qe_identity_issuer_chain,
            qe_identity: collateral.qe_identity,
            qe_identity_signature: collateral.qe_identity_signature.0,
            pck_certificate_chain: None,
        }
    }

    fn verify(quote: &[u8], collateral: TdxCollateral) -> Result<VerifiedReport, String> {
        let seconds = now().unix_seconds().try_into().unwrap();
        QuoteVerifier::new(simulated_intel_root_der().to_vec())
            .verify(quote, &theirs(collateral), seconds)
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_quote_version_is_up_to_date_under_the_simulated_root() {
        for version in [QuoteVersion::V4, QuoteVersion::V5Td10, QuoteVersion::V5Td15, QuoteVersion::V5Td15Ex]
        {
            let guest = guest(version);
            let quote = guest.quote(&REPORT_DATA).unwrap();
            let report = verify(&quote, guest.collateral(now()).unwrap()).unwrap();
            assert_eq!(report.status, "UpToDate", "{version:?}");
            let body = report.report.as_td10().unwrap();
            assert_eq!((body.mr_td, body.report_data), ([7; 48], [9; 64]), "{version:?}");
            assert_eq!([body.rt_mr0, body.rt_mr1, body.rt_mr2, body.rt_mr3], guest.registers());
        }
    }

    #[test]
    fn simulated_quotes_are_refused_under_intels_root() {
        let guest = guest(QuoteVersion::V5Td15);
        let quote = guest.quote(&REPORT_DATA).unwrap();
        let seconds = now().unix_seconds().try_into().unwrap();
        let collateral = theirs(guest.collateral(now()).unwrap());
        assert!(QuoteVerifier::new_prod().verify(&quote, &collateral, seconds).is_err());
    }

    #[test]
    fn changed_stages_are_refused_for_their_own_reason() {
        let guest = guest(QuoteVersion::V5Td15);
        let signed = guest.fields(&REPORT_DATA).encode();
        let mut enclave = guest.enclave_report();
        enclave.mr_signer = [1; 32];
        let data = guest.signature_data(&signed, &enclave).unwrap();
        let quote = anchorhold_attester::software::tdx::assemble(&signed, &data);
        let error = verify(&quote, guest.collateral(now()).unwrap()).unwrap_err();
        assert!(error.to_lowercase().contains("mrsigner"), "{error}");

        let quote = guest.quote(&REPORT_DATA).unwrap();
        let mut template = CollateralTemplate::for_platform(&guest.config().platform, now());
        template.pck_crl.revoked = vec![guest.template().serial.clone()];
        let error = verify(&quote, template.sign().unwrap()).unwrap_err();
        assert!(error.contains("CertRevoked"), "{error}");

        let mut template = CollateralTemplate::for_platform(&guest.config().platform, now());
        template.tcb_info.tcb_levels.remove(0);
        let report = verify(&quote, template.sign().unwrap()).unwrap();
        assert_eq!(
            (report.status.as_str(), report.advisory_ids),
            ("OutOfDate", vec!["INTEL-SA-00960".into()])
        );
    }
}
