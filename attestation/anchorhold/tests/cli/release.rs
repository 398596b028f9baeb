//! `policy` on release policies and signer sets: approvals, comparison, evidence, and the log of a broker.

use crate::support::{Folder, MEASUREMENT, Ran, guest, release_policy, run};
use anchorhold_audit_log::claims::{Asked, Claims, SnpClaims, SnpProduct, SnpSigner, TeeClaims};
use anchorhold_audit_log::{
    BootId, Claim, Code, Decision, Event, EventType, GrantId, Hash, Hex, Key, KeyId, KeyOperation, Log,
    Measurement as LoggedMeasurement, Model, ModelId, Origin, Outcome, PolicyId, Signer, Stamp,
};
use anchorhold_rats::{Endorsements, EvidenceBundle, ReportData, Sha256Digest};
use anchorhold_sealed_weights::OwnerKey;
use std::path::Path;

const REPORT_DATA: ReportData = ReportData::new([9; 64]);

fn policy() -> String {
    release_policy(MEASUREMENT, "\"none\"")
}

/// A key and its public half.
fn key(folder: &Folder, name: &str) -> (String, String) {
    let file = folder.path(name);
    let made = run(["owner", "new", &file]);
    (file, made.out.trim().to_owned())
}

/// Two of these must sign.
fn signer_set(keys: &[&str]) -> String {
    let signer = |(at, key): (usize, &&str)| format!("[[signer]]\nname = \"s{at}\"\nkey = \"{key}\"\n");
    let signers: String = keys.iter().enumerate().map(signer).collect();
    format!("signers = \"acme\"\nversion = 1\nthreshold = 2\n{signers}")
}

