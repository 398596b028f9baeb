//! The same evidence before `sev` 8.0.0, an implementation by other people. It judges less (no pinned root, validity,
//! product, TCB or chip), so the rule is: what this verifier authenticates, `sev` verifies too, and both read
//! the same values.

use crate::support::*;
use anchorhold_attester::software::{Authority, LaunchConfig, Product, ReportVersion, simulated_ark_der};
use anchorhold_rats::Evidence;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::snp::{Report, Tcb};
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable as _, builtin};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::TcbVersion;
use sev::parser::ByteParser as _;

fn of_der(der: &[u8]) -> SevCertificate {
    SevCertificate::from_der(der).unwrap()
}

fn of_pem(pem: &[u8]) -> Vec<u8> {
    SevCertificate::from_pem(pem).unwrap().to_der().unwrap()
}

/// What `sev` says of this report and chain.
fn sev_verifies(evidence: &Evidence, ark: &[u8], intermediate: &[u8]) -> bool {
    let Ok(leaf) = SevCertificate::from_der(&evidence.certificates[0].0) else { return false };
    let chain = Chain::from((of_der(intermediate), of_der(ark), leaf));
    let Ok(report) = AttestationReport::from_bytes(&evidence.report) else { return false };
    (&chain, &report).verify().is_ok()
}

fn assert_same_tcb(ours: Tcb, theirs: TcbVersion) {
    let mut components: Vec<(&str, u8)> = theirs.fmc.map(|fmc| ("fmc", fmc)).into_iter().collect();
    components.extend([
        ("bootloader", theirs.bootloader),
        ("tee", theirs.tee),
        ("snp", theirs.snp),
        ("microcode", theirs.microcode),
    ]);
    assert_eq!(ours.components(), components);
}

fn assert_same_fields(evidence: &Evidence, product: anchorhold_verifier::snp::Product) {
    let ours = Report::parse(&evidence.report).unwrap();
    let theirs = AttestationReport::from_bytes(&evidence.report).unwrap();
    assert_eq!(ours.version, theirs.version);
    assert_eq!(ours.guest_svn, theirs.guest_svn);
    assert_eq!(ours.vmpl, theirs.vmpl);
    assert_eq!(ours.policy.0, u64::from(theirs.policy));
    assert_eq!(ours.report_data.as_bytes(), &theirs.report_data);
    assert_eq!(ours.measurement.as_bytes(), &theirs.measurement);
    assert_eq!(ours.host_data, theirs.host_data);
    assert_eq!(ours.id_key_digest, theirs.id_key_digest);
    assert_eq!(ours.author_key_digest, theirs.author_key_digest);
    assert_eq!(ours.family_id, theirs.family_id);
    assert_eq!(ours.image_id, theirs.image_id);
    assert_eq!(ours.report_id, theirs.report_id);
    assert_eq!(ours.chip_id.0, theirs.chip_id);
    assert_eq!(ours.cpuid.map(|cpuid| cpuid.family), theirs.cpuid_fam_id);
    assert_eq!(ours.cpuid.map(|cpuid| cpuid.model), theirs.cpuid_mod_id);
    assert_eq!(ours.cpuid.map(|cpuid| cpuid.stepping), theirs.cpuid_step);
    assert_eq!(ours.mitigations.map(|vectors| vectors.launch), theirs.launch_mit_vector);
    assert_eq!(ours.mitigations.map(|vectors| vectors.current), theirs.current_mit_vector);
    let decode = |raw| Tcb::decode(product, raw).unwrap();
    assert_same_tcb(decode(ours.current_tcb), theirs.current_tcb);
    assert_same_tcb(decode(ours.reported_tcb), theirs.reported_tcb);
    assert_same_tcb(decode(ours.committed_tcb), theirs.committed_tcb);
    assert_same_tcb(decode(ours.launch_tcb), theirs.launch_tcb);
}

#[test]
fn sev_agrees_on_simulated_evidence() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for report_version in [ReportVersion::V3, ReportVersion::V5] {
            let config = LaunchConfig { report_version, ..LaunchConfig::for_product(MEASUREMENT, product) };
            let evidence = launch(config).attest(&REPORT_DATA).unwrap();
            let authentic = authentic(&evidence);
            assert!(sev_verifies(&evidence, simulated_ark_der(), Authority::Ask.certificate_der()));
            assert_same_fields(&evidence, authentic.claims().product());
        }
    }
}

#[test]
fn sev_agrees_on_the_real_samples() {
    let mut compared = 0;
    let samples = read_samples();
    for sample in &samples {
        let Ok(authentic) = authenticate(&sample.evidence, &TrustAnchors::production(), sample.expected[0].0)
        else {
            continue;
        };
        let (ark, ask) = match authentic.claims().product() {
            anchorhold_verifier::snp::Product::Milan => {
                (of_pem(builtin::milan::ARK), of_pem(builtin::milan::ASK))
            }
            anchorhold_verifier::snp::Product::Genoa => {
                (of_pem(builtin::genoa::ARK), of_pem(builtin::genoa::ASK))
            }
            anchorhold_verifier::snp::Product::Turin => {
                (of_pem(builtin::turin::ARK), of_pem(builtin::turin::ASK))
            }
        };
        // The crate has no ASVK built in.
        if sample.id != "snp/milan-v3-vlek-aws" {
            assert!(sev_verifies(&sample.evidence, &ark, &ask), "{}", sample.id);
        }
        assert_same_fields(&sample.evidence, authentic.claims().product());
        compared += 1;
    }
    assert!(samples.is_empty() || compared == 10, "{compared} compared");
}

#[test]
fn what_is_accepted_after_a_change_sev_accepts_too() {
    let whole = evidence();
    let (ark, ask) = (simulated_ark_der(), Authority::Ask.certificate_der());
    let mut theirs_only = 0;
    for index in (0..whole.report.len()).step_by(7) {
        let mut changed = whole.clone();
        changed.report[index] ^= 0x10;
        let ours = authenticate(&changed, &simulated(), now()).is_ok();
        let theirs = sev_verifies(&changed, ark, ask);
        assert!(theirs || !ours, "byte {index:#x}");
        theirs_only += usize::from(theirs && !ours);
    }
    // It does not look at the unsigned bytes of the signature field; this verifier wants them to be zero.
    assert!(theirs_only > 0);
}

#[test]
fn the_samples_of_the_sev_crate_have_their_verdicts() {
    macro_rules! vector {
        ($name:literal) => {
            include_bytes!(concat!("../vectors/sev-8.0.0/", $name)).to_vec()
        };
    }
    let report = vector!("report_milan.bin");
    let good = of_files(report.clone(), vec![vector!("vcek_milan.der")]);
    let anchors = TrustAnchors::production();
    let authentic = authenticate(&good, &anchors, now()).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_same_fields(&good, authentic.claims().product());
    let swapped = of_files(report, vec![vector!("vcek_turin.der")]);
    assert_eq!(authenticate(&swapped, &anchors, now()).unwrap_err().code(), "snp_report_signature");
}
