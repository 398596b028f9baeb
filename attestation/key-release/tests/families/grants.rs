//! What several grants say together: the first that passes wins, and of those that do not the nearest names the refusal.

use crate::exchange::{Exchange, ask, judge, terms};
use crate::machine::{Machine, anchors};
use anchorhold_key_release::{Denied, Explain, ReleasePolicy, Revocations, Revoked, require_endorsable};
use anchorhold_rats::{Outcome, Sha256Digest, Timestamp};
use anchorhold_verifier::TrustAnchors;
use toml::{Table, Value};

const CHAT: &str = include_str!("../../../../policies/release/chat-prod.toml");
const GUEST: &str = "snp = { measurement = \"a1\", chip = \"0d\" }";

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn asked(machine: &str) -> Exchange {
    let machine: Machine = toml::from_str(machine).unwrap();
    ask(&machine, "acme/chat-70b", at(), |_| {})
}

/// The example with one copy of its grant for each name, with these keys (TOML) set in it.
fn policy(grants: &[(&str, &str)]) -> ReleasePolicy {
    let mut file: Table = CHAT.parse().unwrap();
    let grant = file["grant"][0].as_table().unwrap().clone();
    let copies = grants.iter().map(|(name, set)| {
        let mut copy = grant.clone();
        copy.insert("name".to_owned(), Value::from(*name));
        for (key, value) in set.parse::<Table>().unwrap() {
            match (copy.get_mut(&key), value) {
                (Some(Value::Table(below)), Value::Table(over)) => below.extend(over),
                (_, value) => drop(copy.insert(key, value)),
            }
        }
        Value::Table(copy)
    });
    file["grant"] = Value::Array(copies.collect());
    ReleasePolicy::from_toml(&toml::to_string(&file).unwrap()).unwrap()
}

#[test]
fn the_first_grant_that_passes_is_the_one() {
    let exchange = asked(GUEST);
    let models = [terms("acme/chat-70b", 7, 0x33, "k1"), terms("acme/chat-70b", 9, 0x34, "k2")];
    let longer = policy(&[
        ("narrow", "purpose = [\"evaluate\"]"),
        ("first", "lease = \"5m\"\nmax_instances = 3"),
        ("second", "lease = \"50m\""),
    ]);
    let grant = judge(&longer, &exchange, &models).unwrap();
    assert_eq!((grant.name(), grant.terms().lease_s, grant.max_instances()), ("first", 300, 3));
    // Of the versions that are covered, the highest.
    assert_eq!((grant.terms().version, grant.terms().kid.as_str()), (9, "k2"));
    let said: Vec<_> = grant.trace().grants().iter().map(|said| said.grant().to_owned()).collect();
    assert_eq!(said, ["narrow", "first", "second"]);
}

#[test]
fn the_refusal_is_that_of_the_grant_that_came_furthest() {
    let exchange = asked(GUEST);
    let models = [terms("acme/chat-70b", 7, 0x33, "k1")];
    // In the order in which a request comes to them.
    let digest = Sha256Digest::new([1; 32]);
    let manifest = format!("model = {{ manifest = [\"sha256:{digest}\"] }}");
    let misses = [
        ("model = { id = \"acme/other\" }", Denied::Model, "release_model"),
        ("purpose = [\"evaluate\"]", Denied::Purpose, "release_purpose"),
        ("kem = [\"x25519\"]", Denied::Kem, "release_kem"),
        ("audit = { anchor_max = \"any\", witnesses = 3 }", Denied::Audit, "release_audit"),
        ("model = { version_min = 8 }", Denied::Version, "release_version"),
        (manifest.as_str(), Denied::Manifest, "release_manifest"),
    ];
    for (at, (near, denied, rule)) in misses.iter().enumerate() {
        let refusal = judge(&policy(&[("only", near)]), &exchange, &models).unwrap_err();
        let told: Vec<_> = refusal.checks().failed().map(|check| check.code.to_string()).collect();
        assert_eq!((refusal.denied(), told), (denied, vec![(*rule).to_owned()]));
        for (far, ..) in &misses[..at] {
            for grants in [[("a", *far), ("b", *near)], [("a", *near), ("b", *far)]] {
                let refusal = judge(&policy(&grants), &exchange, &models).unwrap_err();
                assert_eq!(refusal.denied(), denied, "{far} beside {near}");
            }
        }
    }
}

#[test]
fn an_explanation_names_each_grant_with_its_verdict_and_marks_the_nearest() {
    let exchange = asked(GUEST);
    let models = [terms("acme/chat-70b", 7, 0x33, "k1")];
    let two = policy;
    let policy = two(&[
        ("far", "kem = [\"x25519\"]\npurpose = [\"evaluate\"]"),
        ("near", "purpose = [\"evaluate\"]"),
        ("passes", "purpose = [\"evaluate\", \"serve\"]"),
    ]);
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let grant = judge(&policy, &exchange, &models).unwrap();
    let [far, near, passes] = lines(grant.trace().explain()).try_into().unwrap();
    assert!(
        far.starts_with("grant \"far\" refused: release_purpose wanted evaluate, observed serve;"),
        "{far}"
    );
    assert!(far.contains("release_kem wanted x25519, observed x-wing;"), "{far}");
    assert!(near.starts_with("grant \"near\" refused: release_purpose wanted evaluate, observed serve; "));
    assert!(passes.starts_with("grant \"passes\" passed: ") && passes.ends_with(" other rules passed"));
    // One that passed is nearest, and that is nothing to tell.
    assert!([&far, &near, &passes].iter().all(|line| !line.contains("nearest")));

    let refusing =
        two(&[("far", "kem = [\"x25519\"]\npurpose = [\"evaluate\"]"), ("near", "purpose = [\"evaluate\"]")]);
    let refusal = judge(&refusing, &exchange, &models).unwrap_err();
    let [far, near] = lines(refusal.trace().explain()).try_into().unwrap();
    assert!(!far.contains("nearest grant") && near.ends_with("; nearest grant"), "{far}\n{near}");
    let number = |line: &str, rest: &str| {
        let before = &line[..line.find(rest).unwrap()];
        before.rsplit(' ').find(|word| !word.is_empty()).unwrap().parse::<usize>().unwrap()
    };
    let rules = refusal.trace().grants()[1].checks().all().iter();
    let passed = rules.filter(|check| check.outcome == Outcome::Passed).count();
    assert_eq!(number(&near, " other rules passed"), passed);
    assert!(passed > 20);
}

