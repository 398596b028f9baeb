//! `CODES.md` is what the code says: every reason code with its stage and meaning.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_verifier::codes;
use std::fmt::Write as _;
use std::path::Path;

fn page() -> String {
    let mut out = String::from(
        "# Reason codes\n\nEvery rule of the verifier, by the code that a refusal names. A refusal lists all rules that \
         failed; codes are only ever added.\nThis page is written from the code: `UPDATE_SNAPSHOTS=1 cargo test -p \
         anchorhold-verifier --test codes_page`.\n",
    );
    let family = |name: &str| name.split('_').next().unwrap_or_default().to_owned();
    let mut last = String::new();
    for code in codes::all() {
        let Some(meaning) = codes::meaning(code.name) else { continue };
        if family(code.name) != last {
            last = family(code.name);
            let _ = write!(out, "\n## {last}\n\n| code | stage | the rule |\n|---|---|---|\n");
        }
        let stage = format!("{:?}", code.stage).to_lowercase();
        let _ = writeln!(out, "| `{}` | {stage} | {} |", code.name, meaning.replace('|', "\\|"));
    }
    out
}

#[test]
fn the_page_of_codes_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CODES.md");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page());
}

#[test]
fn every_code_of_a_family_has_a_meaning() {
    let without: Vec<_> = codes::all()
        .map(|code| code.name)
        .filter(|name| {
            codes::meaning(name).is_none() && !name.starts_with("evidence_") && !name.starts_with("family_")
        })
        .collect();
    assert!(without.is_empty(), "{without:?}");
}
