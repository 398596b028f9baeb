//! `anchorhold verify` as a caller runs it: its exit codes and its verdicts.

use crate::support::Served;
use anchorhold_attester::software::simulated_ark_der;
use serde_json::Value;
use std::path::PathBuf;

/// Runs `anchorhold verify URL --json` with more arguments.
fn verify(served: &Served, more: &[&str]) -> (Option<i32>, Value, String) {
    let url = format!("https://{}", served.guest.address);
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"verify", &url, &"--json"];
    arguments.extend(more.iter().map(|text| text as &dyn AsRef<std::ffi::OsStr>));
    let output = served.stand.programs.output("anchorhold", &arguments).unwrap();
    let verdict = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), verdict, String::from_utf8(output.stderr).unwrap())
}

fn root(served: &Served) -> PathBuf {
    let path = served.stand.path().join("root.der");
    std::fs::write(&path, simulated_ark_der()).unwrap();
    path
}

fn failed(verdict: &Value) -> Vec<&str> {
    let checks = verdict["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["outcome"] == "failed").map(|check| check["code"].as_str().unwrap()).collect()
}

#[test]
fn a_caller_tells_good_wrong_and_foreign_servers_apart() {
    let served = Served::chat();
    let root = root(&served);
    let root = root.to_str().unwrap();
    let measurement = served.stand.measurement.clone();

    let good = ["--measurement", &measurement, "--dangerous-simulated-root", root];
    let (exit, verdict, errors) = verify(&served, &good);
    assert_eq!(exit, Some(0), "{errors}");
    assert_eq!((&verdict["verdict"], &verdict["simulated"]), (&"accepted".into(), &true.into()));
    assert_eq!(verdict["measurement"], measurement);
    assert_eq!(failed(&verdict), Vec::<&str>::new());
    assert!(errors.contains("SIMULATED ROOT"), "{errors}");

    let other = "ab".repeat(48);
    let wrong = ["--measurement", &other, "--dangerous-simulated-root", root];
    let (exit, verdict, _) = verify(&served, &wrong);
    assert_eq!((exit, &verdict["verdict"]), (Some(4), &"not_acceptable".into()));
    assert_eq!(failed(&verdict), ["snp_measurement"]);

    let (exit, verdict, errors) = verify(&served, &["--measurement", &measurement]);
    assert_eq!((exit, &verdict["verdict"]), (Some(3), &"not_authentic".into()));
    assert!(failed(&verdict).contains(&"snp_no_trust_anchor"), "{verdict}");
    assert!(errors.contains("AMD's root"), "{errors}");

    let (exit, verdict, errors) = verify(&served, &[]);
    assert_eq!((exit, verdict), (Some(2), Value::Null), "{errors}");
}
