//! Intel TDX: the table `[tdx]` of profiles, and `[grant.tdx]` of release policies.

mod explain;

pub(crate) use explain::rules;

use crate::words::{bytes, flag, machines};
use crate::{DEBUG, MIGRATION, PolicyError, Reader, SIMULATED, hex, measurement};
use anchorhold_rats::Measurement;
use anchorhold_verifier::tdx::{Grace, PlatformId, Policy, TcbStatus, Xfam};

const PROFILING: &str = "a TD that can be profiled shows the host what it does";
const MRTDS: &str = "a list of MRTDs as \"sha384:…\"";
const REGISTER: &str = "\"any\" or a SHA-384 digest as \"sha384:…\"";
/// RTMR0 to RTMR3.
pub(crate) const REGISTERS: [&str; 4] = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"];
const MR_SEAMS: &str = "\"any\" or a list of MRSEAMs as \"sha384:…\"";
const BYTES_48: &str = "\"any\" or 48 bytes in hex";
const DIGESTS: &str = "\"none\" or a list of 48-byte digests in hex";
const STATUSES: &str = "a list of Intel's words such as \"UpToDate\"; \"Revoked\" is never accepted";
const ADVISORIES: &str = "\"none\" or a list of advisories such as \"INTEL-SA-00615\"";
const PLATFORMS: &str = "\"listed\", \"any\" or a list of PPIDs in hex";
const SECONDS: &str = "a whole number of seconds, 0 or more";

/// The statuses that a file may accept, from best to worst. Revoked is not among them.
const ACCEPTABLE: [TcbStatus; 8] = [
    TcbStatus::UpToDate,
    TcbStatus::SwHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSwHardeningNeeded,
    TcbStatus::TdRelaunchAdvised,
    TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
];

/// Reads the table `[tdx]` of a profile.
///
/// `mrtds`, `rtmr1` and `rtmr2` are mandatory: MRTD is the firmware alone, and what it boots is in the registers, so no
/// file leaves them open without a word. What is left out has the value of [`Policy::strict`] but for one rule, which is tighter: only
/// listed machines are accepted.
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    let mut policy = Policy::strict(table.list_or_nothing("mrtds", MRTDS, measurement)?);
    let [firmware, kernel, command_line, running] = &mut policy.rtmrs;
    *firmware = table.or("rtmr0", None, register)?;
    *kernel = register(&mut table, "rtmr1")?;
    *command_line = register(&mut table, "rtmr2")?;
    *running = table.or("rtmr3", None, register)?;
    read_rules(table, policy)
}

/// One image of a TD: the digests of its firmware, boot loader and kernel, command line, and running system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) mrtd: Measurement,
    pub(crate) rtmrs: [Option<[u8; 48]>; 4],
}

/// Reads one table of `image.tdx` of a grant. Every register is mandatory; one that is not asked says `"any"`.
pub(crate) fn read_image(mut table: Reader) -> Result<Image, PolicyError> {
    let text = table.text("mrtd")?;
    let mrtd = measurement(&text).map_err(|_| table.wrong("mrtd", "an MRTD as \"sha384:…\""))?;
    let mut rtmrs = [None; 4];
    for (key, rtmr) in REGISTERS.into_iter().zip(&mut rtmrs) {
        *rtmr = register(&mut table, key)?;
    }
    table.finish()?;
    Ok(Image { mrtd, rtmrs })
}

/// Reads the table `[grant.tdx]` of a release policy, without an image: as it is, it refuses every TD. The rules are those of
/// profiles, and what is most often weakened must be spelled out.
pub(crate) fn read_grant(table: Reader) -> Result<Policy, PolicyError> {
    table.require(&[
        "debug",
        "profiling",
        "migration",
        "statuses",
        "grace",
        "accepted_advisories",
        "min_tcb_evaluation_number",
        "machines",
        "mr_config_id",
        "allowed_service_tds",
    ])?;
    for (key, flag) in
        [("attributes", "require_sept_ve_disable"), ("attributes", "allow_perfmon"), ("platform", "smt")]
    {
        table.require_in(key, flag)?;
    }
    read_rules(table, Policy::strict(Vec::new()))
}

fn read_rules(mut table: Reader, mut policy: Policy) -> Result<Policy, PolicyError> {
    for (key, reason) in
        [("debug", DEBUG), ("profiling", PROFILING), ("migration", MIGRATION), ("simulated", SIMULATED)]
    {
        table.or(key, (), |table, key| table.must_be_false(key, reason))?;
    }
    policy.allowed_platforms = machines(&mut table, PLATFORMS, platform)?;
    policy.denied_platforms = table.or("denied_machines", Vec::new(), |table, key| {
        Ok(table.list_or(key, "none", "\"none\" or a list of PPIDs in hex", platform)?.unwrap_or_default())
    })?;
    read_measurements(&mut table, &mut policy)?;
    read_parts(&mut table, &mut policy)?;
    read_tcb(&mut table, &mut policy)?;
    if table.has("attributes") {
        read_attributes(table.table("attributes")?, &mut policy)?;
    }
    if table.has("platform") {
        let mut flags = table.table("platform")?;
        let rules = &mut policy.platform;
        rules.dynamic_platform = flags.or("dynamic_platform", rules.dynamic_platform, flag)?;
        rules.cached_keys = flags.or("cached_keys", rules.cached_keys, flag)?;
        rules.smt = flags.or("smt", rules.smt, flag)?;
        flags.finish()?;
    }
    policy.allow_zero_padding = table.or("allow_zero_padding", policy.allow_zero_padding, Reader::truth)?;
    table.finish()?;
    Ok(policy)
}

