//! NVIDIA GPUs and switches: the table `[gpu]` of profiles, and `[grant.gpu]` of release policies.

use crate::words::{list, machines, machines_word, none_or, or_any};
use crate::{DEBUG, PolicyError, Reader, Rule, SIMULATED, hex};
use anchorhold_verifier::nvidia::{Architecture, BoardSize, DriverVersion, Mode, Pdi, Policy, VbiosVersion};
use toml::Value;

const ARCHITECTURES: &str = "a list of \"hopper\", \"blackwell\", \"ls10\"";
const MODE: &str = "\"single\", \"multi\" or \"protected-pcie\"";
const DEVICES: &str = "\"listed\", \"any\" or a list of PDIs in hex";
const DRIVER: &str = "\"any\" or a version such as \"580.95\"";
const VBIOS: &str = "\"any\" or a version such as \"96.00.5E.00.01\"";
const COUNT: &str = "a whole number from 0 to 16";
/// The most devices of one kind that a profile may ask for.
const MAX_DEVICES: usize = 16;
const MAX_AGE: &str = "a whole number of seconds, 1 or more";

/// Reads the table `[gpu]` of a profile.
///
/// `mode`, `gpus`, `switches` and `architectures` are mandatory. What is left out has the value of [`Policy::strict`] but
/// for one rule, which is tighter: only listed devices are accepted.
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    for (key, reason) in [("debug", DEBUG), ("simulated", SIMULATED)] {
        table.or(key, (), |table, key| table.must_be_false(key, reason))?;
    }
    let word = table.text("mode")?;
    let mode = mode(&word).ok_or_else(|| table.wrong("mode", MODE))?;
    let board = BoardSize { gpus: count(&mut table, "gpus")?, switches: count(&mut table, "switches")? };
    // Evidence without a device shows nothing about devices.
    if board.gpus == 0 {
        return Err(table.wrong("gpus", "a whole number from 1 to 16"));
    }
    let architectures = table.list("architectures", ARCHITECTURES, architecture)?;
    let mut policy = Policy::strict(mode, board, architectures);
    policy.allowed_devices = machines(&mut table, DEVICES, device)?;
    policy.denied_devices = table.or("denied_machines", Vec::new(), |table, key| {
        Ok(table.list_or(key, "none", "\"none\" or a list of PDIs in hex", device)?.unwrap_or_default())
    })?;
    policy.min_driver_version = table.or("min_driver_version", None, |t, key| version(t, key, DRIVER))?;
    policy.allowed_drivers = table.or("allowed_drivers", None, |table, key| {
        table.list_or(key, "any", "\"any\" or a list of versions such as \"580.95.05\"", str::parse)
    })?;
    policy.min_vbios_version = table.or("min_vbios_version", None, |t, key| version(t, key, VBIOS))?;
    policy.min_switch_bios_version =
        table.or("min_switch_bios_version", None, |t, key| version(t, key, VBIOS))?;
    for (key, rule) in [
        ("require_rims", &mut policy.require_rims),
        ("require_topology", &mut policy.require_topology),
        ("allow_missing_fwid", &mut policy.allow_missing_fwid),
        ("allow_missing_feature_flag", &mut policy.allow_missing_feature_flag),
    ] {
        *rule = table.or(key, *rule, Reader::truth)?;
    }
    if table.has("ocsp") {
        read_ocsp(table.table("ocsp")?, &mut policy)?;
    }
    table.finish()?;
    Ok(policy)
}

/// Reads the table `[grant.gpu]` of a release policy. The rules are those of profiles, and what is most often weakened must
/// be spelled out.
pub(crate) fn read_grant(table: Reader) -> Result<Policy, PolicyError> {
    table.require(&[
        "debug",
        "mode",
        "gpus",
        "switches",
        "architectures",
        "machines",
        "min_driver_version",
        "min_vbios_version",
        "require_rims",
    ])?;
    table.require_in("ocsp", "require")?;
    table.require_in("ocsp", "max_age_seconds")?;
    read(table)
}

fn read_ocsp(mut table: Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    let rules = &mut policy.ocsp;
    for (key, rule) in [
        ("require", &mut rules.require),
        ("allow_hold", &mut rules.allow_hold),
        ("allow_hold_rim", &mut rules.allow_hold_rim),
    ] {
        *rule = table.or(key, *rule, Reader::truth)?;
    }
    rules.max_age_seconds = table.or("max_age_seconds", rules.max_age_seconds, |table, key| {
        let seconds: u32 = table.number(key, MAX_AGE)?;
        if seconds == 0 { Err(table.wrong(key, MAX_AGE)) } else { Ok(i64::from(seconds)) }
    })?;
    table.finish()
}

fn count(table: &mut Reader, key: &str) -> Result<usize, PolicyError> {
    let count = table.number(key, COUNT)?;
    if count > MAX_DEVICES { Err(table.wrong(key, COUNT)) } else { Ok(count) }
}

fn version<T: std::str::FromStr>(
    table: &mut Reader,
    key: &str,
    wanted: &'static str,
) -> Result<Option<T>, PolicyError> {
    if table.take_word(key, "any") { Ok(None) } else { table.parsed(key, wanted).map(Some) }
}

fn device(text: &str) -> Result<Pdi, ()> {
    hex::decode(text).map(Pdi)
}

