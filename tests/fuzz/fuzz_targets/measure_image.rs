//! Unified kernel images, changed: what firmware measures of the whole covers all that the stub measures of its parts.
#![no_main]

use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_measure::boot::{Boot, events};
use anchorhold_measure::tdx::{Rtmrs, rtmrs};
use anchorhold_measure::{DirectBoot, Error, UnifiedKernel};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const UNIFIED: &[u8] = include_bytes!("../../vectors/measure/unified.efi");

fn measured(file: &[u8]) -> Result<Rtmrs, Error> {
    let unified = UnifiedKernel::parse(file)?;
    assert!(unified.command_line().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    let on_disk = events(&Boot::UnifiedOnDisk(&unified)).map(|events| events.len());
    let events = events(&Boot::Unified(&unified));
    assert_eq!(on_disk, events.as_ref().map(Vec::len).map_err(|error| *error));
    Ok(rtmrs(&events?))
}

static GOOD: LazyLock<Rtmrs> = LazyLock::new(|| measured(UNIFIED).expect("a good image"));

fuzz_target!(|input: &[u8]| {
    let file = raw_or_edited(input, UNIFIED);
    if let Ok(registers) = measured(&file) {
        assert!(registers.rtmr1 != GOOD.rtmr1 || registers == *GOOD, "a part that the whole does not cover");
    }
    let _ = events(&Boot::Direct(DirectBoot { kernel: &file, initrd: b"", command_line: "quiet" }));
});
