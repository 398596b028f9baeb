//! What the tables of TDX, event logs, GPUs and paravisors say and may not say.

use crate::support::{ALL, GPU, HEADER, PARAVISOR, TDX, path_of, paths, read, with, without};
use anchorhold_appraisal_policy::{AppraisalProfile, PolicyError};
use anchorhold_rats::{Measurement, Sha256Digest};
use anchorhold_verifier::event_log::{self, Content, EventKind, RequiredEvent, Rtmr};
use anchorhold_verifier::nvidia::{self, Architecture, BoardSize, Mode, Pdi};
use anchorhold_verifier::tdx::{self, Flag, PlatformId, TcbStatus, Xfam};
use anchorhold_verifier::tpm::{self, KeyName};
use toml::Value;

fn all() -> String {
    ALL.concat()
}

/// The profile of all families with every rule spelled out.
fn full() -> String {
    read(&all()).to_toml()
}

fn refused(text: &str) -> PolicyError {
    AppraisalProfile::from_toml(text).unwrap_err()
}

fn tdx(path: &str, value: impl Into<Value>) -> tdx::Policy {
    read(&with(&all(), path, value)).tdx().unwrap().clone()
}

fn gpu(path: &str, value: impl Into<Value>) -> nvidia::Policy {
    read(&with(&all(), path, value)).gpu().unwrap().clone()
}

fn table<V: Into<Value>>(key: &str, value: V) -> Value {
    Value::Table([(key.to_owned(), value.into())].into_iter().collect())
}

#[test]
fn what_a_table_leaves_out_is_strict_and_only_listed_machines_are_accepted() {
    let profile = read(&all());
    let mut wanted = tdx::Policy::strict(vec![Measurement::new([0x6a; 48])]);
    wanted.rtmrs = [None, Some([1; 48]), Some([2; 48]), None];
    wanted.allowed_platforms = Some(Vec::new());
    assert_eq!(profile.tdx(), Some(&wanted));
    assert_eq!(profile.event_log(), Some(&event_log::Policy::strict()));
    let board = BoardSize { gpus: 8, switches: 4 };
    let architectures = vec![Architecture::Hopper, Architecture::Ls10];
    let mut wanted = nvidia::Policy::strict(Mode::ProtectedPcie, board, architectures);
    wanted.allowed_devices = Some(Vec::new());
    assert_eq!(profile.gpu(), Some(&wanted));
    let paravisor = profile.paravisor().unwrap();
    assert_eq!(paravisor.pcrs[&4], [[4; 32]]);
    assert!(paravisor.require_secure_boot && !paravisor.require_no_console && paravisor.vm_ids.is_none());
}