#[test]
fn a_grant_tells_the_purposes_it_takes_and_what_is_revoked() {
    let exchange = asked(GUEST);
    let models = [terms("acme/chat-70b", 7, 0x33, "k1")];
    let refusal = judge(&policy(&[("g", "purpose = [\"serve\"]")]), &exchange, &[]).unwrap_err();
    assert_eq!(*refusal.denied(), Denied::Model);
    let check = |refusal: &anchorhold_key_release::Refusal, code: &str| {
        let grant = &refusal.trace().grants()[0];
        let check = grant.checks().all().iter().find(|check| check.code == code).unwrap().clone();
        (check.wanted, check.observed)
    };
    let without_key = check(&refusal, "release_model").1;
    assert_eq!(without_key, "acme/chat-70b, of which there is no key");
    assert_eq!(check(&refusal, "release_kem").0, "x25519 or x-wing");
    assert_eq!(check(&refusal, "release_version").1, "none");

    let revoked =
        ReleasePolicy::from_toml(&CHAT.replace("kids         = \"none\"", "kids = [\"k1\"]")).unwrap();
    let refusal = judge(&revoked, &exchange, &models).unwrap_err();
    assert_eq!(*refusal.denied(), Denied::Revoked);
    let wanted = "a key and manifest that are not revoked".to_owned();
    assert_eq!(check(&refusal, "release_revoked"), (wanted, "revoked".to_owned()));
    let told = refusal.checks().failed().map(|check| check.code.to_string()).collect::<Vec<_>>();
    assert_eq!(told, ["release_revoked"]);
    assert_eq!(refusal.denied().message(), "the model's key or manifest is revoked");
    let granted = judge(&policy(&[("g", "")]), &exchange, &models).unwrap();
    let image =
        |code: &str| granted.checks().all().iter().find(|check| check.code == code).unwrap().observed.clone();
    assert_eq!(image("release_measurement_revoked"), "not revoked");
    assert_eq!(image("release_revoked"), "not revoked");
    assert!(!refusal.to_json(Explain::Code).is_empty());
}

#[test]
fn evidence_that_endorsements_could_make_good_is_let_pass_and_other_evidence_is_not() {
    let good = asked(GUEST);
    require_endorsable(&good.request, &anchors(), at()).unwrap();
    // Nothing that a vendor says makes another root's evidence good.
    let refusal = require_endorsable(&good.request, &TrustAnchors::production(), at()).unwrap_err();
    assert!(matches!(refusal.denied(), Denied::Evidence(code) if code == "snp_no_trust_anchor"));
    let td = "tdx = { mrtd = \"b1\", rtmrs = [\"\", \"11\", \"22\", \"\"], without_collateral = true }";
    require_endorsable(&asked(td).request, &anchors(), at()).unwrap();
}

#[test]
fn a_policy_gives_back_what_its_file_says() {
    let text = CHAT.replace("explain_to_guest = false", "explain_to_guest = true");
    assert_ne!(text, CHAT);
    let (plain, told) = (ReleasePolicy::from_toml(CHAT).unwrap(), ReleasePolicy::from_toml(&text).unwrap());
    assert_eq!(
        (plain.id(), plain.version(), plain.digest()),
        ("acme-prod", 42, Sha256Digest::of(CHAT.as_bytes()))
    );
    assert_eq!((plain.explain_to_guest(), told.explain_to_guest()), (false, true));
    let revoked = CHAT.replace("kids         = \"none\"", "kids = [\"k1\"]");
    let named: Revocations = [Revoked::parse("kid", "k1").unwrap()].into_iter().collect();
    let (revoking, none) = (ReleasePolicy::from_toml(&revoked).unwrap(), Revocations::default());
    assert_eq!((revoking.revoked(), plain.revoked()), (&named, &none));
    // As an operator reads the rules.
    let rule = |policy: &ReleasePolicy, path: &str| {
        let grant = policy.grants()[0].rules().into_iter().find(|rule| rule.path() == path);
        grant.or_else(|| policy.rules().into_iter().find(|rule| rule.path() == path)).unwrap()
    };
    assert_eq!(rule(&plain, "revoked.kids").value(), "\"none\"");
    assert_eq!(rule(&revoking, "revoked.kids").value(), "[\"k1\"]");
    let strict = policy(&[(
        "g",
        "model = { manifest = [\"sha256:0101010101010101010101010101010101010101010101010101010101010101\"] }\naudit = { anchor_max = \"1s\", witnesses = 1 }\nkem = [\"x-wing\"]",
    )]);
    for path in ["model.manifest", "kem", "audit.anchor_max", "audit.witnesses"] {
        let weaker = [&plain, &strict].map(|policy| rule(policy, path).weaker().is_some());
        assert_eq!(weaker, [true, false], "{path}");
    }
}
