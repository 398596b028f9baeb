//! `policy`.

use crate::support::{Folder, MEASUREMENT, now, release_policy, run};
use anchorhold_rats::{Sha256Digest, Timestamp};

/// A shipped profile, in force at any time that a test may run.
fn profile() -> String {
    let text = include_str!("../../../../policies/appraisal/snp-aws.toml");
    in_force(text, now())
}

/// The same file, from a day before `at` to a day after.
fn in_force(text: &str, at: Timestamp) -> String {
    let day = 86_400;
    let (issued, expires) = (at.plus_seconds(-day), at.plus_seconds(day));
    let line = |line: &str| match line.split_once('=').map(|(key, _)| key.trim()) {
        Some("issued") => format!("issued = \"{issued}\""),
        Some("expires") => format!("expires = \"{expires}\""),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn machines() -> String {
    in_force(
        "format = 1\nid = \"racks\"\nversion = 1\nissued = \"\"\nexpires = \"\"\ndescription = \"racks\"\n\
         kind = \"revoke\"\n[[machine]]\ngpu = \"0808080808080808\"\nreason = \"stolen\"\n\
         since = \"2026-01-01T00:00:00Z\"",
        now(),
    )
}

/// A key and its public half.
fn key(folder: &Folder, name: &str) -> (String, String) {
    let file = folder.path(name);
    let made = run(["owner", "new", &file]);
    (file, made.out.trim().to_owned())
}

#[test]
fn a_good_policy_is_summed_up() {
    let folder = Folder::new();
    let text = release_policy(MEASUREMENT, "\"none\"");
    let file = folder.write("release.toml", &text);
    let ran = run(["policy", "check", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("policy       acme-prod version 42\n"), "{}", ran.out);
    assert!(ran.out.contains("grant        chat-prod: acme/chat-70b, 1 measurement(s)\n"), "{}", ran.out);
    let json = run(["policy", "check", &file, "--json"]).json();
    assert_eq!(json["digest"], Sha256Digest::of(text.as_bytes()).to_string());
    assert_eq!(json["grants"][0]["measurements"], 1);
}

#[test]
fn refuses_an_expired_policy_and_names_what_is_wrong_in_a_broken_one() {
    let folder = Folder::new();
    let good = release_policy(MEASUREMENT, "\"none\"");
    let expired = folder.write("expired.toml", good.replace("9000-01-31", "2001-01-31"));
    run(["policy", "check", &expired]).expect(1, "expired at 2001-01-31T00:00:00Z\nhint: ");
    let debug = folder.write("debug.toml", good.replace("debug               = false", "debug = true"));
    run(["policy", "check", &debug]).expect(1, "grant[0].snp.debug is refused");
    let unknown = folder.write("unknown.toml", format!("extra = 1\n{good}"));
    run(["policy", "check", &unknown]).expect(1, "extra is no key");
    run(["policy", "check", &folder.write("binary.toml", [0xff])]).expect(1, "is not UTF-8 text");
    run(["policy", "check", &folder.write("long.toml", vec![b' '; 300_000])]).expect(1, "over the limit");
}

#[test]
fn a_profile_is_summed_up_with_what_deserves_a_second_look() {
    let folder = Folder::new();
    let file = folder.write("profile.toml", profile());
    let ran = run(["policy", "check", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("kind         appraisal profile\n"), "{}", ran.out);
    assert!(ran.out.contains("id           snp-aws version 1\n"), "{}", ran.out);
    assert!(ran.out.contains("families     snp\n"), "{}", ran.out);
    assert!(ran.out.contains("look at      snp.milan_because: "), "{}", ran.out);
    assert!(ran.out.contains("look at      snp.measurements: "), "{}", ran.out);
    let json = run(["policy", "check", &file, "--json"]).json();
    assert_eq!(json["digest"], Sha256Digest::of(&std::fs::read(&file).unwrap()).to_string());
    assert!(json["weaker"].as_array().unwrap().iter().any(|rule| rule["rule"] == "snp.machines"));
    assert!(json.get("machines").is_none());
}

#[test]
fn a_machine_list_is_summed_up_and_explained() {
    let folder = Folder::new();
    let file = folder.write("machines.toml", machines());
    let json = run(["policy", "check", &file, "--json"]).json();
    assert_eq!((&json["kind"], &json["machines"]), (&"list of revoked machines".into(), &1.into()));
    let ran = run(["policy", "explain", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("machine[0] = \"gpu 0808080808080808: stolen"), "{}", ran.out);
}

#[test]
fn refuses_files_that_are_not_in_force_and_names_what_is_wrong_in_broken_ones() {
    let folder = Folder::new();
    let good = profile();
    let of = |year: &str| in_force(&good, format!("{year}-02-02T00:00:00Z").parse().unwrap());
    run(["policy", "check", &folder.write("past.toml", of("2001"))]).expect(1, "expired at 2001-02-03");
    run(["policy", "check", &folder.write("future.toml", of("2901"))])
        .expect(1, "not in force before 2901-02-01");
    let debug = folder.write("debug.toml", good.replace("[snp]\n", "[snp]\ndebug = true\n"));
    run(["policy", "check", &debug]).expect(1, "snp.debug is refused: a guest that can be debugged");
    run(["policy", "explain", &debug]).expect(1, "snp.debug is refused");
    let quiet = folder.write("milan.toml", good.replace("milan_because =", "# milan_because ="));
    run(["policy", "check", &quiet]).expect(1, "snp.milan_because is missing");
}

#[test]
fn every_rule_is_explained_and_spelled_out() {
    let folder = Folder::new();
    let file = folder.write("profile.toml", profile());
    let ran = run(["policy", "explain", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("snp.min_launch_tcb = { milan = "), "{}", ran.out);
    assert!(ran.out.contains("    LOOK: Milan's root seed"), "{}", ran.out);
    let json = run(["policy", "explain", &file, "--json"]).json();
    let rules = json.as_array().unwrap();
    let alias = rules.iter().find(|rule| rule["rule"] == "snp.require_alias_check").unwrap();
    assert_eq!((&alias["value"], alias.get("weaker")), (&"true".into(), None));
    let toml = run(["policy", "explain", &file, "--toml"]);
    toml.expect(0, "");
    let again = run(["policy", "explain", &folder.write("full.toml", &toml.out), "--toml"]);
    assert_eq!(again.out, toml.out);
    let release = folder.write("release.toml", release_policy(MEASUREMENT, "\"none\""));
    run(["policy", "explain", &release, "--toml"])
        .expect(1, "only a profile has rules that it does not spell out");
    let ran = run(["policy", "explain", &release]);
    ran.expect(0, "");
    assert!(ran.out.contains("\nchat-prod: snp.products = "), "{}", ran.out);
    assert!(ran.out.contains("expires = \"9000-01-31T00:00:00Z\"\n"), "{}", ran.out);
}

#[test]
fn two_of_three_sign_a_profile_and_one_is_not_enough() {
    let folder = Folder::new();
    let (alice, alice_key) = key(&folder, "alice.key");
    let (bob, bob_key) = key(&folder, "bob.key");
    let (_, carol_key) = key(&folder, "carol.key");
    let file = folder.write("profile.toml", profile());
    let (once, twice) = (folder.path("once.dsse"), folder.path("twice.dsse"));
    assert_eq!(run(["policy", "sign", "--key", &alice, "--out", &once, &file]).out.trim(), alice_key);
    run(["policy", "sign", "--key", &bob, "--out", &twice, &once]).expect(0, "");
    let verify = |file: &str, more: &[&str]| {
        let keys = ["--signer", &alice_key, "--signer", &bob_key, "--signer", &carol_key, "--threshold", "2"];
        run(["policy", "verify-signature", file].iter().chain(&keys).chain(more))
    };
    let ran = verify(&twice, &[]);
    ran.expect(0, "");
    assert!(ran.out.contains(&format!("signed by    {alice_key}\n")), "{}", ran.out);
    let json = verify(&twice, &["--json"]).json();
    assert_eq!(json["digest"], Sha256Digest::of(&std::fs::read(&file).unwrap()).to_string());
    assert_eq!(json["signers"].as_array().unwrap().len(), 2);
    verify(&once, &[]).expect(3, "envelope has 1 signatures, wanted at least 2");
    verify(&file, &[]).expect(3, "not a DSSE envelope");
    verify(&twice, &["--at", "2001-01-01T00:00:00Z"]).expect(1, "not in force before");
    let text = std::fs::read_to_string(&twice).unwrap();
    let stranger =
        run(["policy", "verify-signature", &twice, "--signer", &carol_key, "--signer", &alice_key]);
    stranger.expect(3, "is of a key that is not trusted");
    let changed = folder.write("changed.dsse", text.replacen("\"payload\":\"I", "\"payload\":\"J", 1));
    verify(&changed, &[]).expect(3, "does not verify under the key it names");
    run(["policy", "verify-signature", &twice, "--signer", &alice_key, "--threshold", "2"])
        .expect(2, "threshold");
    run(["policy", "verify-signature", &twice]).expect(2, "--signer");
}

#[test]
fn refuses_to_sign_twice_over_a_file_or_what_no_reader_would_take() {
    let folder = Folder::new();
    let (alice, alice_key) = key(&folder, "alice.key");
    let sign =
        |file: &str, out: &str| run(["policy", "sign", "--key", &alice, "--out", &folder.path(out), file]);
    let list = folder.write("machines.toml", machines());
    sign(&list, "list.dsse").expect(0, "");
    let list = folder.path("list.dsse");
    sign(&list, "again.dsse").expect(1, "is of a key that already signed");
    sign(&folder.write("profile.toml", profile()), "list.dsse").expect(1, "cannot create");
    let ran = run(["policy", "verify-signature", &list, "--signer", &alice_key]);
    ran.expect(0, "");
    assert!(ran.out.contains("kind         list of revoked machines\n"), "{}", ran.out);
    let debug = folder.write("debug.toml", profile().replace("[snp]\n", "[snp]\ndebug = true\n"));
    sign(&debug, "debug.dsse").expect(1, "snp.debug is refused");
    assert!(!std::path::Path::new(&folder.path("debug.dsse")).exists());
    let release = folder.write("release.toml", release_policy(MEASUREMENT, "\"none\""));
    sign(&release, "release.dsse").expect(0, "");
    let ran = run(["policy", "verify-signature", &folder.path("release.dsse"), "--signer", &alice_key]);
    assert!(ran.out.contains("kind         release policy\n"), "{}", ran.out);
    run(["policy", "approve", "--key", &alice, "--out", &folder.path("list.approval"), &list])
        .expect(1, "is a signed file, not TOML\nhint: ");
}

#[test]
fn a_signature_is_told_as_json_as_the_first_and_as_a_further_one() {
    let folder = Folder::new();
    let file = folder.write("machines.toml", machines());
    let digest = Sha256Digest::of(&std::fs::read(&file).unwrap()).to_string();
    let sign = |key: &str, file: &str, out: &str| {
        run(["policy", "sign", "--key", key, "--out", &folder.path(out), file, "--json"]).json()
    };
    let ((alice, alice_key), (bob, bob_key)) = (key(&folder, "alice.key"), key(&folder, "bob.key"));
    for (json, signer) in [
        (sign(&alice, &file, "once.dsse"), alice_key),
        (sign(&bob, &folder.path("once.dsse"), "twice.dsse"), bob_key),
    ] {
        assert_eq!((&json["signer"], &json["digest"]), (&signer.into(), &digest.clone().into()));
        assert_eq!(json["kind"], "machine list");
    }
}

#[test]
fn signed_files_are_read_like_their_texts_and_that_nobody_judged_the_signatures_is_said() {
    let folder = Folder::new();
    let (alice, _) = key(&folder, "alice.key");
    let sign = |file: &str, out: &str| {
        let out = folder.path(out);
        run(["policy", "sign", "--key", &alice, "--out", &out, file]).expect(0, "");
        out
    };
    let warning = "the signatures were not judged; `anchorhold policy verify-signature` does that";
    for (name, text) in [
        ("profile", profile()),
        ("machines", machines()),
        ("release", release_policy(MEASUREMENT, "\"none\"")),
    ] {
        let file = folder.write(&format!("{name}.toml"), text);
        let signed = sign(&file, &format!("{name}.dsse"));
        for command in ["check", "explain"] {
            let ran = run(["policy", command, &signed]);
            ran.expect(0, warning);
            assert_eq!(ran.out, run(["policy", command, &file]).out, "{command} {name}");
        }
    }
    let (file, signed) = (folder.path("release.toml"), folder.path("release.dsse"));
    let ran = run(["policy", "diff", &file, &signed]);
    ran.expect(0, warning);
    assert_eq!(ran.out, "the new policy allows what the old one did\n");
    let text = std::fs::read_to_string(&signed).unwrap();
    let other = std::fs::read_to_string(folder.path("profile.dsse")).unwrap();
    let kind =
        |text: &str| text.split('"').skip_while(|part| *part != "payloadType").nth(2).unwrap().to_owned();
    let disguised = folder.write("disguised.dsse", text.replace(&kind(&text), &kind(&other)));
    assert_eq!(run(["policy", "check", &disguised]).code, 1);
    run(["policy", "check", &folder.write("none.dsse", "{}")]).expect(1, "none.dsse: ");
}
