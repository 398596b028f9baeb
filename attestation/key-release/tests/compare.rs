//! What a new policy lets through beside an old one, and what deserves a second look.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_appraisal_policy::Change;
use anchorhold_key_release::{Lint, PolicyDiff, ReleasePolicy, diff, lint};
use anchorhold_rats::Timestamp;
use toml::{Table, Value};

const CHAT: &str = include_str!("../../../policies/release/chat-prod.toml");
const TEAMS: &str = include_str!("../../../policies/release/two-teams.toml");
const TDX: &str = include_str!("../../../policies/release/tdx-guests.toml");
const GPU: &str = include_str!("../../../policies/release/gpu-board.toml");
const AZURE: &str = include_str!("../../../policies/release/azure-guests.toml");

fn read(text: &str) -> ReleasePolicy {
    ReleasePolicy::from_toml(text).unwrap()
}

/// `text` with `value` (TOML) at a path below the first grant, or below the file after a slash; without one, the key is gone.
fn with(text: &str, path: &str, value: Option<&str>) -> String {
    let mut file: Table = text.parse().unwrap();
    let (mut table, path) = match path.strip_prefix('/') {
        Some(path) => (&mut file, path),
        None => (file["grant"][0].as_table_mut().unwrap(), path),
    };
    let (above, last) = path.rsplit_once('.').map_or((None, path), |(above, last)| (Some(above), last));
    for part in above.into_iter().flat_map(|above| above.split('.')) {
        table = table.entry(part).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap();
    }
    match value {
        Some(value) => {
            let parsed: Table = format!("value = {value}").parse().unwrap();
            table.insert(last.to_owned(), parsed["value"].clone());
        }
        None => drop(table.remove(last).unwrap()),
    }
    toml::to_string(&file).unwrap()
}

