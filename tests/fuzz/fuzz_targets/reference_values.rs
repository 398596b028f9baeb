//! Reference values: what is read is written out and read back as the same, and its lines say nothing that it does not.
#![no_main]

use anchorhold_appraisal_policy::{FileKind, ReferenceValues};
use anchorhold_fuzz::edit::Script;
use libfuzzer_sys::fuzz_target;

const GOOD: &str = include_str!("../../vectors/measure/reference-values.toml");

fuzz_target!(|input: &[u8]| {
    let text = Script(input).edited_text(GOOD);
    let Ok(values) = ReferenceValues::from_toml(&text) else { return };
    assert_eq!(FileKind::of(&text), Ok(FileKind::ReferenceValues));
    let written = values.to_toml();
    let again = ReferenceValues::from_toml(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(again, values, "{written}");
    let lines = [values.profile_lines(), values.grant_lines()];
    for launch in &values.snp {
        assert!(lines.iter().all(|lines| lines.contains(&launch.measurement.to_string())));
    }
});
