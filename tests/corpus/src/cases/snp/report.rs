//! The report's shape, signature, and what it says of its chip.

use super::{LaunchConfig, MEASUREMENT, Made, REPORT_DATA, launch, of};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::{Product, Signer};

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    controls(suite, made)?;
    shape(suite, made)?;
    signature(suite, made)?;
    identity(suite, made)
}

/// Good evidence: a verifier that refuses everything is of no use.
fn controls(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("snp-good-genoa", made.case()?, "unchanged, version 5")?;
    for version in 2..=4 {
        let case = made.fields(|fields| fields.version = version)?;
        suite.add(format!("snp-good-v{version}"), case, format!("a report of version {version}"))?;
    }
    for (name, product) in [("milan", Product::Milan), ("turin", Product::Turin)] {
        let guest = launch(LaunchConfig::for_product(MEASUREMENT, product))?;
        suite.add(
            format!("snp-good-{name}"),
            of(&guest.attest(&REPORT_DATA)?)?,
            format!("a chip of {name}"),
        )?;
    }
    let vlek = launch(LaunchConfig { signer: Signer::Vlek, ..LaunchConfig::new(MEASUREMENT) })?;
    suite.add("snp-good-vlek", of(&vlek.attest(&REPORT_DATA)?)?, "signed by a VLEK")
}

fn shape(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let parse = "parse";
    for length in [0, 1, 0x2a0, 1183] {
        let case = made.raw(|bytes| bytes.truncate(length))?.refused(parse, "snp_report_length");
        suite.add(format!("snp-length-{length}"), case, format!("{length} bytes"))?;
    }
    let case = made.raw(|bytes| bytes.push(0))?.refused(parse, "snp_report_length");
    suite.add("snp-length-trailing-zero", case, "one zero byte follows the report")?;
    for version in [0, 1, 6, u32::MAX] {
        let case = made.fields(|fields| fields.version = version)?.refused(parse, "snp_report_version");
        suite.add(format!("snp-version-{version}"), case, "an unknown version, signed")?;
    }
    for algorithm in [0, 2] {
        let case = made.bytes(|bytes| put(bytes, 0x34, algorithm))?.refused(parse, "snp_signature_algorithm");
        suite.add(format!("snp-algorithm-{algorithm}"), case, "SIGNATURE_ALGO is not 1")?;
    }
    for offset in [0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f] {
        let case = made.bytes(|bytes| put(bytes, offset, 1))?.refused(parse, "snp_report_reserved");
        suite.add(format!("snp-reserved-{offset:03x}"), case, format!("reserved byte {offset:#x} is set"))?;
    }
    let case = made.fields(|fields| fields.flags |= 1 << 5)?.refused(parse, "snp_report_reserved");
    suite.add("snp-reserved-flag-5", case, "a reserved bit beside SIGNING_KEY is set")?;
    let case = made
        .bytes(|bytes| {
            put(bytes, 0, 3);
            put(bytes, 0x1f8, 1);
        })?
        .refused(parse, "snp_report_reserved");
    suite.add(
        "snp-reserved-v3-mitigations",
        case,
        "a version 3 report with bytes where version 5 has vectors",
    )?;
    for (name, offset) in [("r", 0x2a0 + 48), ("s", 0x2a0 + 72 + 48), ("tail", 0x2a0 + 144), ("last", 1183)] {
        let case = made.raw(|bytes| put(bytes, offset, 1))?.refused(parse, "snp_signature_padding");
        suite.add(format!("snp-unsigned-{name}"), case, "a byte that no signature covers is set")?;
    }
    for bit in [26, 63] {
        let case =
            made.fields(|fields| fields.policy |= 1 << bit)?.refused(parse, "snp_guest_policy_reserved");
        suite.add(format!("snp-policy-bit-{bit}"), case, "a reserved bit of POLICY is set")?;
    }
    let case = made.fields(|fields| fields.policy &= !(1 << 17))?.refused(parse, "snp_guest_policy_reserved");
    suite.add("snp-policy-bit-17", case, "bit 17 of POLICY, which must be one, is zero")?;
    for vmpl in [4, u32::MAX] {
        let case = made.fields(|fields| fields.vmpl = vmpl)?.refused(parse, "snp_vmpl_range");
        suite.add(format!("snp-vmpl-{vmpl}"), case, "there is no such VMPL")?;
    }
    for key in [2, 6] {
        let case = made.fields(|fields| fields.flags |= key << 2)?.refused(parse, "snp_signing_key_reserved");
        suite.add(format!("snp-signing-key-{key}"), case, "SIGNING_KEY is a reserved value")?;
    }
    Ok(())
}

