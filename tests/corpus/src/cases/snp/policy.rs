//! TCB versions, the appraisal policy, and the binding.

use super::{LaunchConfig, MEASUREMENT, Made, REPORT_DATA, launch, of};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::{Debug, MigrationAgent, Product};
use serde_json::json;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    tcb(suite, made)?;
    guest(suite, made)?;
    binding(suite, made)
}

fn tcb(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, byte) in [("bootloader", 0), ("snp", 6), ("microcode", 7)] {
        let case = made.fields(|fields| {
            flip(&mut fields.reported_tcb, byte);
        })?;
        suite.add(
            format!("snp-certified-{id}"),
            case.refused("tcb", "snp_tcb_certified"),
            "the VCEK is certified for another REPORTED_TCB",
        )?;
    }
    let case = made.fields(|fields| put(&mut fields.current_tcb, 3, 1))?;
    suite.add(
        "snp-tcb-reserved",
        case.refused("tcb", "snp_tcb_reserved"),
        "a reserved byte of CURRENT_TCB",
    )?;
    let case = made.fields(|fields| {
        if let Some(byte) = fields.current_tcb.get_mut(7) {
            *byte -= 1;
        }
    })?;
    suite.add("snp-tcb-order-reported", case.refused("tcb", "snp_tcb_order"), "REPORTED above CURRENT")?;
    for (id, above) in [("committed", 0_u8), ("launch", 1)] {
        let case = made.fields(|fields| {
            let tcb = if above == 0 { &mut fields.committed_tcb } else { &mut fields.launch_tcb };
            if let Some(byte) = tcb.get_mut(7) {
                *byte += 1;
            }
        })?;
        suite.add(
            format!("snp-tcb-order-{id}"),
            case.refused("tcb", "snp_tcb_order"),
            "above CURRENT_TCB",
        )?;
    }
    let turin = launch(LaunchConfig::for_product(MEASUREMENT, Product::Turin))?;
    let turin = of(&turin.attest(&REPORT_DATA)?)?;
    for (component, value) in [("bootloader", 11), ("snp", 26), ("microcode", 85), ("tee", 1)] {
        let case = made.case()?.rule("min_tcb", json!({ component: value }));
        suite.add(
            format!("snp-below-{component}"),
            case.refused("tcb", "snp_tcb_minimum"),
            "REPORTED_TCB is below the policy's floor in one component",
        )?;
    }
    let case = turin.rule("min_tcb", json!({ "fmc": 1 })).refused("tcb", "snp_tcb_minimum");
    suite.add("snp-below-fmc", case, "Turin's FMC is below the policy's floor")?;
    let case = made.case()?.rule("min_launch_tcb", json!({ "snp": 26 }));
    suite.add(
        "snp-launch-below",
        case.refused("tcb", "snp_tcb_launch_minimum"),
        "LAUNCH_TCB below its floor",
    )?;
    let case = made.fields(|fields| fields.launch_mitigations = 1)?.rule("require_mit_vector", "3");
    suite.add("snp-mitigations", case.refused("tcb", "snp_mitigations"), "a mitigation was off at launch")?;
    let case = made.fields(|fields| fields.version = 3)?.rule("require_mit_vector", "1");
    suite.add("snp-mitigations-v3", case.refused("tcb", "snp_mitigations"), "version 3 has no vectors")
}

fn guest(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let config = LaunchConfig::new(MEASUREMENT);
    let debug = launch(LaunchConfig { debug: Debug::Allowed, ..config.clone() })?.attest(&REPORT_DATA)?;
    suite.add(
        "snp-debug",
        of(&debug)?.refused("policy", "snp_debug_allowed"),
        "the host may debug the guest",
    )?;
    suite.add(
        "snp-good-debug",
        of(&debug)?.rule("allow_debug", true),
        "debugging was allowed by the caller",
    )?;
    let migration = LaunchConfig { migration_agent: MigrationAgent::Allowed, ..config };
    let case = of(&launch(migration)?.attest(&REPORT_DATA)?)?.refused("policy", "snp_migration_allowed");
    suite.add("snp-migration", case, "a migration agent may export the guest")?;
    let case = made.fields(|fields| fields.vmpl = 1)?;
    suite.add("snp-vmpl-1", case.clone().refused("policy", "snp_vmpl"), "asked for at VMPL 1")?;
    suite.add("snp-good-vmpl-1", case.rule("allow_vmpl", json!([1])), "VMPL 1 is allowed")?;
    let case = made.fields(|fields| fields.policy |= 1 << 16)?.rule("allow_smt", false);
    suite.add("snp-smt", case.refused("policy", "snp_smt"), "POLICY allows SMT")?;
    let case = made.fields(|fields| fields.platform_info &= !(1 << 5))?.rule("require_alias_check", true);
    suite.add(
        "snp-alias-check",
        case.refused("policy", "snp_alias_check"),
        "memory aliases were not checked",
    )?;
    let case = made.case()?.rule("require_author_key", true).refused("policy", "snp_author_key_missing");
    suite.add("snp-author-key", case, "there is no author key")?;
    let case = made.case()?.rule("host_data", "01".repeat(32)).refused("policy", "snp_host_data");
    suite.add("snp-host-data", case, "another HOST_DATA")?;
    let case = made.case()?.rule("measurement", "08".repeat(48)).refused("policy", "snp_measurement");
    suite.add("snp-measurement", case, "another MEASUREMENT")
}

fn binding(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let good = made.case()?.rule("report_data", "09".repeat(64)).rule("measurement", "07".repeat(48));
    suite.add("snp-good-bound", good, "the expected report data and measurement")?;
    let case = made.case()?.rule("report_data", "00".repeat(64)).refused("binding", "snp_report_data");
    suite.add("snp-report-data", case, "made for somebody else, or before")
}