#[test]
fn every_rule_of_tdx_can_be_written() {
    let digest = |byte: &str| format!("sha384:{}", byte.repeat(48));
    assert_eq!(tdx("tdx.rtmr0", digest("0a")).rtmrs[0], Some([10; 48]));
    assert_eq!(tdx("tdx.rtmr1", "any").rtmrs[1], None);
    assert_eq!(tdx("tdx.rtmr3", digest("0d")).rtmrs[3], Some([13; 48]));
    assert_eq!(tdx("tdx.mr_seams", vec![digest("0e")]).mr_seams, Some(vec![[14; 48]]));
    assert_eq!(tdx("tdx.mr_config_id", "01".repeat(48)).mr_config_id, Some([1; 48]));
    assert_eq!(tdx("tdx.mr_owner", "02".repeat(48)).mr_owner, Some([2; 48]));
    assert_eq!(tdx("tdx.mr_owner_config", "03".repeat(48)).mr_owner_config, Some([3; 48]));
    assert_eq!(tdx("tdx.xfam", 0x6_00e7).xfam, Some(Xfam(0x6_00e7)));
    assert_eq!(tdx("tdx.allowed_service_tds", vec!["04".repeat(48)]).allowed_service_tds, [[4; 48]]);
    assert_eq!(tdx("tdx.allowed_device_infos", vec!["05".repeat(48)]).allowed_device_infos, [[5; 48]]);
    assert_eq!(tdx("tdx.vm_indices", vec![0, 1]).allowed_vm_indices, [0, 1]);
    let statuses = tdx("tdx.statuses", vec!["UpToDate", "SWHardeningNeeded"]).accepted_statuses;
    assert_eq!(statuses, [TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded]);
    let mut grace = toml::Table::new();
    grace.insert("statuses".to_owned(), Value::from(vec!["OutOfDate"]));
    grace.insert("seconds".to_owned(), Value::from(86_400));
    let grace = tdx("tdx.grace", grace).grace.unwrap();
    assert_eq!((grace.statuses, grace.seconds), (vec![TcbStatus::OutOfDate], 86_400));
    let advisories = tdx("tdx.accepted_advisories", vec!["INTEL-SA-00615"]).accepted_advisories;
    assert_eq!(advisories, Some(vec!["INTEL-SA-00615".to_owned()]));
    assert_eq!(tdx("tdx.min_tcb_evaluation_number", 19).min_tcb_evaluation_number, 19);
    assert_eq!(tdx("tdx.machines", "any").allowed_platforms, None);
    assert_eq!(tdx("tdx.machines", vec!["07".repeat(16)]).allowed_platforms, Some(vec![PlatformId([7; 16])]));
    assert_eq!(tdx("tdx.denied_machines", vec!["08".repeat(16)]).denied_platforms, [PlatformId([8; 16])]);
    assert!(!tdx("tdx.allow_zero_padding", false).allow_zero_padding);
    let attributes = |key: &str, value: Value| tdx("tdx.attributes", table(key, value)).attributes;
    assert!(!attributes("require_sept_ve_disable", false.into()).require_sept_ve_disable);
    assert!(attributes("allow_perfmon", true.into()).allow_perfmon);
    assert_eq!(attributes("pks", "set".into()).pks, Flag::Set);
    assert_eq!(attributes("key_locker", "set".into()).key_locker, Flag::Set);
    assert_eq!(attributes("lass", "set".into()).lass, Flag::Set);
    assert_eq!(attributes("step_defence", "set".into()).step_defence, Flag::Set);
    assert_eq!(attributes("provisioning_agent", "set".into()).provisioning_agent, Flag::Set);
    let platform = |key: &str| tdx("tdx.platform", table(key, "clear")).platform;
    assert_eq!(platform("dynamic_platform").dynamic_platform, Flag::Clear);
    assert_eq!(platform("cached_keys").cached_keys, Flag::Clear);
    assert_eq!(platform("smt").smt, Flag::Clear);
}

#[test]
fn every_rule_of_gpus_can_be_written() {
    for (word, mode) in [("single", Mode::SinglePassthrough), ("multi", Mode::MultiPassthrough)] {
        let policy = gpu("gpu.mode", word);
        assert_eq!((policy.mode, policy.require_topology), (mode, false));
    }
    assert_eq!(gpu("gpu.gpus", 3).board.gpus, 3);
    assert_eq!(gpu("gpu.switches", 0).board.switches, 0);
    assert_eq!(gpu("gpu.architectures", vec!["blackwell"]).allowed_architectures, [Architecture::Blackwell]);
    assert_eq!(gpu("gpu.machines", "any").allowed_devices, None);
    assert_eq!(gpu("gpu.machines", vec!["08".repeat(8)]).allowed_devices, Some(vec![Pdi([8; 8])]));
    assert_eq!(gpu("gpu.denied_machines", vec!["09".repeat(8)]).denied_devices, [Pdi([9; 8])]);
    let driver = gpu("gpu.min_driver_version", "580.95.05").min_driver_version;
    assert_eq!(driver, Some("580.95.05".parse().unwrap()));
    let drivers = gpu("gpu.allowed_drivers", vec!["580.95.05"]).allowed_drivers;
    assert_eq!(drivers, Some(vec!["580.95.05".parse().unwrap()]));
    let vbios = gpu("gpu.min_vbios_version", "96.00.5E.00.01").min_vbios_version;
    assert_eq!(vbios, Some("96.00.5E.00.01".parse().unwrap()));
    let bios = gpu("gpu.min_switch_bios_version", "96.10.55.00.01").min_switch_bios_version;
    assert_eq!(bios, Some("96.10.55.00.01".parse().unwrap()));
    assert!(!gpu("gpu.require_rims", false).require_rims);
    assert!(!gpu("gpu.require_topology", false).require_topology);
    assert!(gpu("gpu.allow_missing_fwid", true).allow_missing_fwid);
    assert!(gpu("gpu.allow_missing_feature_flag", true).allow_missing_feature_flag);
    let ocsp = |key: &str, value: Value| gpu("gpu.ocsp", table(key, value)).ocsp;
    assert!(!ocsp("require", false.into()).require);
    assert!(ocsp("allow_hold", true.into()).allow_hold);
    assert!(ocsp("allow_hold_rim", true.into()).allow_hold_rim);
    assert_eq!(ocsp("max_age_seconds", 60.into()).max_age_seconds, 60);
}

