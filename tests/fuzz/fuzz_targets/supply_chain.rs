//! Lists of components, provenance and advisory databases, changed: what is read is written and read back as the same.
#![no_main]

use anchorhold_fuzz::edit::Script;
use anchorhold_supply_chain::advisories::debian::Tracker;
use anchorhold_supply_chain::advisories::rustsec::Advisory;
use anchorhold_supply_chain::provenance::Statement;
use anchorhold_supply_chain::{cargo, debian, sbom};
use libfuzzer_sys::fuzz_target;
use std::cmp::Ordering;

const METADATA: &str = include_str!("../../vectors/supply-chain/metadata.json");
const CARGO_LOCK: &str = include_str!("../../vectors/supply-chain/Cargo.lock");
const IMAGE_LOCK: &str = include_str!("../../vectors/supply-chain/image.lock");
const TRACKER: &str = include_str!("../../vectors/supply-chain/debian.json");
const ADVISORY: &str = include_str!("../../vectors/supply-chain/rustsec/crates/parser/RUSTSEC-2099-0001.md");
const STATEMENT: &str = include_str!("../../vectors/supply-chain/provenance.json");

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 7 {
        0 => {
            let text = script.edited_text(METADATA);
            if let Ok(components) = cargo::components(&text, CARGO_LOCK, &["anchorhold-guard"]) {
                let written = sbom::write("image", "1", anchorhold_fuzz::now(), &components);
                assert_eq!(sbom::read(&written).expect("our own list").len(), components.len());
            }
        }
        1 => drop(cargo::components(METADATA, &script.edited_text(CARGO_LOCK), &["anchorhold-guard"])),
        2 => {
            let Ok(components) = debian::components(&script.edited_text(IMAGE_LOCK)) else { return };
            for one in &components {
                for other in &components {
                    let order = debian::compare(&one.version, &other.version);
                    assert_eq!(order.reverse(), debian::compare(&other.version, &one.version));
                    assert!(one.version != other.version || order == Ordering::Equal);
                }
            }
        }
        3 => {
            let components = debian::components(IMAGE_LOCK).expect("the good list");
            if let Ok(tracker) = Tracker::parse(&script.edited_text(TRACKER), &components) {
                for finding in tracker.findings(&components, "trixie") {
                    assert!(!finding.title.chars().any(char::is_control));
                }
            }
        }
        4 => {
            let components =
                cargo::components(METADATA, CARGO_LOCK, &["anchorhold-guard"]).expect("the good list");
            if let Ok(advisory) = Advisory::parse(&script.edited_text(ADVISORY)) {
                assert!(advisory.findings(&components).len() <= components.len());
            }
        }
        5 => {
            if let Ok(statement) = Statement::from_json(&script.edited_text(STATEMENT)) {
                let written = statement.to_json();
                assert_eq!(Statement::from_json(&written).as_ref(), Ok(&statement), "{written}");
            }
        }
        _ => {
            let _ = sbom::read(&script.edited_text(&sbom::write("image", "1", anchorhold_fuzz::now(), &[])));
        }
    }
});