/// The difference that this value makes in place of what the file has.
fn change(text: &str, path: &str, value: &str) -> PolicyDiff {
    diff(&read(text), &read(&with(text, path, Some(value))))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_change_is_called_what_it_is() {
    use Change::{Narrower, Same, Shifted, Wider};
    for (text, path, value, wanted) in [
        (CHAT, "/version", "43", Same),
        (CHAT, "/policy", "\"other\"", Same),
        (CHAT, "/expires", "\"2027-02-28T00:00:00Z\"", Wider),
        (CHAT, "/expires", "\"2026-12-31T00:00:00Z\"", Narrower),
        (CHAT, "/explain_to_guest", "true", Wider),
        (
            CHAT,
            "/cedar",
            "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
            Narrower,
        ),
        (CHAT, "/revoked.kids", "[\"k1\"]", Narrower),
        (TEAMS, "/revoked.kids", "\"none\"", Wider),
        (TEAMS, "/revoked.kids", "[\"another\"]", Shifted),
        (CHAT, "model.id", "\"acme/other\"", Shifted),
        (CHAT, "model.version_min", "8", Narrower),
        (CHAT, "model.version_min", "6", Wider),
        (
            CHAT,
            "model.manifest",
            "[\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]",
            Narrower,
        ),
        (CHAT, "purpose", "[\"serve\", \"evaluate\"]", Wider),
        (CHAT, "purpose", "[\"evaluate\"]", Shifted),
        (CHAT, "lease", "\"61m\"", Wider),
        (CHAT, "lease", "\"59m\"", Narrower),
        (CHAT, "max_instances", "17", Wider),
        (CHAT, "kem", "[\"x-wing\"]", Narrower),
        (CHAT, "audit.anchor_max", "\"1s\"", Narrower),
        (GPU, "audit.anchor_max", "\"2s\"", Wider),
        (GPU, "audit.witnesses", "0", Wider),
        (GPU, "audit.witnesses", "2", Narrower),
        (CHAT, "snp.products", "[\"genoa\", \"turin\", \"milan\"]", Wider),
        (
            CHAT,
            "snp.machines",
            "[\"0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d\"]",
            Narrower,
        ),
        (CHAT, "snp.vmpls", "[0, 1]", Wider),
        (CHAT, "snp.require_crl", "true", Narrower),
        (CHAT, "snp.require_alias_check", "false", Wider),
        (CHAT, "snp.guest_policy.smt_allowed", "\"clear\"", Narrower),
        (CHAT, "snp.min_tcb.genoa.snp", "24", Narrower),
        (CHAT, "snp.min_tcb.genoa.snp", "22", Wider),
        (CHAT, "snp.min_launch_tcb", "\"any\"", Wider),
        (TDX, "tdx.statuses", "[\"UpToDate\", \"SWHardeningNeeded\"]", Wider),
        (TDX, "tdx.min_tcb_evaluation_number", "18", Narrower),
        (TDX, "tdx.grace", "{ statuses = [\"OutOfDate\"], seconds = 86400 }", Wider),
        (TDX, "tdx.attributes.allow_perfmon", "true", Wider),
        (GPU, "gpu.gpus", "1", Shifted),
        (GPU, "gpu.require_rims", "false", Wider),
        (GPU, "gpu.min_driver_version", "\"580.96\"", Narrower),
        (GPU, "gpu.ocsp.max_age_seconds", "86401", Wider),
        (AZURE, "paravisor.require_secure_boot", "false", Wider),
    ] {
        // Milan wants a reason and a floor, which are rules too.
        let text = if value.contains("milan") {
            with(text, "snp.milan_because", Some("\"a test\""))
        } else {
            text.to_owned()
        };
        let mut new = with(&text, path, Some(value));
        if value.contains("milan") {
            new = with(&new, "snp.min_tcb.milan", Some("{ bl = 4, tee = 0, snp = 24, ucode = 219 }"));
            let found = diff(&read(CHAT), &read(&new));
            assert_eq!(found.change(), wanted, "{path} {value}: {found:?}");
            continue;
        }
        let found = diff(&read(&text), &read(&new));
        assert_eq!(found.change(), wanted, "{path} {value}: {found:?}");
        assert_eq!(found.widens(), matches!(wanted, Wider | Shifted), "{path} {value}");
    }
}

#[test]
fn a_change_is_told_with_its_grant_its_path_and_both_values() {
    let found = change(TEAMS, "snp.min_tcb.genoa.snp", "24");
    assert_eq!((found.rules.len(), found.grants.len()), (0, 1));
    let grant = &found.grants[0];
    assert_eq!((grant.name.as_str(), grant.change), ("chat", Change::Narrower));
    // The floors at launch and of what is committed follow the one that is written.
    let paths: Vec<_> = grant.rules.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(paths, ["snp.min_tcb", "snp.min_committed_tcb", "snp.min_launch_tcb"]);
    assert!(grant.rules[0].old.as_ref().unwrap().contains("snp = 23"));
    assert!(grant.rules[0].new.as_ref().unwrap().contains("snp = 24"));
    let found = change(CHAT, "/revoked.kids", "[\"k1\"]");
    assert_eq!((found.rules[0].path.as_str(), found.grants.len()), ("revoked.kids", 0));
}

#[test]
fn grants_that_come_go_or_change_their_name_are_told() {
    let chat = with(TEAMS, "name", Some("\"renamed\""));
    let found = diff(&read(TEAMS), &read(&chat));
    let told: Vec<_> = found.grants.iter().map(|grant| (grant.name.as_str(), grant.change)).collect();
    assert_eq!(told, [("renamed", Change::Wider), ("chat", Change::Narrower)]);
    assert!(found.widens());
    assert_eq!(diff(&read(TEAMS), &read(TEAMS)), PolicyDiff::default());
}

#[test]
fn a_family_that_a_grant_takes_or_takes_no_more_is_a_change() {
    let mut file: Table = GPU.parse().unwrap();
    file["grant"][0].as_table_mut().unwrap().remove("gpu").unwrap();
    let without = toml::to_string(&file).unwrap();
    let found = diff(&read(GPU), &read(&without));
    assert!(found.widens(), "a guest without GPUs passes now: {found:?}");
    assert!(diff(&read(&without), &read(GPU)).widens(), "a guest with GPUs passes now");
    let mut file: Table = GPU.parse().unwrap();
    let grant = file["grant"][0].as_table_mut().unwrap();
    grant.remove("tdx").unwrap();
    grant["image"].as_table_mut().unwrap().remove("tdx").unwrap();
    let snp = toml::to_string(&file).unwrap();
    assert_eq!(diff(&read(GPU), &read(&snp)).change(), Change::Narrower);
    assert_eq!(diff(&read(&snp), &read(GPU)).change(), Change::Wider);
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn serious(text: &str) -> Vec<(&'static str, Option<String>)> {
    let lints = lint(&read(text), at("2026-06-01T00:00:00Z"));
    lints.into_iter().filter(Lint::is_serious).map(|lint| (lint.code, lint.grant)).collect()
}

fn of(grant: &str, code: &'static str) -> (&'static str, Option<String>) {
    (code, Some(grant.to_owned()))
}

#[test]
fn a_policy_that_ended_or_ends_soon_is_told() {
    let codes = |time| -> Vec<_> {
        let lints = lint(&read(CHAT), at(time));
        lints.iter().filter(|lint| lint.grant.is_none()).map(|lint| lint.code).collect()
    };
    assert_eq!(codes("2026-12-31T23:59:59Z"), [""; 0]);
    assert_eq!(codes("2027-01-01T00:00:00Z"), ["expires_soon"]);
    assert_eq!(codes("2027-01-30T23:59:59Z"), ["expires_soon"]);
    assert_eq!(codes("2027-01-31T00:00:00Z"), ["expired"]);
}

#[test]
fn grants_that_nothing_reaches_are_told() {
    let images = "[\"sha384:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\"]";
    let revoked = with(CHAT, "/revoked.measurements", Some(images));
    assert_eq!(serious(&revoked), [of("chat-prod", "revoked_image"), of("chat-prod", "unreachable")]);
    let manifest = "[\"sha256:0101010101010101010101010101010101010101010101010101010101010101\"]";
    let revoked = with(&with(CHAT, "model.manifest", Some(manifest)), "/revoked.manifests", Some(manifest));
    assert_eq!(serious(&revoked), [of("chat-prod", "revoked_manifest"), of("chat-prod", "unreachable")]);
    let listed = with(CHAT, "snp.machines", Some("\"listed\""));
    assert_eq!(serious(&listed), [of("chat-prod", "unreachable")]);
    for (text, machines, list, id) in [
        (CHAT, "snp.machines", "/revoked.chips", "0d".repeat(64)),
        (TDX, "tdx.machines", "/revoked.platforms", "0d".repeat(16)),
        (GPU, "gpu.machines", "/revoked.devices", "0d".repeat(8)),
    ] {
        let one = format!("[\"{id}\"]");
        let both = format!("[\"{id}\", \"{}\"]", id.replace('d', "e"));
        let all = with(&with(text, machines, Some(&one)), list, Some(&one));
        let codes: Vec<_> = serious(&all).iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["revoked_machine", "unreachable"], "{list}");
        let some = with(&with(text, machines, Some(&both)), list, Some(&one));
        let codes: Vec<_> = serious(&some).iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["revoked_machine"], "{list}");
    }
}

