//! Components, provenance and advisories of a made-up image.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_rats::Sha256Digest;
use anchorhold_supply_chain::advisories::Weight;
use anchorhold_supply_chain::advisories::debian::Tracker;
use anchorhold_supply_chain::advisories::rustsec::{Advisory, MAX_ADVISORY_BYTES};
use anchorhold_supply_chain::provenance::{File, MAX_STATEMENT_BYTES, Statement};
use anchorhold_supply_chain::{Component, Error, Kind, cargo, debian, sbom};
use std::path::Path;

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/supply-chain");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn crates() -> Vec<Component> {
    cargo::components(&text("metadata.json"), &text("Cargo.lock"), &["anchorhold-guard"]).unwrap()
}

fn all() -> Vec<Component> {
    [crates(), debian::components(&text("image.lock")).unwrap()].concat()
}

fn names(components: &[Component]) -> Vec<&str> {
    components.iter().map(|component| component.name.as_str()).collect()
}

fn malformed(error: &Error) -> bool {
    matches!(error, Error::Malformed { .. })
}

#[test]
fn crates_are_those_that_are_linked_or_run_in_the_build_and_not_those_of_tests() {
    let crates = crates();
    assert_eq!(names(&crates), ["anchorhold-keeper", "builder", "helper", "parser"]);
    assert_eq!(crates[0].depends, ["pkg:cargo/builder@1.0.0", "pkg:cargo/parser@1.3.0"]);
    assert_eq!((crates[0].sha256.as_str(), crates[3].sha256.as_str()), ("", "1".repeat(64).as_str()));
    let cut = text("metadata.json").replace("{ \"id\": \"registry#helper@0.2.0\", \"deps\": [] },", "");
    assert!(matches!(cargo::components(&cut, "", &["anchorhold-guard"]), Err(Error::Missing { .. })));
    assert!(malformed(&cargo::components("{}", "", &[]).unwrap_err()));
    assert!(malformed(&cargo::components(&text("metadata.json"), "[[package]]", &[]).unwrap_err()));
}

#[test]
fn a_program_is_made_by_one_package_whatever_that_is_called() {
    let of = |metadata: &str, program| cargo::components(metadata, "", &[program]);
    // A package's name, a library and a test are no programs.
    for name in ["anchorhold-none", "anchorhold-keeper", "anchorhold_keeper", "guarding"] {
        let missing = of(&text("metadata.json"), name).unwrap_err();
        assert_eq!(missing, Error::Missing { what: "package that makes the program", name: name.into() });
    }
    let two = text("metadata.json").replace("{ \"name\": \"tester\"", "{ \"name\": \"anchorhold-guard\"");
    assert!(malformed(&of(&two, "anchorhold-guard").unwrap_err()));
}

#[test]
fn a_list_of_components_is_the_same_whatever_their_order_and_names_no_folder() {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let written = sbom::write("anchorhold", "1", at, &all());
    let reversed: Vec<_> = all().into_iter().rev().collect();
    assert_eq!(sbom::write("anchorhold", "1", at, &reversed), written);
    assert!(!written.contains("somewhere") && !written.contains("serialNumber"), "{written}");
    assert!(written.contains("pkg:deb/debian/libc6@2.41-12%2Bdeb13u5"));
    let mut sorted = all();
    sorted.sort();
    assert_eq!(sbom::read(&written).unwrap(), sorted);
    assert!(malformed(&sbom::read(&written.replace("CycloneDX", "SPDX")).unwrap_err()));
    assert!(malformed(&sbom::read("[]").unwrap_err()));
    let other = written.replace("pkg:deb/debian/libc6@", "pkg:npm/libc6@");
    assert_eq!(sbom::read(&other).unwrap().len(), all().len() - 1);
}

