//! `anchorhold evidence`.

use crate::support::{Folder, MEASUREMENT, guest, run};
use anchorhold_evaluation::ear::{Algorithm, Status, verify};
use anchorhold_rats::{Endorsements, EvidenceBundle, ReportData};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::os::unix::fs::PermissionsExt as _;

const REPORT_DATA: ReportData = ReportData::new([9; 64]);

fn bundle(folder: &Folder) -> String {
    let evidence = guest().attest(&REPORT_DATA).unwrap();
    let bundle = EvidenceBundle::new(evidence, Endorsements::default());
    folder.write("bundle.json", serde_json::to_vec(&bundle).unwrap())
}

/// The arguments of a judgement that accepts.
fn accepting(folder: &Folder, command: &str) -> Vec<String> {
    let (root, file) = (folder.simulated_root(), bundle(folder));
    let (measurement, report_data) = (MEASUREMENT.to_string(), REPORT_DATA.to_string());
    ["evidence", command, &file, "--measurement", &measurement, "--report-data", &report_data]
        .into_iter()
        .chain(["--dangerous-simulated-root", &root])
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn a_bundle_is_accepted_offline() {
    let folder = Folder::new();
    let ran = run(accepting(&folder, "verify"));
    ran.expect(0, "SIMULATED ROOT");
    assert!(ran.out.starts_with("accepted (simulated root"), "{}", ran.out);
    let json = run(accepting(&folder, "verify").into_iter().chain(["--json".into()])).json();
    assert_eq!((&json["verdict"], &json["product"]), (&"accepted".into(), &"Genoa".into()));
    assert!(json["expires"].is_string());
}

#[test]
fn a_refusal_names_every_rule_and_ends_with_the_code_of_its_kind() {
    let folder = Folder::new();
    let mut args = accepting(&folder, "verify");
    args[4] = "00".repeat(48);
    let ran = run(&args);
    ran.expect(4, "");
    assert!(ran.out.contains("FAILED snp_measurement: wanted 000"), "{}", ran.out);
    let mut args = accepting(&folder, "verify");
    args[6] = "00".repeat(64);
    run(&args).expect(3, "");
    // Without the simulated root nothing leads to a vendor.
    args.truncate(7);
    let ran = run(&args);
    ran.expect(3, "");
    assert!(ran.out.contains("snp_no_trust_anchor"), "{}", ran.out);
}

#[test]
fn report_data_is_judged_unless_it_is_waived_aloud() {
    let folder = Folder::new();
    let mut args = accepting(&folder, "verify");
    args.drain(5..7);
    run(&args).expect(2, "--report-data <HEX>");
    args.push("--any-report-data".into());
    run(&args).expect(0, "the report data is not judged");
}

#[test]
fn an_explanation_puts_the_bytes_beside_the_rule() {
    let folder = Folder::new();
    let ran = run(accepting(&folder, "explain"));
    ran.expect(0, "");
    let rule = ran.out.split("\nsnp_measurement (policy): passed\n").nth(1).unwrap();
    assert!(rule.starts_with("  demands   MEASUREMENT is one that the policy names."), "{rule}");
    assert!(rule.contains(&format!("  observed  {MEASUREMENT}")), "{rule}");
    let json = run(accepting(&folder, "explain").into_iter().chain(["--json".into()])).json();
    assert!(json.as_array().unwrap().iter().any(|rule| rule["code"] == "snp_report_data"));
}

#[test]
fn a_bare_report_is_shown_and_needs_its_certificates_to_be_judged() {
    let folder = Folder::new();
    let evidence = guest().attest(&REPORT_DATA).unwrap();
    let report = folder.write("report.bin", &evidence.report);
    let shown = run(["evidence", "show", &report]);
    shown.expect(0, "");
    assert!(shown.out.contains(&format!("MEASUREMENT              {MEASUREMENT}")), "{}", shown.out);
    let json = run(["evidence", "show", &report, "--json"]).json();
    assert_eq!(json[0]["name"], "SNP report");

    let mut args = accepting(&folder, "verify");
    args[2] = report;
    let ran = run(&args);
    ran.expect(3, "");
    assert!(ran.out.contains("snp_leaf_missing"), "{}", ran.out);
    for (index, certificate) in evidence.certificates.iter().enumerate() {
        let path = folder.write(&format!("{index}.der"), &certificate.0);
        args.extend(["--certificates".into(), path]);
    }
    run(&args).expect(0, "");
}

#[test]
fn an_attestation_result_is_signed_with_the_given_key() {
    let folder = Folder::new();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = folder.write("key.pk8", pkcs8.as_ref());
    let mut args = accepting(&folder, "verify");
    args.extend(["--ear".into(), key.clone()]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(&args).expect(1, "may be read by others");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = run(&args);
    ran.expect(0, "");
    let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let at = crate::support::now().unix_seconds() + 60;
    let ear = verify(ran.out.trim(), Algorithm::EdDsa, public.public_key().as_ref(), at).unwrap();
    assert_eq!(ear.submods["cpu"].verifier_claims.measurement, Some(MEASUREMENT.to_string()));
    // A simulated root never affirms.
    assert_eq!(ear.submods["cpu"].status, Status::Contraindicated);
}

#[test]
fn refuses_files_that_are_no_evidence() {
    let folder = Folder::new();
    for (name, bytes) in [("empty", &b""[..]), ("text", b"hello"), ("json", b"{\"tee\":\"snp\"}")] {
        let path = folder.write(name, bytes);
        run(["evidence", "show", &path]).expect(1, "wanted an evidence bundle");
    }
    run(["evidence", "show", &folder.path("none")]).expect(1, "cannot open");
}
