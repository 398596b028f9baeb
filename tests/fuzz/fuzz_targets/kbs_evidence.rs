//! Evidence in the JSON of guest-components' attesters. What is read within limits is written and read back as the same.
#![no_main]

use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::made;
use anchorhold_kbs::{ReadEvidence, Tee, WrittenEvidence};
use anchorhold_rats::{Evidence, Nonce};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Each family, and devices.
static GOOD: LazyLock<Vec<(Tee, String, String)>> = LazyLock::new(|| {
    let snp = made::snp_guest().attest(&made::REPORT_DATA).expect("evidence");
    let tdx = made::tdx_guest().attest(&made::REPORT_DATA).expect("evidence");
    let below = |mut evidence: Evidence| {
        let vtpm = made::paravisor();
        evidence.paravisor = Some(vtpm.attest(evidence.tee, &evidence.report, &[9; 48]).expect("evidence"));
        evidence.certificates.truncate(1);
        evidence
    };
    let gpus = vec![made::gpu().evidence(&Nonce::new([1; 32])).expect("evidence")];
    let devices = WrittenEvidence::additional(&gpus);
    [snp.clone(), tdx.clone(), below(snp), below(tdx)]
        .into_iter()
        .map(|evidence| {
            let written = WrittenEvidence::of(&evidence).expect("JSON");
            (written.tee, written.primary.get().to_owned(), devices.clone())
        })
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let kind = script.byte();
    let (tee, primary, additional) = &GOOD[usize::from(kind) % GOOD.len()];
    let (mut primary, mut additional) = (primary.clone(), additional.clone());
    let edited = if kind & 0x80 == 0 { &mut primary } else { &mut additional };
    let Ok(text) = String::from_utf8(raw_or_edited(script.0, edited.as_bytes())) else { return };
    *edited = text;
    let Ok(read) = ReadEvidence::read(*tee, &primary, &additional) else { return };
    assert!(read.evidence.check_limits().is_ok() && read.endorsements.check_limits().is_ok());
    let Ok(written) = WrittenEvidence::of(&read.evidence) else { return };
    let devices = WrittenEvidence::additional(&read.evidence.gpus);
    let again = ReadEvidence::read(written.tee, written.primary.get(), &devices).expect("what was written");
    assert_eq!(again.evidence, read.evidence);
});
