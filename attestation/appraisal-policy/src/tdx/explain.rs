//! Every rule of the table `[tdx]` with the value in force.

use crate::words::{flag_word, list, machines_word, none_or, or_any};
use crate::{Rule, hex};
use anchorhold_rats::Measurement;
use anchorhold_verifier::tdx::{Flag, Grace, PlatformId, Policy, TcbStatus};
use toml::{Table, Value};

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    let mut out = rules_of_guest(policy);
    out.extend(rules_of_registers(policy));
    out.extend(rules_of_tcb(policy));
    out.extend(rules_of_attributes(policy));
    out.extend(rules_of_platform(policy));
    out
}

fn rules_of_guest(policy: &Policy) -> Vec<Rule> {
    let digests = |digests: &Vec<[u8; 48]>| none_or(digests, |digest| hex::encode(digest));
    vec![
        Rule::permits("tdx.debug", false, "TDs that the host can debug are refused"),
        Rule::permits("tdx.profiling", false, "TDs that the host can profile are refused"),
        Rule::permits("tdx.migration", false, "TDs that a service TD can export are refused"),
        Rule::permits("tdx.simulated", false, "evidence under another root than Intel's is refused"),
        Rule::accepts(
            "tdx.mrtds",
            list(&policy.mrtds, |digest: &Measurement| format!("sha384:{digest}")),
            "the digests of the TD's initial memory that are accepted",
        )
        .weaker_if(policy.mrtds.is_empty(), "no MRTD is named, so every TD is refused"),
        Rule::accepts(
            "tdx.machines",
            machines_word(policy.allowed_platforms.as_ref(), PlatformId::to_string),
            "the platforms that are accepted; \"listed\" are those of the machine lists",
        )
        .weaker_if(
            policy.allowed_platforms.is_none(),
            "any platform will do, also one in an attacker's hands",
        ),
        Rule::restricts(
            "tdx.denied_machines",
            none_or(&policy.denied_platforms, PlatformId::to_string),
            "the platforms that are refused",
        ),
        Rule::accepts(
            "tdx.allowed_service_tds",
            digests(&policy.allowed_service_tds),
            "the service TDs that may be bound to the TD",
        )
        .weaker_if(!policy.allowed_service_tds.is_empty(), "a service TD has rights over the TD"),
        Rule::accepts(
            "tdx.allowed_device_infos",
            digests(&policy.allowed_device_infos),
            "the information about assigned devices that is accepted",
        ),
        Rule::accepts(
            "tdx.vm_indices",
            list(&policy.allowed_vm_indices, |index| i64::from(*index)),
            "the virtual machines in a partitioned TD that are accepted",
        ),
    ]
}

fn rules_of_registers(policy: &Policy) -> Vec<Rule> {
    let digest = |bytes: &[u8; 48]| format!("sha384:{}", hex::encode(bytes));
    let is_boot = |path| path == "tdx.rtmr1" || path == "tdx.rtmr2";
    let mut out: Vec<_> = [
        ("tdx.rtmr0", "RTMR0: configuration of the firmware"),
        ("tdx.rtmr1", "RTMR1: boot loader and kernel"),
        ("tdx.rtmr2", "RTMR2: command line and initial file system"),
        ("tdx.rtmr3", "RTMR3: what the running system measured"),
    ]
    .into_iter()
    .zip(&policy.rtmrs)
    .map(|((path, meaning), register)| {
        Rule::accepts(path, or_any(register.as_ref(), |bytes| Value::from(digest(bytes))), meaning)
            .weaker_if(register.is_none() && is_boot(path), "the firmware may boot anything")
    })
    .collect();
    let seams = or_any(policy.mr_seams.as_ref(), |seams| list(seams, digest));
    out.push(Rule::accepts(
        "tdx.mr_seams",
        seams,
        "the TDX modules that are accepted, beside their signer and level",
    ));
    for (path, bytes, meaning) in [
        ("tdx.mr_config_id", &policy.mr_config_id, "MRCONFIGID"),
        ("tdx.mr_owner", &policy.mr_owner, "MROWNER"),
        ("tdx.mr_owner_config", &policy.mr_owner_config, "MROWNERCONFIG"),
    ] {
        let word = or_any(bytes.as_ref(), |bytes| Value::from(hex::encode(bytes)));
        out.push(Rule::accepts(path, word, meaning));
    }
    let xfam = policy.xfam.map(|xfam| i64::try_from(xfam.0).unwrap_or(i64::MAX));
    let xfam = or_any(xfam.as_ref(), |bits| Value::from(*bits));
    out.push(Rule::accepts("tdx.xfam", xfam, "the processor features that the TD may use, as a whole"));
    out
}