fn signature(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.fields(|fields| fields.flags |= 7 << 2)?.refused("signature", "snp_report_unsigned");
    suite.add("snp-unsigned", case, "SIGNING_KEY says that nobody signed")?;
    let case = made.fields(|fields| fields.flags |= 2)?.refused("signature", "snp_report_unsigned");
    suite.add("snp-masked-key", case, "the chip key is masked and a VCEK signs")?;
    for (name, offset) in [
        ("guest-svn", 0x04),
        ("report-data", 0x50),
        ("measurement", 0x90),
        ("host-data", 0xc0),
        ("report-id", 0x140),
        ("last-chip-byte", 0x1df),
    ] {
        let case = made.raw(|bytes| flip(bytes, offset))?.refused("signature", "snp_report_signature");
        suite.add(format!("snp-changed-{name}"), case, "changed after signing")?;
    }
    for (name, offset) in [("r", 0x2a0), ("s", 0x2a0 + 72)] {
        let case = made.raw(|bytes| flip(bytes, offset))?.refused("signature", "snp_report_signature");
        suite.add(format!("snp-signature-{name}"), case, format!("another {name}"))?;
    }
    let zero = made.raw(|bytes| bytes.iter_mut().skip(0x2a0).for_each(|byte| *byte = 0))?;
    suite.add("snp-signature-zero", zero.refused("signature", "snp_report_signature"), "R and S are zero")?;
    let big_endian = made.raw(|bytes| {
        for start in [0x2a0, 0x2a0 + 72] {
            if let Some(part) = bytes.get_mut(start..start + 48) {
                part.reverse();
            }
        }
    })?;
    let case = big_endian.refused("signature", "snp_report_signature");
    suite.add("snp-signature-big-endian", case, "R and S in the byte order of other formats")?;
    let other = launch(LaunchConfig::new(MEASUREMENT))?.attest(&REPORT_DATA)?;
    let case = made.case()?.file("report", other.report).refused("signature", "snp_report_signature");
    suite.add("snp-signature-other-chip", case, "signed by another chip's key")
}

fn identity(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.fields(|fields| fields.cpuid = [0x19, 0x01, 1])?.refused("identity", "snp_product_cpuid");
    suite.add("snp-cpuid-milan", case, "the CPUID of Milan with the certificate of Genoa")?;
    let case = made.fields(|fields| fields.cpuid = [0x17, 0x31, 0])?.refused("identity", "snp_product_cpuid");
    suite.add("snp-cpuid-unknown", case, "a CPUID of no known product")?;
    let case = made.fields(|fields| flip(&mut fields.chip_id, 0))?.refused("identity", "snp_chip_id");
    suite.add("snp-chip-id", case, "CHIP_ID is not the HWID of the VCEK")?;
    let turin = launch(LaunchConfig::for_product(MEASUREMENT, Product::Turin))?;
    let case = of(&super::fields_of(&turin, |fields| put(&mut fields.chip_id, 8, 1))?)?;
    suite.add(
        "snp-chip-id-turin-tail",
        case.refused("identity", "snp_chip_id"),
        "bytes 8 to 63 of Turin's CHIP_ID are not zero",
    )
}