#[test]
fn two_approve_on_their_own_and_the_approvals_are_put_together() {
    let folder = Folder::new();
    let [(alice, alice_key), (bob, bob_key), (carol, carol_key)] =
        ["alice", "bob", "carol"].map(|name| key(&folder, name));
    let file = folder.write("release.toml", policy());
    let approve = |key: &str, file: &str, out: &str| {
        run(["policy", "approve", "--key", key, "--out", &folder.path(out), file])
    };
    let ran = approve(&alice, &file, "alice.approval");
    ran.expect(0, "");
    let digest = Sha256Digest::of(policy().as_bytes());
    assert!(ran.out.contains(&format!("digest       {digest}\nsigner       {alice_key}\n")), "{}", ran.out);
    approve(&bob, &file, "bob.approval").expect(0, "");
    let [one, two] = ["alice.approval", "bob.approval"].map(|name| folder.path(name));
    let out = folder.path("release.dsse");
    let ran = run(["policy", "assemble", "--out", &out, &file, &two, &one, "--json"]);
    ran.expect(0, "");
    assert_eq!(ran.json()["digest"], digest.to_string());
    let set = folder.write("owners.toml", signer_set(&[&alice_key, &bob_key, &carol_key]));
    let ran = run(["policy", "verify-signature", "--signers", &set, &out]);
    ran.expect(0, "");
    for part in ["kind         release policy\n", &alice_key, &bob_key, "expires      9000-01-31"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let alone = folder.path("alone.dsse");
    run(["policy", "assemble", "--out", &alone, &file, &one]).expect(0, "");
    run(["policy", "verify-signature", "--signers", &set, &alone]).expect(3, "wanted at least 2");
    // An approval of another text, one twice, one of another kind of file, and none.
    let other = folder.write("other.toml", policy().replace("= 42", "= 43"));
    approve(&carol, &other, "other.approval").expect(0, "");
    let assemble = |approvals: &[&str]| {
        let arguments = ["policy", "assemble", "--out", &folder.path("no.dsse"), &file];
        run(arguments.iter().chain(approvals).map(|part| (*part).to_owned()).collect::<Vec<_>>())
    };
    assemble(&[&one, &folder.path("other.approval")]).expect(1, "other.approval: ");
    assemble(&[&one, &one]).expect(1, "is of a key that already signed");
    approve(&bob, &set, "set.approval").expect(0, "");
    assemble(&[&folder.path("set.approval")]).expect(1, "set.approval: ");
    assemble(&[&set]).expect(1, "owners.toml: ");
    assemble(&[]).expect(2, "<APPROVALS>...");
    assert!(!Path::new(&folder.path("no.dsse")).exists());
    approve(&bob, &folder.write("bad.toml", "policy = 1"), "bad.approval").expect(1, "bad.toml: ");
}

#[test]
fn a_signer_set_is_checked_explained_and_signed() {
    let folder = Folder::new();
    let (alice, alice_key) = key(&folder, "alice");
    let (_, bob_key) = key(&folder, "bob");
    let file = folder.write("owners.toml", signer_set(&[&alice_key, &bob_key]));
    let ran = run(["policy", "check", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("kind         signer set\n"), "{}", ran.out);
    assert!(ran.out.contains("signers      2 of 2: s0, s1\n"), "{}", ran.out);
    let ran = run(["policy", "explain", &file]);
    assert!(ran.out.contains(&format!("signer s1 = \"{bob_key}\"")), "{}", ran.out);
    let out = folder.path("owners.dsse");
    run(["policy", "sign", "--key", &alice, "--out", &out, &file]).expect(0, "");
    run(["policy", "verify-signature", "--signer", &alice_key, &out]).expect(0, "");
    run(["policy", "verify-signature", "--signers", &file, "--threshold", "1", &out])
        .expect(2, "--threshold");
    let same = folder.write("same.toml", signer_set(&[&alice_key, &alice_key]));
    run(["policy", "check", &same]).expect(1, "signer[1]");
}

#[test]
fn a_check_warns_of_what_cannot_be_meant_and_strictly_fails() {
    let folder = Folder::new();
    let file = folder.write("good.toml", policy());
    let ran = run(["policy", "check", "--strict", &file]);
    ran.expect(0, "");
    assert!(ran.out.contains("look at      chat-prod: snp.require_crl = false: "), "{}", ran.out);
    let revoked = release_policy(MEASUREMENT, &format!("[\"sha384:{MEASUREMENT}\"]"));
    let revoked = folder.write("revoked.toml", revoked);
    let ran = run(["policy", "check", "--strict", &revoked]);
    ran.expect(4, "");
    assert!(
        ran.out.contains("WARNING      chat-prod: every image that it names is revoked\n"),
        "{}",
        ran.out
    );
    run(["policy", "check", &revoked]).expect(0, "");
    let json = run(["policy", "check", "--json", &revoked]).json();
    let codes: Vec<_> = json["lints"].as_array().unwrap().iter().map(|lint| &lint["code"]).collect();
    assert!(codes.contains(&&"unreachable".into()) && codes.contains(&&"revoked_image".into()), "{json}");
    let soon = run(["policy", "check", "--strict", "--at", "9000-01-15T00:00:00Z", &file]);
    soon.expect(4, "");
    assert!(soon.out.contains("WARNING      expires at 9000-01-31T00:00:00Z"), "{}", soon.out);
    run(["policy", "check", "--at", "9000-01-31T00:00:00Z", &file]).expect(1, "expired at 9000-01-31");
}

#[test]
fn a_comparison_says_what_is_allowed_that_was_not_and_the_exit_code_too() {
    let folder = Folder::new();
    let diff = |from: &str, to: &str| {
        let old = folder.write("old.toml", policy());
        let changed = policy().replace(from, to).replace("= 42", "= 43");
        assert_ne!(changed, policy().replace("= 42", "= 43"));
        let new = folder.write("new.toml", changed);
        (run(["policy", "diff", &old, &new]), run(["policy", "diff", &old, &new, "--json"]))
    };
    let (ran, json) = diff("snp = 23", "snp = 24");
    ran.expect(0, "");
    assert!(
        ran.out.contains("  narrowed  snp.min_tcb\n            old { genoa = { bl = 10, snp = 23"),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("the new policy allows nothing that the old one did not\n"), "{}", ran.out);
    assert!(ran.out.starts_with("version 42, then 43\n") && !ran.out.contains("same "), "{}", ran.out);
    assert_eq!((&json.json()["widens"], &json.json()["change"]), (&false.into(), &"narrowed".into()));
    let (ran, json) = diff("snp = 23", "snp = 22");
    ran.expect(7, "");
    assert!(ran.out.ends_with("the new policy allows more than the old one\n"), "{}", ran.out);
    let grants = &json.json()["grants"];
    assert_eq!((&grants[0]["name"], &grants[0]["change"]), (&"chat-prod".into(), &"widened".into()));
    assert_eq!(grants[0]["rules"][0]["path"], "snp.min_tcb");
    diff("\"chat-prod\"", "\"chat-next\"").0.expect(7, "");
    let same = folder.write("same.toml", policy());
    let ran = run(["policy", "diff", &same, &same]);
    ran.expect(0, "");
    assert_eq!(ran.out, "the new policy allows what the old one did\n");
}

fn bundle(folder: &Folder) -> String {
    let evidence = guest().attest(&REPORT_DATA).unwrap();
    folder
        .write("b.json", serde_json::to_vec(&EvidenceBundle::new(evidence, Endorsements::default())).unwrap())
}

fn explain(folder: &Folder, policy: &str, more: &[&str]) -> Ran {
    let (file, bundle, root) = (folder.write("p.toml", policy), bundle(folder), folder.simulated_root());
    let arguments = ["policy", "explain", &file, "--evidence", &bundle, "--dangerous-simulated-root", &root];
    run(arguments.iter().chain(more))
}

#[test]
fn evidence_is_explained_by_a_release_policy_with_what_to_do() {
    let folder = Folder::new();
    let report_data = REPORT_DATA.to_string();
    let chat = ["--model", "acme/chat-70b", "--report-data", &report_data];
    let ran = explain(&folder, &policy(), &chat);
    ran.expect(0, "");
    assert!(ran.out.contains("grant \"chat-prod\" passes: "), "{}", ran.out);
    assert!(ran.out.contains("\nnot asked: max_instances, "), "{}", ran.out);
    assert!(ran.out.ends_with("verdict: released by grant \"chat-prod\"\n"), "{}", ran.out);

    let higher = policy().replace("snp = 23", "snp = 99");
    let ran = explain(&folder, &higher, &chat);
    ran.expect(4, "");
    let parts = [
        "grant \"chat-prod\" refuses, the nearest: ",
        "  snp_tcb_minimum: wanted ",
        "what to do: update the machine's firmware",
        "verdict: refused (snp_tcb_minimum)\n",
    ];
    for part in parts {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = explain(&folder, &higher, &[&chat[..], &["--json"]].concat()).json();
    assert_eq!((&json["verdict"], &json["nearest"]), (&"refused".into(), &"chat-prod".into()));
    assert_eq!(json["grants"][0]["failed"][0]["code"], "snp_tcb_minimum");

    let ran = explain(&folder, &policy(), &["--model", "acme/other", "--report-data", &report_data]);
    ran.expect(4, "");
    assert!(ran.out.contains("verdict: refused (model_refused)\n"), "{}", ran.out);
    let pq = policy().replace("kem           = [\"x25519\", \"x-wing\"]", "kem = [\"x-wing\"]");
    let ran = explain(&folder, &pq, &[&chat[..], &["--kem", "x25519"]].concat());
    ran.expect(4, "");
    assert!(ran.out.contains("what to do: let the guest make a key of a granted KEM\n"), "{}", ran.out);
    let witnessed =
        policy().replace("anchor_max = \"any\", witnesses = 0", "anchor_max = \"1s\", witnesses = 2");
    explain(&folder, &witnessed, &chat).expect(4, "");
    explain(&folder, &witnessed, &[&chat[..], &["--anchor-ms", "1000", "--witnesses", "2"]].concat())
        .expect(0, "");
}

#[test]
fn evidence_that_is_not_authentic_or_not_fresh_is_told_apart() {
    let folder = Folder::new();
    let ran = explain(&folder, &policy(), &["--model", "acme/chat-70b"]);
    ran.expect(0, "for whom the evidence was made is not judged");
    let other = "00".repeat(64);
    let ran = explain(&folder, &policy(), &["--model", "acme/chat-70b", "--report-data", &other]);
    ran.expect(4, "");
    assert!(ran.out.contains("snp_report_data"), "{}", ran.out);
    let file = folder.write("p.toml", policy());
    let ran = run(["policy", "explain", &file, "--evidence", &bundle(&folder), "--model", "acme/chat-70b"]);
    ran.expect(3, "");
    assert!(ran.out.contains("snp_no_trust_anchor"), "{}", ran.out);
    explain(&folder, &policy(), &[]).expect(2, "--model <ID>");
    let ran = explain(&folder, &crate::support::td_profile(MEASUREMENT), &["--model", "acme/chat-70b"]);
    ran.expect(1, "not a release policy\nhint: ");
}

/// The claims of a simulated guest of the policy's image.
fn claims() -> Claims {
    let tcb = Hex::new([10, 0, 0, 0, 0, 0, 23, 84]);
    let nothing = LoggedMeasurement::new([0; 48]);
    let snp = SnpClaims {
        author_key: nothing,
        author_key_enabled: false,
        chip: Some(Hash::new([7; 32])),
        committed_tcb: tcb,
        committed_version: [1, 55, 40],
        crl_judged: false,
        current_tcb: tcb,
        current_version: [1, 55, 40],
        family_id: Hex::new([0; 16]),
        guest_policy: 0x3_0000,
        guest_svn: 0,
        host_data: Hex::new([0; 32]),
        id_key: nothing,
        image_id: Hex::new([0; 16]),
        launch_tcb: tcb,
        measurement: LoggedMeasurement::new(*MEASUREMENT.as_bytes()),
        mitigations: None,
        platform_info: 0x25,
        product: SnpProduct::Genoa,
        provider: None,
        reported_tcb: tcb,
        signer: SnpSigner::Vcek,
        vmpl: 0,
    };
    Claims {
        asked: Asked {
            anchor_ms: None,
            kem: Claim::new("x-wing").unwrap(),
            min_version: 1,
            model: Some(ModelId::new("acme/chat-70b").unwrap()),
            purpose: Claim::new("serve").unwrap(),
            witnesses: 0,
        },
        gpus: Vec::new(),
        paravisor: None,
        tpm: None,
        simulated: true,
        tee: TeeClaims::Snp(Box::new(snp)),
    }
}

fn decision(claims: Option<Claims>, grant: Option<&str>) -> Decision {
    Decision {
        checks: Vec::new(),
        claims,
        grant: grant.map(|name| GrantId::new(name).unwrap()),
        lease_s: None,
        policy_digest: Hash::new([1; 32]),
        policy_id: PolicyId::new("acme-prod").unwrap(),
        policy_ver: 42,
    }
}

/// A broker's log with a release, a refusal, and a refusal without claims; its bundle and key.
fn log(folder: &Folder) -> (String, String) {
    let seed = [5; 32];
    let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
    let signer = Signer::from_seed(Origin::new("key-broker/1").unwrap(), &seed).unwrap();
    let path = folder.path("log");
    let mut log = Log::create(Path::new(&path), signer, BootId::new([6; 16]), at).unwrap();
    let mut released = Event::new(EventType::KeyRelease, Outcome::Success, at);
    released.decision = Some(decision(Some(claims()), Some("chat-prod")));
    let id = ModelId::new("acme/chat-70b").unwrap();
    released.model = Some(Model { id, manifest: Some(Hash::new([7; 32])), ver: Some(7) });
    released.key = Some(Key { kid: KeyId::new("k7").unwrap(), op: KeyOperation::Release, kek: None });
    let mut refused = Event::new(EventType::KeyRefuse, Outcome::Denied, at);
    refused.code = Code::from_static("snp_tcb_minimum");
    refused.decision = Some(decision(Some(claims()), None));
    let mut bare = Event::new(EventType::KeyRefuse, Outcome::Denied, at);
    bare.code = Code::from_static("snp_report_signature");
    bare.decision = Some(decision(None, None));
    log.append(&[released, refused, bare]).unwrap();
    log.checkpoint().unwrap();
    let out = folder.path("bundle.tar");
    run(["audit", "export", "--log", &path, "--out", &out]).expect(0, "");
    let key = OwnerKey::from_seed(&seed).unwrap().public_key();
    (out, anchorhold_rats::Ed25519PublicKey::new(key).to_string())
}

#[test]
fn a_new_policy_is_asked_about_the_decisions_of_a_log() {
    let folder = Folder::new();
    let (bundle, key) = log(&folder);
    let backtest = |policy: &str, more: &[&str]| {
        let file = folder.write("new.toml", policy);
        run(["policy", "backtest", &file, "--log", &bundle, "--audit-key", &key].iter().chain(more))
    };
    // What was refused by an older policy would be released by this one.
    let ran = backtest(&policy(), &[]);
    ran.expect(8, "");
    for part in [
        "entry 2 of 2027-01-15T08:00:00Z: acme/chat-70b, image 5a5a",
        "\n  then refused (snp_tcb_minimum)\n  now  released by grant chat-prod\n",
        "\n       not asked: max_instances, model.version_min, ",
        "\n0 of 1 releases would have been refused\n1 of 2 refusals would have been releases, as far as the log tells\n",
        "\n1 decisions have no claims to ask about\n",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let higher = policy().replace("snp = 23", "snp = 24");
    let ran = backtest(&higher, &[]);
    ran.expect(8, "");
    assert!(ran.out.contains("\n1 of 1 releases would have been refused\n0 of 2 refusals"), "{}", ran.out);
    assert!(ran.out.contains("\n       snp_tcb_minimum: wanted "), "{}", ran.out);
    let json = backtest(&higher, &["--json"]).json();
    assert_eq!((&json["policy"], &json["releases_refused"]), (&"acme-prod".into(), &1.into()));
    assert_eq!(json["changed"][0]["then"]["released"]["grant"], "chat-prod");
    assert_eq!(json["changed"][0]["now"]["refused"]["code"], "snp_tcb_minimum");
    let later = backtest(&higher, &["--since", "2030-01-01T00:00:00Z"]);
    later.expect(0, "");
    assert!(later.out.contains("0 of 0 releases"), "{}", later.out);
    // Machines stand under pseudonyms, so rules about them are named and not guessed.
    let listed =
        policy().replace("machines            = \"any\"", &format!("machines = [\"{}\"]", "0d".repeat(64)));
    let ran = backtest(&listed, &["--json"]);
    assert_eq!(ran.json()["releases_refused"], 0);
    assert!(ran.json()["changed"][0]["not_asked"].as_array().unwrap().contains(&"snp.machines".into()));
}

#[test]
fn a_log_that_proves_nothing_is_asked_nothing() {
    let folder = Folder::new();
    let (bundle, key) = log(&folder);
    let file = folder.write("new.toml", policy());
    let ran = run(["policy", "backtest", &file, "--log", &bundle]);
    ran.expect(8, "warning: whose log it is was not judged");
    let other = "99".repeat(32);
    run(["policy", "backtest", &file, "--log", &bundle, "--audit-key", &other])
        .expect(6, "not proven to be a log");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.windows(8).position(|part| part == b"acme/cha").unwrap();
    bytes[at] = b'b';
    let altered = folder.write("altered.tar", bytes);
    let ran = run(["policy", "backtest", &file, "--log", &altered, "--audit-key", &key]);
    ran.expect(6, "not proven to be a log\nhint: ");
    assert!(ran.out.is_empty(), "{}", ran.out);
    run(["policy", "backtest", &file]).expect(2, "--log <BUNDLE>");
}