#[test]
fn every_rule_of_event_logs_and_paravisors_can_be_written() {
    let log = |path: &str, value: Value| read(&with(&all(), path, value)).event_log().unwrap().clone();
    let registers = log("event_log.registers", vec!["rtmr1", "rtmr2"].into()).registers;
    assert_eq!(registers, [Rtmr::Rtmr1, Rtmr::Rtmr2]);
    assert!(log("event_log.allow_unknown_events", true.into()).allow_unknown_events);
    assert!(log("event_log.require_secure_boot", true.into()).require_secure_boot);
    let event = |key: &str, content: String| {
        let mut event = toml::Table::new();
        event.insert("register".to_owned(), "rtmr2".into());
        event.insert("kind".to_owned(), 0xd.into());
        event.insert(key.to_owned(), content.into());
        Value::Array(vec![Value::Table(event)])
    };
    for (key, content, wanted) in [
        ("digest", format!("sha384:{}", "0b".repeat(48)), Content::Digest([11; 48])),
        ("data", "00ff".to_owned(), Content::Data(vec![0, 255])),
    ] {
        let events = log("event_log.required_events", event(key, content)).required_events;
        assert_eq!(events, [RequiredEvent { register: Rtmr::Rtmr2, kind: EventKind::Ipl, content: wanted }]);
    }
    let paravisor = |path: &str, value: Value| read(&with(&all(), path, value)).paravisor().unwrap().clone();
    let pcrs = paravisor("paravisor.pcrs", table("23", vec![format!("sha256:{}", "17".repeat(32))])).pcrs;
    assert_eq!(pcrs.into_iter().collect::<Vec<_>>(), [(23, vec![[23; 32]])]);
    assert!(paravisor("paravisor.pcrs", Value::Table(toml::Table::new())).pcrs.is_empty());
    assert!(!paravisor("paravisor.require_secure_boot", false.into()).require_secure_boot);
    assert!(paravisor("paravisor.require_no_console", true.into()).require_no_console);
    let id = "0A1B2C3D-0000-1111-2222-333344445555";
    let ids = paravisor("paravisor.vm_ids", vec![id].into()).vm_ids;
    assert_eq!(ids, Some(vec![id.parse().unwrap()]));
}

#[test]
fn every_rule_of_a_tpm_can_be_written_and_nothing_else() {
    let (key, value) = ("0b".repeat(32), format!("sha256:{}", "17".repeat(32)));
    let rules = |keys: &str, pcrs: &str, more: &str| {
        format!("{}\n[tpm]\nkeys = [{keys}]\npcrs = {{ {pcrs} }}\n{more}", all())
    };
    let (keys, pcrs) = (format!("{key:?}"), format!("4 = [{value:?}]"));
    let profile = read(&rules(&keys, &pcrs, ""));
    let wanted =
        tpm::Policy::strict(vec![KeyName::new(Sha256Digest::new([11; 32]))], [(4, vec![[23; 32]])].into());
    assert_eq!(profile.tpm(), Some(&wanted));
    assert_eq!(read(&profile.to_toml()).tpm(), Some(&wanted));
    assert!(!read(&rules(&keys, &pcrs, "require_event_log = false")).tpm().unwrap().require_event_log);
    assert_eq!(read(&all()).tpm(), None);
    let certified = rules(&keys, &pcrs, &format!("roots = [{key:?}]"));
    let without_keys = certified.replace(&format!("keys = [{keys}]\n"), "");
    for (text, named) in [(&certified, 1), (&without_keys, 0)] {
        let profile = read(text);
        let policy = profile.tpm().unwrap();
        assert_eq!((policy.keys.len(), policy.roots.as_slice()), (named, &[Sha256Digest::new([11; 32])][..]));
        assert_eq!(read(&profile.to_toml()).tpm(), Some(policy));
    }
    for (text, path) in [
        (certified.replace(&format!("roots = [{key:?}]"), "roots = []"), ("empty", "tpm.roots")),
        (rules("", &pcrs, ""), ("empty", "tpm.keys")),
        (rules("\"0B\"", &pcrs, ""), ("value", "tpm.keys[0]")),
        (rules(&keys, "4 = [\"00\"]", ""), ("value", "tpm.pcrs.4[0]")),
        (rules(&keys, "24 = []", ""), ("unknown", "tpm.pcrs.24")),
        (rules(&keys, &pcrs, "bank = \"sha1\""), ("unknown", "tpm.bank")),
    ] {
        assert_eq!(path_of(&refused(&text)), path, "{text}");
    }
}

