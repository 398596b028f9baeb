//! The report's shape and its signature.

use super::{Edit, Made, PDI};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::gpu::{Chip, GpuConfig, SpdmReport};

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    controls(suite, made)?;
    layout(suite, made)?;
    header(suite, made)?;
    blocks(suite, made)?;
    signatures(suite, made)
}

/// Good evidence: a verifier that refuses everything is of no use.
fn controls(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("nvidia-good-hopper", made.case(), "unchanged")?;
    for (id, chip) in [("blackwell", Chip::Gb100), ("switch", Chip::Ls10)] {
        let other = Made::new(GpuConfig::new(chip, PDI))?;
        suite.add(format!("nvidia-good-{id}"), other.case(), "unchanged")?;
    }
    let case = made.config(|config| {
        config.fwid = None;
        config.protected_pcie = None;
        config.feature = None;
    })?;
    suite.add("nvidia-good-old-driver", case, "a driver that states neither firmware nor mode")
}

fn layout(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let whole = made.evidence.report.len();
    for length in [0, 36, 37, 44, 1000, whole - 96, whole - 1] {
        let case = made.raw(|report| report.truncate(length)).refused("parse", "nvidia_report_length");
        suite.add(format!("nvidia-length-{length}"), case, format!("{length} bytes of {whole}"))?;
    }
    let case = made.raw(|report| report.push(0)).refused("parse", "nvidia_report_length");
    suite.add("nvidia-trailing", case, "a zero byte follows the signature")
}

fn header(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [(&str, Edit<SpdmReport>, &str, &str); 9] = [
        ("request-version", |r| put(&mut r.request, 0, 0x12), "nvidia_request_code", "SPDM 1.2"),
        ("request-challenge", |r| put(&mut r.request, 1, 0x83), "nvidia_request_code", "a CHALLENGE"),
        (
            "request-unsigned",
            |r| put(&mut r.request, 2, 0),
            "nvidia_request_parameters",
            "no signature was asked for",
        ),
        (
            "request-one-block",
            |r| put(&mut r.request, 3, 1),
            "nvidia_request_parameters",
            "one block was asked for",
        ),
        ("request-slot", |r| r.slot = 1, "nvidia_request_parameters", "another certificate slot"),
        ("response-version", |r| put(&mut r.response, 0, 0x10), "nvidia_response_code", "SPDM 1.0"),
        ("response-error", |r| put(&mut r.response, 1, 0x7f), "nvidia_response_code", "an ERROR"),
        (
            "response-first",
            |r| put(&mut r.response, 2, 1),
            "nvidia_response_parameters",
            "the first parameter is not zero",
        ),
        (
            "response-slot",
            |r| put(&mut r.response, 3, 1),
            "nvidia_response_parameters",
            "another certificate slot",
        ),
    ];
    for (id, edit, code, why) in edits {
        let case = made.fields(edit)?.refused("parse", code);
        suite.add(format!("nvidia-{id}"), case, format!("{why}, signed"))?;
    }
    Ok(())
}

fn blocks(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [(&str, Edit<SpdmReport>, &str, &str); 7] = [
        (
            "block-specification",
            |r| first(r, |block| block.specification = 0),
            "nvidia_block_format",
            "a block that is not DMTF's",
        ),
        (
            "block-raw",
            |r| first(r, |block| block.kind = 0x81),
            "nvidia_block_format",
            "a raw value in the place of a digest",
        ),
        (
            "block-short",
            |r| first(r, |block| block.value.truncate(32)),
            "nvidia_block_format",
            "a value of 32 bytes",
        ),
        ("block-none", |r| r.blocks.clear(), "nvidia_block_count", "no measurement"),
        ("block-index-zero", |r| first(r, |block| block.index = 0), "nvidia_block_index", "index 0"),
        (
            "block-index-twice",
            |r| first(r, |block| block.index = 2),
            "nvidia_block_index",
            "two blocks of one index",
        ),
        (
            "block-twice",
            |r| r.blocks.extend(r.blocks.first().cloned()),
            "nvidia_block_index",
            "one block twice",
        ),
    ];
    for (id, edit, code, why) in edits {
        let case = made.fields(edit)?.refused("parse", code);
        suite.add(format!("nvidia-{id}"), case, format!("{why}, signed"))?;
    }
    for count in [0, 63, 65] {
        let case = made.signed(|signed| put(signed, 41, count))?.refused("parse", "nvidia_block_count");
        suite.add(format!("nvidia-block-count-{count}"), case, "not the number of the blocks, signed")?;
    }
    Ok(())
}

fn first(report: &mut SpdmReport, edit: impl FnOnce(&mut anchorhold_attester::software::gpu::Block)) {
    if let Some(block) = report.blocks.first_mut() {
        edit(block);
    }
}

fn signatures(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let whole = made.evidence.report.len();
    for (id, offset) in [
        ("nonce", 4),
        ("measurement", 45 + 7),
        ("last-measurement", 45 + 64 * 55 - 1),
        ("responder-nonce", 45 + 64 * 55),
        ("unknown-opaque", whole - 96 - 1 - 6),
        ("signature", whole - 1),
    ] {
        let case = made.raw(|report| flip(report, offset)).refused("signature", "nvidia_report_signature");
        suite.add(format!("nvidia-changed-{id}"), case, "changed after signing")?;
    }
    let case = made.raw(|report| {
        report.truncate(whole - 96);
        report.resize(whole, 0);
    });
    suite.add(
        "nvidia-signature-zero",
        case.refused("signature", "nvidia_report_signature"),
        "r and s are zero",
    )?;
    let other = Made::new(made.device.config().clone())?;
    let case = made.case().file("report", other.evidence.report);
    suite.add(
        "nvidia-other-key",
        case.refused("signature", "nvidia_report_signature"),
        "the report of another device with these certificates",
    )
}
