//! Simulated evidence goes through the real verifier, and only where a caller names the simulated root.

#[cfg(test)]
mod tests {
    use anchorhold_attester::software::{
        LaunchConfig, Product, ReportVersion, Signer, SoftwareGuest, simulated_ark_der,
    };
    use anchorhold_rats::{Endorsements, Evidence, Measurement, ReportData, Stage, Timestamp};
    use anchorhold_verifier::dangerous::SimulatedRoots;
    use anchorhold_verifier::snp::{GenoaTcb, MilanTcb, MinimumTcb, Policy, Signer as Named, TurinTcb};
    use anchorhold_verifier::{
        AppraisalPolicy, AuthenticEvidence, Refusal, TrustAnchors, appraise, dangerous,
    };

    const MEASUREMENT: Measurement = Measurement::new([7; 48]);
    const REPORT_DATA: ReportData = ReportData::new([9; 64]);

    fn now() -> Timestamp {
        "2026-07-25T00:00:00Z".parse().unwrap()
    }

    fn simulated() -> TrustAnchors {
        dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap()
    }

    fn evidence(config: LaunchConfig) -> Evidence {
        SoftwareGuest::launch(config, now()).unwrap().attest(&REPORT_DATA).unwrap()
    }

    fn authenticate(
        evidence: &Evidence,
        anchors: &TrustAnchors,
        at: Timestamp,
    ) -> Result<AuthenticEvidence, Refusal> {
        anchorhold_verifier::authenticate(evidence, &Endorsements::default(), anchors, at)
    }

    fn policy() -> Policy {
        let minimum = MinimumTcb {
            milan: Some(MilanTcb { bootloader: 4, tee: 0, snp: 27, microcode: 222 }),
            genoa: Some(GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 }),
            turin: Some(TurinTcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 }),
        };
        dangerous::allow_simulated(Policy::strict(vec![MEASUREMENT], minimum))
    }

    #[test]
    fn every_product_version_and_signer_is_accepted_under_the_named_root() {
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            for report_version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V4, ReportVersion::V5]
            {
                for signer in [Signer::Vcek, Signer::Vlek] {
                    let config = LaunchConfig {
                        report_version,
                        signer,
                        ..LaunchConfig::for_product(MEASUREMENT, product)
                    };
                    let text = format!("{config:?}");
                    let authentic = authenticate(&evidence(config), &simulated(), now())
                        .unwrap_or_else(|e| panic!("{text}: {e}"));
                    let mut policy = policy();
                    policy.allowed_signers = vec![match signer {
                        Signer::Vcek => Named::Vcek,
                        Signer::Vlek => Named::Vlek,
                    }];
                    let result = appraise(authentic, &policy.into(), &REPORT_DATA.into())
                        .unwrap_or_else(|e| panic!("{text}: {e}"));
                    assert!(result.simulated());
                    assert_eq!(result.measurement(), MEASUREMENT);
                    assert_eq!(result.claims().tee.product(), format!("{product:?}"));
                }
            }
        }
    }

    #[test]
    fn case_05_refuses_simulated_evidence_under_production_anchors() {
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            let evidence = evidence(LaunchConfig::for_product(MEASUREMENT, product));
            let refusal = authenticate(&evidence, &TrustAnchors::production(), now()).unwrap_err();
            assert_eq!((refusal.stage(), refusal.code()), (Stage::Chain, "snp_no_trust_anchor"));
        }
    }

    #[test]
    fn case_05_refuses_simulated_evidence_that_brings_only_its_leaf_or_its_root() {
        let whole = evidence(LaunchConfig::new(MEASUREMENT));
        let mut leaf_only = whole.clone();
        leaf_only.certificates.truncate(1);
        let refusal = authenticate(&leaf_only, &TrustAnchors::production(), now()).unwrap_err();
        assert_eq!(refusal.code(), "snp_leaf_issuer");
        let mut with_root = whole;
        with_root.certificates.push(anchorhold_rats::Der(simulated_ark_der().to_vec()));
        let refusal = authenticate(&with_root, &TrustAnchors::production(), now()).unwrap_err();
        let codes: Vec<_> = refusal.checks().failed().map(|check| check.code.to_string()).collect();
        assert!(codes.contains(&"snp_presented_root".to_owned()), "{codes:?}");
        assert!(codes.contains(&"snp_no_trust_anchor".to_owned()), "{codes:?}");
    }

    #[test]
    fn case_05_refuses_simulated_evidence_by_a_policy_that_was_not_told() {
        let authentic = authenticate(&evidence(LaunchConfig::new(MEASUREMENT)), &simulated(), now()).unwrap();
        let strict = AppraisalPolicy::from(Policy::strict(vec![MEASUREMENT], policy().min_tcb));
        let refusal = appraise(authentic, &strict, &REPORT_DATA.into()).unwrap_err();
        let codes: Vec<_> = refusal.checks().failed().map(|check| check.code.as_ref()).collect();
        assert_eq!(codes, ["snp_simulated"]);
    }
}
