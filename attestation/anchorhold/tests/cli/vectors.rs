//! `vectors run`: every case counts, whether it is understood or not.

use crate::support::{Folder, guest, now, run};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_rats::ReportData;
use serde_json::{Value, json};

/// A folder `files` with the evidence of a good guest, and the case that names it.
fn good(folder: &Folder) -> Value {
    let evidence = guest().attest(&ReportData::new([9; 64])).unwrap();
    folder.write("files/report.bin", &evidence.report);
    folder.write("files/vek.der", &evidence.certificates[0].0);
    folder.write("files/ask.der", &evidence.certificates[1].0);
    folder.write("files/ark.der", simulated_ark_der());
    let files = json!({ "report": "report.bin", "vek": "vek.der", "ask": "ask.der", "ark": "ark.der" });
    json!({ "id": "good", "platform": "snp", "files": files, "pin": "forged", "at": now(), "expect": "accept" })
}

fn manifest(folder: &Folder, name: &str, cases: &[Value]) -> String {
    folder.write(&format!("{name}/manifest.json"), json!({ "format": 1, "cases": cases }).to_string());
    folder.path(name)
}

#[test]
fn a_case_that_is_not_understood_is_not_ok_and_the_others_are_judged() {
    let folder = Folder::new();
    let good = good(&folder);
    let mut unknown = good.clone();
    (unknown["id"], unknown["policy"]) = (json!("unknown"), json!({ "foo": 1 }));
    let ran = run(["vectors", "run", &manifest(&folder, "files", &[good, unknown])]);
    ran.expect(1, "");
    assert!(ran.out.contains("NOT OK unknown error (expected accept) unknown field `foo`"), "{}", ran.out);
    assert!(ran.out.contains("ok     good accept") && ran.out.ends_with("2 cases, 1 as expected, 1 not\n"));
}

#[test]
fn a_folder_without_a_case_is_no_success() {
    let folder = Folder::new();
    let none = manifest(&folder, "none", &[]);
    run(["vectors", "run", &none]).expect(1, "none/manifest.json has no case");
}

#[test]
fn the_files_may_lie_elsewhere() {
    let folder = Folder::new();
    let beside = manifest(&folder, "cases", &[good(&folder)]);
    run(["vectors", "run", &beside]).expect(1, "");
    let ran = run(["vectors", "run", &beside, "--files", &folder.path("files")]);
    ran.expect(0, "");
    assert!(ran.out.ends_with("1 cases, 1 as expected, 0 not\n"), "{}", ran.out);
}