#[test]
fn an_advisory_of_rustsec_is_about_the_versions_that_it_says() {
    let advisory = Advisory::parse(&text("rustsec/crates/parser/RUSTSEC-2099-0001.md")).unwrap();
    let found = advisory.findings(&all());
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id.as_str(), found[0].kind, found[0].weight),
        ("RUSTSEC-2099-0001", Kind::Cargo, Weight::Vulnerable)
    );
    assert_eq!(
        (found[0].version.as_str(), found[0].fixed.join(" or ").as_str()),
        ("1.3.0", ">=1.4.2 or >=1.2.9, <1.3.0")
    );
    assert_eq!(found[0].title, "Parser reads behind its input");
    for (version, is_affected) in [
        ("1.1.9", false),
        ("1.2.0", true),
        ("1.2.9", false),
        ("1.4.1", true),
        ("2.0.0", false),
        ("nonsense", true),
    ] {
        let mut components = crates();
        components[3].version = version.to_owned();
        assert_eq!(advisory.findings(&components).len(), usize::from(is_affected), "{version}");
    }
    let remark =
        Advisory::parse(&text("rustsec/crates/helper/RUSTSEC-2099-0002.md")).unwrap().findings(&all());
    assert_eq!((remark[0].weight, remark[0].fixed.len()), (Weight::Remark, 0));
    let withdrawn = text("rustsec/crates/parser/RUSTSEC-2099-0001.md")
        .replace("date =", "withdrawn = \"2099-02-01\"\ndate =");
    assert!(Advisory::parse(&withdrawn).unwrap().findings(&all()).is_empty());
}

#[test]
fn refuses_advisories_that_are_none() {
    let good = text("rustsec/crates/parser/RUSTSEC-2099-0001.md");
    for bad in [
        String::new(),
        "# Title".to_owned(),
        good.replace("```toml", "```yaml"),
        good.replace("```\n\n#", "#"),
        good.replace("package =", "crate ="),
        good.replace(">= 1.4.2", "newer"),
    ] {
        assert!(malformed(&Advisory::parse(&bad).unwrap_err()), "{bad}");
    }
    let long = format!("{good}{}", " ".repeat(MAX_ADVISORY_BYTES));
    assert!(matches!(Advisory::parse(&long), Err(Error::TooLong { .. })));
}

#[test]
fn debians_tracker_says_what_a_rebuild_would_change() {
    let tracker = Tracker::parse(&text("debian.json"), &all()).unwrap();
    let found = tracker.findings(&all(), "trixie");
    let shown: Vec<_> =
        found.iter().map(|finding| (finding.id.as_str(), finding.name.as_str(), finding.weight)).collect();
    assert_eq!(
        shown,
        [
            ("CVE-2099-0001", "libc6", Weight::Vulnerable),
            ("CVE-2099-0004", "linux-image-6.12.118+deb13-cloud-amd64", Weight::Remark)
        ]
    );
    assert_eq!(found[0].fixed, ["2.41-12+deb13u6"]);
    assert!(found[1].fixed.is_empty());
    assert!(tracker.findings(&all(), "bookworm").is_empty());
    let mut rebuilt = all();
    for component in rebuilt.iter_mut().filter(|component| component.name == "libc6") {
        component.version = "2.41-12+deb13u6".to_owned();
    }
    assert_eq!(tracker.findings(&rebuilt, "trixie").len(), 1);
    for bad in
        ["", "[]", "{\"glibc\": []}", "{} {}", "{\"glibc\": {\"CVE-1\": {\"releases\": {\"trixie\": {}}}}}"]
    {
        assert!(Tracker::parse(bad, &all()).is_err_and(|error| malformed(&error)), "{bad}");
    }
}

#[test]
fn provenance_names_what_was_made_and_from_what() {
    let file = |name: &str| File { name: name.to_owned(), sha256: Sha256Digest::of(name.as_bytes()) };
    let statement = Statement {
        subjects: vec![file("uki.efi"), file("sbom.json")],
        materials: vec![file("image.lock")],
        parameters: vec![("profile".into(), "server".into()), ("flavour".into(), "production".into())],
    };
    let json = statement.to_json();
    let read = Statement::from_json(&json).unwrap();
    assert_eq!(read.to_json(), json);
    assert_eq!(read.names("uki.efi", &file("uki.efi").sha256), Some(true));
    assert_eq!(read.names("uki.efi", &file("sbom.json").sha256), Some(false));
    assert_eq!(read.names("image.lock", &file("image.lock").sha256), None);
    for (from, to) in [
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
        ("slsa.dev/provenance/v1", "slsa.dev/provenance/v0.2"),
        ("build/image/v1", "build/image/v2"),
        ("\"sbom.json\"", "\"uki.efi\""),
        ("\"server\"", "[]"),
        ("\"sha256\"", "\"sha512\""),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        assert!(malformed(&Statement::from_json(&changed).unwrap_err()), "{from}");
    }
    let nothing = Statement { subjects: Vec::new(), ..statement }.to_json();
    assert!(matches!(Statement::from_json(&nothing), Err(Error::Missing { .. })));
    let long = " ".repeat(MAX_STATEMENT_BYTES + 1);
    assert!(matches!(Statement::from_json(&long), Err(Error::TooLong { .. })));
}