fn platform(text: &str) -> Result<PlatformId, ()> {
    hex::decode(text).map(PlatformId)
}

/// What is measured of the TDX module, and what the TD was configured with.
fn read_measurements(table: &mut Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    policy.mr_seams = table.or("mr_seams", None, |table, key| {
        let digests: Option<Vec<Measurement>> = table.list_or(key, "any", MR_SEAMS, measurement)?;
        Ok(digests.map(|digests| digests.iter().map(|digest| *digest.as_bytes()).collect()))
    })?;
    policy.mr_config_id = table.or("mr_config_id", None, |table, key| bytes(table, key, BYTES_48))?;
    policy.mr_owner = table.or("mr_owner", None, |table, key| bytes(table, key, BYTES_48))?;
    policy.mr_owner_config = table.or("mr_owner_config", None, |table, key| bytes(table, key, BYTES_48))?;
    Ok(())
}

fn register(table: &mut Reader, key: &str) -> Result<Option<[u8; 48]>, PolicyError> {
    let text = table.text(key)?;
    if text == "any" {
        return Ok(None);
    }
    let digest = measurement(&text).map_err(|_| table.wrong(key, REGISTER))?;
    Ok(Some(*digest.as_bytes()))
}

/// What else belongs to the TD.
fn read_parts(table: &mut Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    for (key, list) in [
        ("allowed_service_tds", &mut policy.allowed_service_tds),
        ("allowed_device_infos", &mut policy.allowed_device_infos),
    ] {
        *list = table.or(key, Vec::new(), |table, key| {
            Ok(table.list_or(key, "none", DIGESTS, hex::decode::<48>)?.unwrap_or_default())
        })?;
    }
    policy.allowed_vm_indices = table.or("vm_indices", vec![0], |table, key| {
        table.numbers(key, "a list of whole numbers from 0 to 255")
    })?;
    policy.xfam = table.or("xfam", None, |table, key| {
        if table.take_word(key, "any") {
            return Ok(None);
        }
        table.number(key, "\"any\" or the bits of XFAM as a whole number").map(|bits| Some(Xfam(bits)))
    })?;
    Ok(())
}

fn read_tcb(table: &mut Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    policy.accepted_statuses =
        table.or("statuses", vec![TcbStatus::UpToDate], |table, key| table.list(key, STATUSES, status))?;
    policy.grace = table.or("grace", None, |table, key| {
        if table.take_word(key, "none") {
            return Ok(None);
        }
        let mut grace = table.table(key)?;
        let statuses = grace.list("statuses", STATUSES, status)?;
        let seconds = grace.number("seconds", SECONDS)?;
        grace.finish()?;
        Ok(Some(Grace { statuses, seconds }))
    })?;
    policy.accepted_advisories = table.or("accepted_advisories", None, |table, key| {
        table.list_or(key, "none", ADVISORIES, |text| advisory(text).then(|| text.to_owned()).ok_or(()))
    })?;
    policy.min_tcb_evaluation_number = table
        .or("min_tcb_evaluation_number", 0, |table, key| table.number(key, "a whole number, 0 or more"))?;
    Ok(())
}

fn status(text: &str) -> Result<TcbStatus, ()> {
    ACCEPTABLE.into_iter().find(|status| status.word() == text).ok_or(())
}

fn advisory(text: &str) -> bool {
    let digits = text.strip_prefix("INTEL-SA-").unwrap_or_default();
    digits.len() == 5 && digits.bytes().all(|c| c.is_ascii_digit())
}

fn read_attributes(mut table: Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    let rules = &mut policy.attributes;
    rules.require_sept_ve_disable =
        table.or("require_sept_ve_disable", rules.require_sept_ve_disable, Reader::truth)?;
    rules.allow_perfmon = table.or("allow_perfmon", rules.allow_perfmon, Reader::truth)?;
    for (key, rule) in [
        ("pks", &mut rules.pks),
        ("key_locker", &mut rules.key_locker),
        ("lass", &mut rules.lass),
        ("step_defence", &mut rules.step_defence),
        ("provisioning_agent", &mut rules.provisioning_agent),
    ] {
        *rule = table.or(key, *rule, flag)?;
    }
    table.finish()
}