fn rules_of_tcb(policy: &Policy) -> Vec<Rule> {
    let words = |statuses: &Vec<TcbStatus>| list(statuses, |status| status.word());
    let grace = |grace: &Grace| {
        let mut table = Table::new();
        table.insert("statuses".to_owned(), words(&grace.statuses));
        table.insert("seconds".to_owned(), Value::from(i64::from(grace.seconds)));
        Value::Table(table)
    };
    let advisories = policy.accepted_advisories.as_ref();
    vec![
        Rule::accepts(
            "tdx.statuses",
            words(&policy.accepted_statuses),
            "Intel's words on the TCB that are accepted",
        )
        .weaker_if(
            policy.accepted_statuses.iter().any(|status| *status != TcbStatus::UpToDate),
            "the platform may lack updates or settings that Intel asks for",
        ),
        Rule::within(
            "tdx.grace",
            policy.grace.as_ref().map_or_else(|| Value::from("none"), grace),
            "other words that are accepted for a time after newer firmware came out",
        )
        .weaker_if(policy.grace.is_some(), "known holes stay open for that time"),
        Rule::accepts(
            "tdx.accepted_advisories",
            advisories.map_or_else(|| Value::from("none"), |ids| list(ids, |id| Value::from(id.as_str()))),
            "other words are accepted when Intel's advisories are all among these",
        )
        .weaker_if(advisories.is_some(), "these advisories are borne"),
        Rule::at_least(
            "tdx.min_tcb_evaluation_number",
            i64::from(policy.min_tcb_evaluation_number),
            "the lowest number of Intel's TCB recovery by which is judged",
        )
        .weaker_if(
            policy.min_tcb_evaluation_number == 0,
            "collateral of an old TCB recovery calls old firmware up to date",
        ),
    ]
}

fn rules_of_attributes(policy: &Policy) -> Vec<Rule> {
    let rules = &policy.attributes;
    let mut out = vec![
        Rule::demands(
            "tdx.attributes.require_sept_ve_disable",
            rules.require_sept_ve_disable,
            "the host cannot cause exceptions on private pages",
        )
        .weaker_if(!rules.require_sept_ve_disable, "the guest, or a paravisor below it, must handle them"),
        Rule::permits("tdx.attributes.allow_perfmon", rules.allow_perfmon, "performance counters may be on")
            .weaker_if(rules.allow_perfmon, "counters can tell the host something of what the TD does"),
    ];
    for (path, rule, meaning) in [
        ("tdx.attributes.pks", rules.pks, "supervisor protection keys"),
        ("tdx.attributes.key_locker", rules.key_locker, "Key Locker"),
        ("tdx.attributes.lass", rules.lass, "linear address space separation"),
        ("tdx.attributes.step_defence", rules.step_defence, "defence against single-stepping"),
    ] {
        out.push(Rule::accepts(path, flag_word(rule), meaning));
    }
    let agent = Rule::accepts(
        "tdx.attributes.provisioning_agent",
        flag_word(rules.provisioning_agent),
        "the TD is a TDX Connect provisioning agent",
    );
    out.push(agent.weaker_if(rules.provisioning_agent != Flag::Clear, "such a TD has rights over devices"));
    out
}

fn rules_of_platform(policy: &Policy) -> Vec<Rule> {
    let rules = &policy.platform;
    vec![
        Rule::accepts(
            "tdx.platform.dynamic_platform",
            flag_word(rules.dynamic_platform),
            "packages can be added to the platform",
        ),
        Rule::accepts(
            "tdx.platform.cached_keys",
            flag_word(rules.cached_keys),
            "Intel keeps the platform's root keys",
        ),
        Rule::accepts("tdx.platform.smt", flag_word(rules.smt), "simultaneous multithreading"),
        Rule::permits("tdx.allow_zero_padding", policy.allow_zero_padding, "zero bytes may follow the quote"),
    ]
}
