//! Decisions of the past asked again: what a log does not tell is named, and nothing is made of claims that are none.

use crate::exchange::{ask, judge, pseudonyms, terms};
use crate::machine::Machine;
use anchorhold_audit_log::Claim;
use anchorhold_audit_log::claims::{Claims, TeeClaims};
use anchorhold_key_release::{Machines, Recorded, ReleasePolicy, Replayed, Unreadable, explain, replay};
use anchorhold_rats::Timestamp;

const CHAT: &str = include_str!("../../../../policies/release/chat-prod.toml");
const TDX: &str = include_str!("../../../../policies/release/tdx-guests.toml");
const GPU: &str = include_str!("../../../../policies/release/gpu-board.toml");

const SNP_GUEST: &str = "snp = { measurement = \"a1\", chip = \"0d\" }";
const TDX_GUEST: &str = "tdx = { mrtd = \"b1\", rtmrs = [\"\", \"11\", \"22\", \"\"], ppid = \"0d\" }";
const BOARD: &str = "tdx = { mrtd = \"b1\", rtmrs = [\"\", \"13\", \"22\", \"\"] }\ngpu = { kind = \"hgx\" }";

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn read(text: &str) -> ReleasePolicy {
    ReleasePolicy::from_toml(text).unwrap()
}

/// The claims of a decision about this machine, released or not.
fn claims(policy: &str, machine: &str, model: &str) -> Claims {
    let machine: Machine = toml::from_str(machine).unwrap();
    let exchange = ask(&machine, model, at(), |_| {});
    match judge(&read(policy), &exchange, &[terms(model, 7, 0x33, "k1")]) {
        Ok(grant) => grant.claims().unwrap().clone(),
        Err(refusal) => refusal.claims().unwrap().clone(),
    }
}

fn chat() -> Claims {
    claims(CHAT, SNP_GUEST, "acme/chat-70b")
}

fn replayed(policy: &str, claims: &Claims, machines: Machines<'_>, released: bool) -> Replayed {
    let model = terms("acme/chat-70b", 7, 0x33, "k1");
    let recorded = Recorded { claims, at: at(), released: released.then_some(&model) };
    replay(&read(policy), &recorded, machines).unwrap()
}

#[test]
fn what_a_log_does_not_tell_is_named() {
    let key = pseudonyms();
    let compared = Machines::Compared(&key);
    let released = replayed(CHAT, &chat(), compared, true);
    assert_eq!((released.grant.as_deref(), released.refused), (Some("chat-prod"), None));
    assert_eq!(released.not_asked, ["max_instances"]);
    let refused = replayed(CHAT, &chat(), compared, false);
    let of_versions =
        ["max_instances", "model.version_min", "model.manifest", "revoked.manifests", "revoked.kids"];
    assert_eq!(refused.not_asked, of_versions);
    let mut nameless = chat();
    nameless.asked.model = None;
    let replayed = replayed(CHAT, &nameless, compared, false);
    assert_eq!(replayed.not_asked, [&of_versions[..], &["model.id"]].concat());
}

#[test]
fn rules_about_machines_are_asked_only_with_the_brokers_key() {
    let key = pseudonyms();
    let list = |byte: &str, count| format!("[\"{}\"]", byte.repeat(count));
    let board = claims(GPU, BOARD, "acme/chat-405b");
    for (claims, text, rule, count, revoked) in [
        (chat(), CHAT, "snp.machines", 64, "chips"),
        (claims(TDX, TDX_GUEST, "acme/chat-70b"), TDX, "tdx.machines", 16, "platforms"),
        (board, GPU, "gpu.machines", 8, "devices"),
    ] {
        let mut file: toml::Table = text.parse().unwrap();
        let (family, key_of) = rule.split_once('.').unwrap();
        let others: toml::Table = format!("value = {}", list("0e", count)).parse().unwrap();
        file["grant"][0][family][key_of] = others["value"].clone();
        let listed = toml::to_string(&file).unwrap();
        let with_key = replayed(&listed, &claims, Machines::Compared(&key), true);
        assert_eq!((with_key.grant, with_key.not_asked.contains(&rule)), (None, false), "{rule}");
        let without = replayed(&listed, &claims, Machines::NotAsked, true);
        assert!(without.not_asked.contains(&rule), "{rule}: {:?}", without.not_asked);
        let failed = without.trace.nearest().unwrap().checks().failed().map(|check| check.code.to_string());
        let failed: Vec<_> = failed.collect();
        assert!(!failed.iter().any(|code| anchorhold_verifier::codes::names_machine(code)), "{failed:?}");
        // A policy that names no machine leaves no such rule out; one that revokes some does.
        assert!(!replayed(text, &claims, Machines::NotAsked, true).not_asked.contains(&rule));
        let mut file: toml::Table = text.parse().unwrap();
        file["revoked"][revoked] = others["value"].clone();
        let revoking = toml::to_string(&file).unwrap();
        assert!(replayed(&revoking, &claims, Machines::NotAsked, true).not_asked.contains(&rule), "{rule}");
    }
}

