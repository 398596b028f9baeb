//! Lists of machines.

use crate::support::{path_of, paths, read, with, without};
use anchorhold_appraisal_policy::{ListKind, Machine, MachineList, NotInForce, PolicyError};
use anchorhold_rats::Timestamp;
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::nvidia::Pdi;
use anchorhold_verifier::snp::ChipId;
use anchorhold_verifier::tdx::PlatformId;

const LIST: &str = r#"
format = 1
id = "acme-machines"
version = 3
issued = "2026-01-01T00:00:00Z"
expires = "2026-04-01T00:00:00Z"
description = "racks of acme"
kind = "allow"

[[machine]]
snp_chip = "CHIP"
reason = "rack 4"
since = "2025-12-01T00:00:00Z"

[[machine]]
tdx_platform = "0707070707070707070707070707070f"
reason = "rack 5"
since = "2025-12-01T00:00:00Z"

[[machine]]
gpu = "0808080808080808"
reason = "rack 5"
since = "2025-12-01T00:00:00Z"
"#;

const CHIP: ChipId = ChipId([0x0c; 64]);

fn text() -> String {
    LIST.replace("CHIP", &CHIP.to_string())
}

fn list(text: &str) -> MachineList {
    MachineList::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> PolicyError {
    MachineList::from_toml(text).unwrap_err()
}

fn at() -> Timestamp {
    "2026-02-01T00:00:00Z".parse().unwrap()
}

/// The policy of a profile that names machines in this way.
fn policy(machines: &str) -> AppraisalPolicy {
    let profile = format!(
        "{}\n[snp]\nmeasurements = []\nproducts = [\"genoa\"]\nmachines = {machines}\n\
         min_tcb.genoa = {{ bl = 0, tee = 0, snp = 0, ucode = 0 }}\n",
        crate::support::HEADER
    );
    read(&profile).appraisal().clone()
}

/// The chips that the policy accepts and refuses after these lists.
fn applied(machines: &str, lists: &[&str]) -> (Option<Vec<ChipId>>, Vec<ChipId>) {
    let mut policy = policy(machines);
    for text in lists {
        list(text).apply(&mut policy, at()).unwrap();
    }
    let snp = policy.snp.unwrap();
    (snp.allowed_chips, snp.denied_chips)
}

fn of_chip(chip: ChipId, kind: &str) -> String {
    text().replace(&CHIP.to_string(), &chip.to_string()).replace("allow", kind)
}

#[test]
fn reads_machines_of_every_family() {
    let list = list(&text());
    assert_eq!((list.kind(), list.version(), list.machines().len()), (ListKind::Allow, 3, 3));
    let mut platform = [7; 16];
    platform[15] = 0x0f;
    let machines: Vec<_> = list.machines().iter().map(|entry| entry.machine).collect();
    assert_eq!(
        machines,
        [Machine::SnpChip(CHIP), Machine::TdxPlatform(PlatformId(platform)), Machine::Gpu(Pdi([8; 8]))]
    );
    assert_eq!(list.machines()[1].reason, "rack 5");
    let rules = list.rules();
    assert!(
        rules.iter().any(|rule| rule.path() == "machine[2]" && rule.value().contains("0808080808080808"))
    );
}

#[test]
fn an_allow_list_fills_listed_narrows_any_and_adds_to_a_list() {
    let other = ChipId([1; 64]);
    let allow = text();
    assert_eq!(applied("\"listed\"", &[]).0, Some(vec![]));
    assert_eq!(applied("\"listed\"", &[&allow]).0, Some(vec![CHIP]));
    assert_eq!(applied("\"any\"", &[]).0, None);
    assert_eq!(applied("\"any\"", &[&allow]).0, Some(vec![CHIP]));
    let explicit = format!("[\"{other}\"]");
    assert_eq!(applied(&explicit, &[&allow, &allow]).0, Some(vec![other, CHIP]));
}

#[test]
fn a_list_reaches_the_policies_of_every_family() {
    let profile = read(&crate::support::ALL.concat());
    let mut policy = profile.appraisal().clone();
    let (allow, revoke) = (list(&text()), list(&text().replace("allow", "revoke")));
    for list in [&allow, &revoke] {
        list.apply(&mut policy, at()).unwrap();
    }
    let mut ppid = [7; 16];
    ppid[15] = 0x0f;
    let (tdx, gpu) = (policy.tdx.unwrap(), policy.gpu.unwrap());
    assert_eq!(
        (tdx.allowed_platforms, tdx.denied_platforms),
        (Some(vec![PlatformId(ppid)]), vec![PlatformId(ppid)])
    );
    assert_eq!((gpu.allowed_devices, gpu.denied_devices), (Some(vec![Pdi([8; 8])]), vec![Pdi([8; 8])]));
    assert!(allow.apply(&mut AppraisalPolicy::default(), allow.header().expires).is_err());
}

#[test]
fn a_list_without_a_familys_machines_leaves_that_family_alone() {
    let gpus = without(&text(), "machine[0].snp_chip");
    let gpus = with(&gpus, "machine[0].gpu", "0909090909090909");
    assert_eq!(applied("\"any\"", &[&gpus]).0, None);
    assert_eq!(applied("\"listed\"", &[&gpus]).0, Some(vec![]));
    let mut nothing = AppraisalPolicy::default();
    list(&text()).apply(&mut nothing, at()).unwrap();
    assert_eq!(nothing, AppraisalPolicy::default());
}

#[test]
fn case_06_a_revoked_machine_stays_refused_in_every_order_of_lists() {
    let (allow, revoke) = (of_chip(CHIP, "allow"), of_chip(CHIP, "revoke"));
    for order in [[&allow, &revoke], [&revoke, &allow]] {
        let (allowed, denied) = applied("\"listed\"", &[order[0], order[1]]);
        assert_eq!((allowed, denied), (Some(vec![CHIP]), vec![CHIP]));
    }
    assert_eq!(applied("\"any\"", &[&revoke, &revoke]), (None, vec![CHIP]));
}

#[test]
fn a_machine_is_allowed_from_its_day_on_and_revoked_at_any_time() {
    let tomorrow = "2026-02-02T00:00:00Z";
    let later = with(&text(), "machine[0].since", tomorrow);
    assert_eq!(applied("\"any\"", &[&later]).0, Some(vec![]));
    let mut policy = policy("\"any\"");
    list(&later).apply(&mut policy, tomorrow.parse().unwrap()).unwrap();
    assert_eq!(policy.snp.unwrap().allowed_chips, Some(vec![CHIP]));
    assert_eq!(applied("\"any\"", &[&later.replace("allow", "revoke")]).1, [CHIP]);
}

#[test]
fn refuses_to_apply_a_list_that_is_not_in_force() {
    for (at, wanted) in [
        ("2026-04-01T00:00:00Z", NotInForce::Expired { expires: "2026-04-01T00:00:00Z".parse().unwrap() }),
        ("2025-12-31T23:59:59Z", NotInForce::NotYet { issued: "2026-01-01T00:00:00Z".parse().unwrap() }),
    ] {
        let mut policy = policy("\"any\"");
        assert_eq!(list(&text()).apply(&mut policy, at.parse().unwrap()), Err(wanted));
        assert_eq!(policy, self::policy("\"any\""));
    }
}

#[test]
fn case_08_refuses_missing_unknown_and_wrong_keys_everywhere() {
    let (tables, keys) = paths(&text());
    for key in &keys {
        let wanted = match key.as_str() {
            "machine[0].snp_chip" => "machine[0].snp_chip|tdx_platform|gpu",
            "machine[1].tdx_platform" => "machine[1].snp_chip|tdx_platform|gpu",
            "machine[2].gpu" => "machine[2].snp_chip|tdx_platform|gpu",
            key => key,
        };
        assert_eq!(path_of(&refused(&without(&text(), key))), ("missing", wanted));
        assert_eq!(path_of(&refused(&with(&text(), key, 1.5))), ("value", key.as_str()));
    }
    for table in tables {
        let path = if table.is_empty() { "extra".to_owned() } else { format!("{table}.extra") };
        assert_eq!(path_of(&refused(&with(&text(), &path, true))), ("unknown", path.as_str()));
    }
}

#[test]
fn refuses_a_machine_named_twice_or_by_two_names_and_one_that_is_none() {
    let twice = with(&text(), "machine[1].gpu", "0808080808080808");
    assert_eq!(path_of(&refused(&twice)), ("unknown", "machine[1].gpu"));
    let twice = without(&twice, "machine[1].tdx_platform");
    assert_eq!(path_of(&refused(&twice)), ("value", "machine[2]"));
    for (path, value) in [
        ("machine[0].snp_chip", "00".repeat(64)),
        ("machine[0].snp_chip", "0c".repeat(63)),
        ("machine[1].tdx_platform", "07".repeat(17)),
        ("machine[2].gpu", "0X".repeat(8)),
        ("machine[2].since", "yesterday".to_owned()),
        ("machine[2].reason", "two\nlines".to_owned()),
        ("kind", "deny".to_owned()),
    ] {
        assert_eq!(path_of(&refused(&with(&text(), path, value))), ("value", path));
    }
    let none = with(&text(), "machine", toml::Value::Array(Vec::new()));
    assert_eq!(path_of(&refused(&none)), ("empty", "machine"));
}
