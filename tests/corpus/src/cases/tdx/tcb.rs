//! Identities and TCB levels.

use super::{Made, TdConfig};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::tdx::{CollateralTemplate, Level, QuoteVersion};

/// A part and how its status is set in every level.
type Part = (&'static str, fn(&mut CollateralTemplate, &str));

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    identity(suite, made)?;
    levels(suite, made)
}

fn identity(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let stage = "identity";
    let case = made.signed(|all| all.tcb_info.fmspc = "00806F050000".into())?;
    suite.add("tdx-fmspc", case.refused(stage, "tdx_fmspc"), "TCB info of another platform")?;
    let case = made.signed(|all| all.tcb_info.pce_id = "0001".into())?;
    suite.add("tdx-pce-id", case.refused(stage, "tdx_pce_id"), "TCB info of another PCE")?;
    let case = made.enclave(|report| flip(&mut report.mr_signer, 0))?;
    suite.add("tdx-qe-mrsigner", case.refused(stage, "tdx_qe_mrsigner"), "another signer's enclave")?;
    let case = made.enclave(|report| report.product_id = 1)?;
    suite.add("tdx-qe-product", case.refused(stage, "tdx_qe_product"), "another product of the signer")?;
    let case = made.enclave(|report| put(&mut report.attributes, 0, 0x17))?;
    suite.add(
        "tdx-qe-debug",
        case.refused(stage, "tdx_qe_attributes"),
        "the quoting enclave is a debug enclave",
    )?;
    let case = made.enclave(|report| put(&mut report.misc_select, 0, 1))?;
    suite.add("tdx-qe-miscselect", case.refused(stage, "tdx_qe_miscselect"), "another MISCSELECT")?;
    let case = made.fields(|fields| flip(&mut fields.body.mr_signer_seam, 0))?;
    suite.add("tdx-mrsignerseam", case.refused(stage, "tdx_mrsignerseam"), "another signer's TDX module")?;
    let case = made.fields(|fields| fields.body.seam_attributes = 1)?;
    suite.add("tdx-seam-attributes", case.refused(stage, "tdx_seam_attributes"), "a debug TDX module")?;
    let case = made.fields(|fields| put(&mut fields.body.tee_tcb_svn, 1, 0x7f))?;
    suite.add("tdx-module-unknown", case.refused(stage, "tdx_module_unknown"), "no such TDX module is known")
}

fn levels(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let stage = "tcb";
    let case = made.enclave(|report| report.svn = 0)?;
    suite.add(
        "tdx-qe-below-all",
        case.refused(stage, "tdx_qe_level"),
        "the quoting enclave meets no level",
    )?;
    let case = made.fields(|fields| put(&mut fields.body.tee_tcb_svn, 2, 0))?;
    suite.add("tdx-below-all", case.refused(stage, "tdx_platform_level"), "the platform meets no level")?;
    let case = made.fields(|fields| put(&mut fields.body.tee_tcb_svn, 0, 0))?;
    suite.add(
        "tdx-module-below-all",
        case.refused(stage, "tdx_module_level"),
        "the module meets no level",
    )?;
    for status in [
        "OutOfDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDateConfigurationNeeded",
    ] {
        let case = made.signed(|all| set_platform(all, status))?;
        suite.add(
            format!("tdx-platform-{}", status.to_lowercase()),
            case.refused(stage, "tdx_tcb_status"),
            "the platform is not up to date",
        )?;
    }
    let parts: [Part; 3] = [("platform", set_platform), ("module", set_module), ("qe", set_qe)];
    for (part, set) in parts {
        let case = made.signed(|all| set(all, "Revoked"))?;
        suite.add(
            format!("tdx-{part}-level-revoked"),
            case.refused(stage, "tdx_tcb_revoked"),
            "a revoked level",
        )?;
        if part != "platform" {
            let case = made.signed(|all| set(all, "OutOfDate"))?;
            suite.add(
                format!("tdx-{part}-outofdate"),
                case.refused(stage, "tdx_tcb_status"),
                "the worst of platform, module and quoting enclave counts",
            )?;
        }
    }
    let case = made.case().rule("min_tcb_eval", 10_000).refused(stage, "tdx_evaluation_number");
    suite.add(
        "tdx-evaluation-number",
        case,
        "collateral of an earlier evaluation than the policy asks for",
    )?;
    let td15 = Made::new(TdConfig { version: QuoteVersion::V5Td15, ..made.config.clone() })?;
    let case = td15.fields(|fields| {
        if let Some(td15) = &mut fields.body.td15 {
            put(&mut td15.tee_tcb_svn2, 2, 0);
        }
    })?;
    suite.add("tdx-svn2-below-all", case.refused(stage, "tdx_platform_level"), "TEE_TCB_SVN2 meets no level")
}

fn set<T>(levels: &mut [Level<T>], status: &str) {
    for level in levels {
        level.tcb_status = status.to_owned();
    }
}

/// Gives every level of the platform this status.
pub(super) fn set_platform(all: &mut CollateralTemplate, status: &str) {
    set(&mut all.tcb_info.tcb_levels, status);
}

fn set_module(all: &mut CollateralTemplate, status: &str) {
    for module in &mut all.tcb_info.tdx_module_identities {
        set(&mut module.tcb_levels, status);
    }
}

fn set_qe(all: &mut CollateralTemplate, status: &str) {
    set(&mut all.qe_identity.tcb_levels, status);
}
