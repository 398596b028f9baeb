//! The appraisal policy and the binding.

use super::{Made, TdConfig};
use crate::writer::Suite;
use anchorhold_attester::software::tdx::QuoteVersion;

const SEPT_VE_DISABLE: u64 = 1 << 28;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    attributes(suite, made)?;
    let policy = "policy";
    for (index, key) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().enumerate() {
        let code =
            ["tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx_rtmr3"].get(index).copied().unwrap_or_default();
        let case = made.case().rule(key, "0e".repeat(48)).refused(policy, code);
        suite.add(format!("tdx-{key}"), case, "another value of the register")?;
    }
    let case = made.case().rule("mrtd", "08".repeat(48)).refused(policy, "tdx_mrtd");
    suite.add("tdx-mrtd", case, "another MRTD")?;
    let td15 = Made::new(TdConfig { version: QuoteVersion::V5Td15, ..made.config.clone() })?;
    let case = td15.fields(|fields| {
        if let Some(td15) = &mut fields.body.td15 {
            td15.mr_service_td = [1; 48];
        }
    })?;
    suite.add("tdx-service-td", case.refused(policy, "tdx_service_td"), "a service TD that nobody named")?;
    let case = made.fields(|fields| fields.body.xfam &= !1)?.refused(policy, "tdx_xfam_fixed");
    suite.add("tdx-xfam-fixed-1", case, "a bit of XFAM that must be one is zero")?;
    let case = made.fields(|fields| fields.body.xfam |= 1 << 63)?.refused(policy, "tdx_xfam_fixed");
    suite.add("tdx-xfam-fixed-0", case, "a bit of XFAM that must be zero is one")?;
    let good = made.case().rule("report_data", "09".repeat(64)).rule("mrtd", "07".repeat(48));
    suite.add("tdx-good-bound", good, "the expected report data and MRTD")?;
    let case = made.case().rule("report_data", "00".repeat(64)).refused("binding", "tdx_report_data");
    suite.add("tdx-report-data", case, "made for somebody else, or before")
}

fn attributes(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let policy = "policy";
    let with = |bits: u64| made.fields(|fields| fields.body.attributes = SEPT_VE_DISABLE | bits);
    let debug = with(1)?;
    suite.add("tdx-debug", debug.clone().refused(policy, "tdx_debug"), "the host may debug the TD")?;
    suite.add("tdx-good-debug", debug.rule("allow_debug", true), "debugging was allowed by the caller")?;
    for bit in [4, 5, 6] {
        let case = with(1 << bit)?.refused(policy, "tdx_profiling");
        suite.add(format!("tdx-profiling-{bit}"), case, "the host may profile the TD")?;
    }
    for bit in [8, 40] {
        let case = with(1 << bit)?.refused(policy, "tdx_attributes_reserved");
        suite.add(format!("tdx-attributes-{bit}"), case, "a reserved bit of TDATTRIBUTES")?;
    }
    let case = with(1 << 29)?.refused(policy, "tdx_migratable");
    suite.add("tdx-migratable", case, "the TD can be migrated")?;
    let perfmon = with(1 << 63)?;
    suite.add("tdx-good-perfmon", perfmon.clone().rule("allow_perfmon", true), "counters were allowed")?;
    let case = perfmon.rule("allow_perfmon", false).refused(policy, "tdx_perfmon");
    suite.add("tdx-perfmon", case, "counters are not allowed")?;
    let case = made.fields(|fields| fields.body.attributes = 0)?;
    let case = case.rule("require_sept_ve_disable", true).refused(policy, "tdx_sept_ve_disable");
    suite.add("tdx-sept-ve-disable", case, "the host may cause exceptions on private pages")
}