fn mode(word: &str) -> Option<Mode> {
    [Mode::SinglePassthrough, Mode::MultiPassthrough, Mode::ProtectedPcie]
        .into_iter()
        .find(|mode| mode_word(*mode) == word)
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::SinglePassthrough => "single",
        Mode::MultiPassthrough => "multi",
        Mode::ProtectedPcie => "protected-pcie",
    }
}

fn architecture(word: &str) -> Result<Architecture, ()> {
    [Architecture::Hopper, Architecture::Blackwell, Architecture::Ls10]
        .into_iter()
        .find(|architecture| architecture_word(architecture) == word)
        .ok_or(())
}

fn architecture_word(architecture: &Architecture) -> &'static str {
    match architecture {
        Architecture::Hopper => "hopper",
        Architecture::Blackwell => "blackwell",
        Architecture::Ls10 => "ls10",
    }
}

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    let mut out = rules_of_devices(policy);
    out.extend(rules_of_firmware(policy));
    out.extend(rules_of_revocation(policy));
    out
}

fn rules_of_devices(policy: &Policy) -> Vec<Rule> {
    let count = |count: usize| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    vec![
        Rule::permits(
            "gpu.debug",
            false,
            "devices with developer tools are refused: their measurements differ",
        ),
        Rule::permits("gpu.simulated", false, "evidence under other roots than NVIDIA's is refused"),
        Rule::accepts("gpu.mode", mode_word(policy.mode), "the confidential mode of every GPU"),
        Rule::accepts(
            "gpu.gpus",
            count(policy.board.gpus),
            "how many GPUs there must be, no more and no fewer",
        ),
        Rule::accepts("gpu.switches", count(policy.board.switches), "how many switches there must be"),
        Rule::accepts(
            "gpu.architectures",
            list(&policy.allowed_architectures, architecture_word),
            "the architectures that are accepted",
        ),
        Rule::accepts(
            "gpu.machines",
            machines_word(policy.allowed_devices.as_ref(), Pdi::to_string),
            "the devices that are accepted; \"listed\" are those of the machine lists",
        )
        .weaker_if(
            policy.allowed_devices.is_none(),
            "any genuine device will do, also one of another machine",
        ),
        Rule::restricts(
            "gpu.denied_machines",
            none_or(&policy.denied_devices, Pdi::to_string),
            "the devices that are refused",
        ),
        Rule::demands(
            "gpu.require_topology",
            policy.require_topology,
            "the links between GPUs and switches are among the certified devices, all and no other",
        )
        .weaker_if(
            policy.mode == Mode::ProtectedPcie && !policy.require_topology,
            "a link may lead to a device that is not in the evidence",
        ),
    ]
}

fn rules_of_firmware(policy: &Policy) -> Vec<Rule> {
    let vbios = |version: &Option<VbiosVersion>| or_any(version.as_ref(), |v| Value::from(v.to_string()));
    let driver = or_any(policy.min_driver_version.as_ref(), |v| Value::from(v.to_string()));
    vec![
        Rule::at_least("gpu.min_driver_version", driver, "the lowest driver version"),
        Rule::accepts(
            "gpu.allowed_drivers",
            or_any(policy.allowed_drivers.as_ref(), |all| list(all, DriverVersion::to_string)),
            "the only driver versions that are accepted",
        ),
        Rule::at_least(
            "gpu.min_vbios_version",
            vbios(&policy.min_vbios_version),
            "the lowest VBIOS version of GPUs",
        ),
        Rule::at_least(
            "gpu.min_switch_bios_version",
            vbios(&policy.min_switch_bios_version),
            "the lowest BIOS version of switches",
        ),
        Rule::demands(
            "gpu.require_rims",
            policy.require_rims,
            "the measurements are those of NVIDIA's signed manifests for driver and VBIOS",
        )
        .weaker_if(
            !policy.require_rims,
            "nothing says that the firmware is NVIDIA's, nor that debugging is off",
        ),
        Rule::permits(
            "gpu.allow_missing_fwid",
            policy.allow_missing_fwid,
            "reports that do not state their firmware's identity are accepted",
        )
        .weaker_if(policy.allow_missing_fwid, "a report is then not tied to the firmware in its certificate"),
        Rule::permits(
            "gpu.allow_missing_feature_flag",
            policy.allow_missing_feature_flag,
            "reports that do not state the confidential mode are accepted",
        )
        .weaker_if(policy.allow_missing_feature_flag, "the mode is then not known"),
    ]
}

fn rules_of_revocation(policy: &Policy) -> Vec<Rule> {
    let rules = &policy.ocsp;
    vec![
        Rule::demands(
            "gpu.ocsp.require",
            rules.require,
            "every certificate has a fresh answer about its revocation",
        )
        .weaker_if(!rules.require, "a device or signer that NVIDIA revoked may go unnoticed"),
        Rule::at_most(
            "gpu.ocsp.max_age_seconds",
            rules.max_age_seconds,
            "the age in seconds above which an answer is refused",
        )
        .weaker_if(rules.max_age_seconds > 7 * 86_400, "a revocation may go unnoticed for over a week"),
        Rule::permits("gpu.ocsp.allow_hold", rules.allow_hold, "devices on hold are accepted")
            .weaker_if(rules.allow_hold, "NVIDIA has suspended such devices"),
        Rule::permits(
            "gpu.ocsp.allow_hold_rim",
            rules.allow_hold_rim,
            "manifests whose signer is on hold are accepted",
        )
        .weaker_if(rules.allow_hold_rim, "NVIDIA has suspended such signers"),
    ]
}