#[test]
fn a_grant_behind_one_that_allows_as_much_is_told() {
    let mut file: Table = CHAT.parse().unwrap();
    let mut second = file["grant"][0].clone();
    second["name"] = "second".into();
    second["lease"] = "10m".into();
    file["grant"].as_array_mut().unwrap().push(second);
    assert_eq!(serious(&toml::to_string(&file).unwrap()), [of("second", "shadowed")]);
    // One that allows more, or other things, is none.
    for (key, value) in [("purpose", r#"["serve", "evaluate"]"#), ("kem", r#"["x25519"]"#)] {
        let mut other = file.clone();
        let parsed: Table = format!("value = {value}").parse().unwrap();
        let first = key == "kem";
        other["grant"][usize::from(!first)][key] = parsed["value"].clone();
        assert_eq!(serious(&toml::to_string(&other).unwrap()), [], "{key}");
    }
}

#[test]
fn weak_choices_are_told_and_are_no_mistakes() {
    let lints = lint(&read(TEAMS), at("2026-06-01T00:00:00Z"));
    let weak: Vec<_> = lints.iter().filter(|lint| lint.code == "look_at").map(|lint| &lint.text).collect();
    assert!(weak.iter().any(|text| text.starts_with("snp.milan_because = ")), "{weak:?}");
    assert!(weak.iter().any(|text| text.starts_with("snp.require_alias_check = false: ")), "{weak:?}");
    assert!(!weak.is_empty() && lints.iter().all(|lint| lint.is_serious() == (lint.code != "look_at")));
    assert_eq!(serious(CHAT), []);
}