#[test]
fn a_profile_with_every_rule_spelled_out_is_the_same_profile() {
    let event = "[{ register = \"rtmr1\", kind = 13, data = \"00\" }]";
    let event: toml::Table = format!("required_events = {event}").parse().unwrap();
    let grace: toml::Table = "statuses = [\"OutOfDate\"]\nseconds = 1".parse().unwrap();
    for (path, value) in [
        ("description", Value::from("another")),
        ("tdx.grace", Value::Table(grace)),
        ("tdx.xfam", Value::from(231)),
        ("tdx.mr_seams", Value::from(vec![format!("sha384:{}", "0e".repeat(48))])),
        ("tdx.accepted_advisories", Value::from(vec!["INTEL-SA-00615"])),
        ("event_log", Value::Table(event)),
        ("gpu.min_vbios_version", Value::from("96.00.5E.00.01")),
        ("gpu.machines", Value::from(vec!["08".repeat(8)])),
        ("paravisor.vm_ids", Value::from(vec!["0A1B2C3D-0000-1111-2222-333344445555"])),
    ] {
        let one = read(&with(&all(), path, value));
        let other = read(&one.to_toml());
        assert_eq!(
            (one.snp(), one.tdx(), one.event_log()),
            (other.snp(), other.tdx(), other.event_log()),
            "{path}"
        );
        assert_eq!((one.gpu(), one.paravisor()), (other.gpu(), other.paravisor()), "{path}");
        assert_eq!(one.rules(), other.rules(), "{path}");
    }
}

#[test]
fn case_05_refuses_debug_profiling_migration_and_simulated_roots_in_every_family() {
    for path in ["tdx.debug", "tdx.profiling", "tdx.migration", "tdx.simulated", "gpu.debug", "gpu.simulated"]
    {
        assert!(AppraisalProfile::from_toml(&with(&all(), path, false)).is_ok());
        assert_eq!(path_of(&refused(&with(&all(), path, true))), ("denied", path));
    }
}

#[test]
fn refuses_rules_that_nothing_would_hold_to_the_guest() {
    assert_eq!(path_of(&refused(&format!("{HEADER}[event_log]\n"))), ("value", "event_log"));
    assert_eq!(path_of(&refused(&format!("{HEADER}{PARAVISOR}"))), ("value", "paravisor"));
    assert_eq!(path_of(&refused(&format!("{HEADER}{GPU}"))), ("value", "gpu"));
    assert!(AppraisalProfile::from_toml(&format!("{HEADER}{TDX}{GPU}")).is_ok());
}

#[test]
fn case_08_refuses_missing_unknown_and_wrong_keys_in_every_family() {
    let mandatory = [
        "tdx.mrtds",
        "tdx.rtmr1",
        "tdx.rtmr2",
        "gpu.mode",
        "gpu.gpus",
        "gpu.switches",
        "gpu.architectures",
        "paravisor.pcrs",
    ];
    for path in mandatory {
        assert_eq!(path_of(&refused(&without(&all(), path))), ("missing", path));
    }
    let (tables, keys) = paths(&full());
    assert!(tables.len() > 12 && keys.len() > 110, "{} {}", tables.len(), keys.len());
    for key in &keys {
        assert_eq!(path_of(&refused(&with(&full(), key, 1.5))), ("value", key.as_str()));
    }
    for table in tables {
        let path = if table.is_empty() { "extra".to_owned() } else { format!("{table}.extra") };
        assert_eq!(path_of(&refused(&with(&full(), &path, true))), ("unknown", path.as_str()));
    }
    let families = ["tdx", "event_log", "gpu", "paravisor"];
    let below = |key: &String| families.iter().any(|family| key.starts_with(&format!("{family}.")));
    let optional: Vec<_> = keys
        .iter()
        .filter(|key| below(key) && !mandatory.contains(&key.as_str()) && !key.starts_with("paravisor.pcrs."))
        .collect();
    assert!(optional.len() > 50, "{}", optional.len());
    for key in optional {
        let (one, other) = (read(&without(&full(), key)), read(&full()));
        assert_eq!(one.rules(), other.rules(), "{key}");
    }
}