#[test]
fn another_policy_says_what_it_would_have_said_then() {
    let key = pseudonyms();
    let machines = Machines::Compared(&key);
    for (from, to, code) in [
        ("snp = 23", "snp = 99", "snp_tcb_minimum"),
        ("\"genoa\", \"turin\"]", "\"turin\"]", ""),
        ("kem           = [\"x25519\", \"x-wing\"]", "kem = [\"x25519\"]", "kem_refused"),
        ("\"acme/chat-70b\"", "\"acme/other\"", "model_refused"),
        ("[\"serve\"]", "[\"evaluate\"]", "purpose_refused"),
        ("version_min = 7", "version_min = 8", "version_refused"),
        ("kids         = \"none\"", "kids = [\"k1\"]", "revoked"),
        ("anchor_max = \"any\", witnesses = 0", "anchor_max = \"500ms\", witnesses = 0", "audit_refused"),
        ("anchor_max = \"any\", witnesses = 0", "anchor_max = \"any\", witnesses = 3", "audit_refused"),
    ] {
        let mut changed = CHAT.replacen(from, to, 1);
        assert_ne!(changed, CHAT, "{from}");
        if code.is_empty() {
            changed =
                changed.lines().filter(|line| !line.starts_with("genoa")).collect::<Vec<_>>().join("\n");
        }
        let said = replayed(&changed, &chat(), machines, true);
        assert_eq!(said.grant, None, "{to}");
        let refused = said.refused.unwrap();
        assert!(
            if code.is_empty() { refused == "snp_product_denied" } else { refused == code },
            "{to}: {refused}"
        );
    }
    // What was asked for decides, as it did then.
    let mut evaluated = chat();
    evaluated.asked.purpose = Claim::new("evaluate").unwrap();
    assert_eq!(replayed(CHAT, &evaluated, machines, true).refused.as_deref(), Some("purpose_refused"));
    let both = CHAT.replace("[\"serve\"]", "[\"serve\", \"evaluate\"]");
    assert!(replayed(&both, &evaluated, machines, true).grant.is_some());
    // Its own end is not asked: what it says of the past is what it would have said had it been in force.
    let ended = CHAT.replace("2027-01-31", "2020-01-31");
    assert!(replayed(&ended, &chat(), machines, true).grant.is_some());
}

#[test]
fn claims_that_are_none_are_not_guessed_about() {
    let unreadable = |change: &dyn Fn(&mut Claims), claims: &Claims| -> Unreadable {
        let mut claims = claims.clone();
        change(&mut claims);
        let recorded = Recorded { claims: &claims, at: at(), released: None };
        replay(&read(CHAT), &recorded, Machines::NotAsked).unwrap_err()
    };
    let word = Claim::new("word").unwrap();
    assert_eq!(unreadable(&|claims| claims.asked.kem = word.clone(), &chat()).what, "KEM");
    assert_eq!(unreadable(&|claims| claims.asked.purpose = word.clone(), &chat()).what, "purpose");
    let td = claims(TDX, TDX_GUEST, "acme/chat-70b");
    let status = |claims: &mut Claims| {
        let TeeClaims::Tdx(tdx) = &mut claims.tee else { panic!() };
        tdx.status = word.clone();
    };
    let error = unreadable(&status, &td);
    assert!(error.to_string().starts_with("the recorded TCB status is no value"), "{error}");
    let board = claims(GPU, BOARD, "acme/chat-405b");
    let driver = |claims: &mut Claims| claims.gpus[0].driver = Some(word.clone());
    assert!(unreadable(&driver, &board).what.contains("driver"));
}

#[test]
fn evidence_is_explained_like_a_decision() {
    let machine: Machine = toml::from_str(SNP_GUEST).unwrap();
    let exchange = ask(&machine, "acme/chat-70b", at(), |_| {});
    let evidence = exchange.request.evidence();
    let anchors = crate::machine::anchors();
    let authentic =
        anchorhold_verifier::authenticate(evidence, &exchange.endorsements, &anchors, at()).unwrap();
    let expected = exchange.request.key_binding().expected();
    let asked = anchorhold_key_release::Asked {
        model_id: "acme/chat-70b",
        min_version: 1,
        purpose: anchorhold_key_release::KeyUse::Serve,
        kem: anchorhold_rats::Kem::XWing,
        audit: anchorhold_key_release::AuditTerms::default(),
    };
    let said = explain(&read(CHAT), &authentic.stated(), &expected, &asked);
    assert_eq!(said.grant.as_deref(), Some("chat-prod"));
    let higher = read(&CHAT.replace("snp = 23", "snp = 99"));
    let said = explain(&higher, &authentic.stated(), &expected, &asked);
    assert_eq!((said.grant, said.refused.as_deref()), (None, Some("snp_tcb_minimum")));
    assert_eq!(said.not_asked[0], "max_instances");
}