#[test]
fn refuses_values_out_of_range_and_of_another_form_in_every_family() {
    let wrong = |path: &str, at: &str, value: Value| {
        let error = refused(&with(&all(), path, value.clone()));
        assert_eq!(path_of(&error), ("value", at), "{value}");
    };
    wrong("tdx.rtmr1", "tdx.rtmr1", "01".repeat(48).into());
    wrong("tdx.statuses", "tdx.statuses[0]", vec!["Revoked"].into());
    wrong("tdx.statuses", "tdx.statuses[0]", vec!["uptodate"].into());
    wrong("tdx.accepted_advisories", "tdx.accepted_advisories[0]", vec!["INTEL-SA-615"].into());
    wrong("tdx.xfam", "tdx.xfam", "0x3".into());
    wrong("tdx.vm_indices", "tdx.vm_indices[0]", vec![256].into());
    wrong("tdx.machines", "tdx.machines[0]", vec!["07".repeat(15)].into());
    wrong("tdx.attributes", "tdx.attributes.pks", table("pks", "on"));
    wrong("tdx.min_tcb_evaluation_number", "tdx.min_tcb_evaluation_number", (-1).into());
    wrong("gpu.mode", "gpu.mode", "off".into());
    wrong("gpu.gpus", "gpu.gpus", 0.into());
    wrong("gpu.gpus", "gpu.gpus", 17.into());
    wrong("gpu.switches", "gpu.switches", (-1).into());
    wrong("gpu.architectures", "gpu.architectures[0]", vec!["ampere"].into());
    wrong("gpu.min_driver_version", "gpu.min_driver_version", "580-95".into());
    wrong("gpu.min_vbios_version", "gpu.min_vbios_version", "96.00.5e.00.01".into());
    wrong("gpu.ocsp", "gpu.ocsp.max_age_seconds", table("max_age_seconds", 0));
    wrong("event_log.registers", "event_log.registers[0]", vec!["rtmr4"].into());
    wrong("paravisor.pcrs", "paravisor.pcrs.4[0]", table("4", vec!["04".repeat(32)]));
    wrong("paravisor.vm_ids", "paravisor.vm_ids[0]", vec!["mine"].into());
    let unknown = refused(&with(&all(), "paravisor.pcrs", table("24", vec!["x"])));
    assert_eq!(path_of(&unknown), ("unknown", "paravisor.pcrs.24"));
    for path in ["gpu.architectures", "tdx.statuses", "event_log.registers", "event_log.required_events"] {
        assert_eq!(path_of(&refused(&with(&all(), path, Value::Array(Vec::new())))), ("empty", path));
    }
}

#[test]
fn refuses_an_event_without_content_and_one_with_two() {
    let with_event = |event: &str| format!("{}\n[[event_log.required_events]]\n{event}", ALL[..3].concat());
    let at = "event_log.required_events[0]";
    for (event, kind, key) in [
        ("register = \"rtmr1\"\nkind = 1", "missing", "digest|data"),
        ("register = \"rtmr4\"\nkind = 1", "value", "register"),
        ("register = \"rtmr1\"\nkind = -1", "value", "kind"),
        ("register = \"rtmr1\"\nkind = 1\ndata = \"\"", "value", "data"),
        ("register = \"rtmr1\"\nkind = 1\ndigest = \"00\"", "value", "digest"),
    ] {
        let wanted = format!("{at}.{key}");
        assert_eq!(path_of(&refused(&with_event(event))), (kind, wanted.as_str()), "{event}");
    }
    let digest = format!("sha384:{}", "00".repeat(48));
    let two = format!("register = \"rtmr1\"\nkind = 1\ndata = \"00\"\ndigest = \"{digest}\"");
    assert_eq!(path_of(&refused(&with_event(&two))), ("unknown", "event_log.required_events[0].data"));
}
