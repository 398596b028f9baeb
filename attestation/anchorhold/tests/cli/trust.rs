//! What is accepted and who is trusted: profiles, machine lists, signatures on both, and simulated roots.

use crate::families::{REPORT_DATA, td_bundle, verify};
use crate::support::{Folder, MEASUREMENT, header, now, run, td, td_profile};
use anchorhold_attester::software::tdx::simulated_intel_root_der;
use anchorhold_evaluation::ear;
use anchorhold_rats::{Endorsements, Sha256Digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::os::unix::fs::PermissionsExt as _;

fn machine_list(kind: &str, ppid: &str) -> String {
    let machine = format!("tdx_platform = \"{ppid}\"\nreason = \"test\"\nsince = \"2026-01-01T00:00:00Z\"\n");
    format!("{}kind = \"{kind}\"\n[[machine]]\n{machine}", header("machines"))
}

/// The PPID that the program shows of the platform in a bundle.
fn ppid(bundle: &str) -> String {
    let shown = run(["evidence", "show", bundle]).out;
    shown.lines().find_map(|line| line.trim().strip_prefix("PPID")).unwrap().trim().to_owned()
}

#[test]
fn a_profile_for_something_else_refuses_and_is_named_in_every_form() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let text = td_profile(anchorhold_rats::Measurement::new([1; 48]));
    let profile = folder.write("other.toml", &text);
    let ran = verify(&folder, &bundle, &["--profile", &profile, "--json"]);
    ran.expect(4, "");
    let digest = Sha256Digest::of(text.as_bytes()).to_string();
    let json = ran.json();
    assert_eq!((&json["profile"]["id"], &json["profile"]["version"]), (&"tds".into(), &3.into()));
    assert_eq!(json["profile"]["digest"], digest);
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = folder.write("key.pk8", pkcs8.as_ref());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = verify(&folder, &bundle, &["--profile", &profile, "--ear", &key]);
    let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let at = now().unix_seconds() + 60;
    let result =
        ear::verify(ran.out.trim(), ear::Algorithm::EdDsa, public.public_key().as_ref(), at).unwrap();
    assert_eq!(result.submods["cpu"].policy_ids, [format!("urn:sha256:{digest}")]);
    // Without a profile none is named.
    let ran = verify(&folder, &bundle, &["--measurement", &MEASUREMENT.to_string(), "--json"]);
    assert!(ran.json().get("profile").is_none(), "{}", ran.out);
}

#[test]
fn a_machine_list_revokes_and_allows_whatever_else_is_said() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let (ppid, other, measurement) = (ppid(&bundle), "0e".repeat(16), MEASUREMENT.to_string());
    let profile = folder.write("profile.toml", td_profile(MEASUREMENT));
    let by = [["--profile", profile.as_str()], ["--measurement", measurement.as_str()]];
    for (kind, named, code) in
        [("revoke", &ppid, 4), ("revoke", &other, 0), ("allow", &ppid, 0), ("allow", &other, 4)]
    {
        let list = folder.write("machines.toml", machine_list(kind, named));
        for accepted in by {
            verify(&folder, &bundle, &[&accepted[..], &["--machines", &list]].concat()).expect(code, "");
        }
    }
    // What one list revokes, another does not allow.
    let revoked = folder.write("revoked.toml", machine_list("revoke", &ppid));
    let allowed = folder.write("allowed.toml", machine_list("allow", &ppid));
    let both = ["--profile", &profile, "--machines", &revoked, "--machines", &allowed];
    let ran = verify(&folder, &bundle, &both);
    ran.expect(4, "");
    assert!(ran.out.contains("FAILED tdx_platform"), "{}", ran.out);
}

#[test]
fn what_is_not_in_force_is_no_verdict() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let profile = folder.write("profile.toml", td_profile(MEASUREMENT));
    let list = folder.write("machines.toml", machine_list("revoke", &"0e".repeat(16)));
    let old = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let issued = now().plus_seconds(-86_400).to_string();
        assert!(text.contains(&issued[..10]));
        text.lines()
            .map(|line| match line.split(" = ").next() {
                Some("issued") => "issued = \"2024-01-01T00:00:00Z\"\n".to_owned(),
                Some("expires") => "expires = \"2025-01-01T00:00:00Z\"\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect::<String>()
    };
    let old_profile = folder.write("old-profile.toml", old(&profile));
    let old_list = folder.write("old-list.toml", old(&list));
    let text = "expired at 2025-01-01T00:00:00Z\nhint: get the current file";
    for args in
        [["--profile", &old_profile, "--machines", &list], ["--profile", &profile, "--machines", &old_list]]
    {
        let ran = verify(&folder, &bundle, &args);
        ran.expect(1, text);
        assert!(ran.out.is_empty(), "{}", ran.out);
    }
}

#[test]
fn a_signed_profile_is_believed_for_its_signers_and_an_unsigned_one_is_not() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let owner = |name: &str| {
        let key = folder.path(name);
        let public = run(["owner", "new", &key]).out.trim().to_owned();
        (key, public)
    };
    let ((alice, alice_public), (_, bob_public)) = (owner("alice.key"), owner("bob.key"));
    let plain = folder.write("profile.toml", td_profile(MEASUREMENT));
    let signed = folder.path("profile.dsse");
    run(["policy", "sign", "--key", &alice, "--out", &signed, &plain]).expect(0, "");
    let by = |args: &[&str]| verify(&folder, &bundle, args);
    by(&["--profile", &signed, "--profile-signer", &alice_public]).expect(0, "");
    by(&["--profile", &signed, "--profile-signer", &bob_public]).expect(3, "profile.dsse: ");
    let both = ["--profile-signer", &alice_public, "--profile-signer", &bob_public];
    by(&[&["--profile", &signed][..], &both].concat()).expect(0, "");
    by(&[&["--profile", &signed, "--profile-threshold", "2"][..], &both].concat()).expect(3, "");
    by(&["--profile", &signed]).expect(1, "no signer is trusted\nhint: name who must");
    by(&["--profile", &plain, "--profile-signer", &alice_public]).expect(1, "is not signed\nhint: ");
    // A signature on a profile is none on a list.
    let swapped = ["--profile", &signed, "--profile-signer", &alice_public, "--machines", &signed];
    by(&swapped).expect(3, "");
}

#[test]
fn each_simulated_root_vouches_for_its_own_family_alone() {
    let folder = Folder::new();
    let (evidence, collateral) = td(&REPORT_DATA);
    let endorsements = Endorsements { tdx: Some(collateral), ..Endorsements::default() };
    let bundle = folder.bundle("td.json", evidence, endorsements);
    let bare = folder.write("intel.der", simulated_intel_root_der());
    let (report_data, measurement) = (REPORT_DATA.to_string(), MEASUREMENT.to_string());
    let by = |root: &str| {
        let args = ["evidence", "verify", &bundle, "--report-data", &report_data];
        let trust = ["--measurement", &measurement, "--dangerous-simulated-root", root];
        run(args.into_iter().chain(trust))
    };
    // DER is the root of SEV-SNP, whose key is of another kind.
    by(&bare).expect(1, "hint: `anchorhold simulated-root roots.pem`");
    let pem = std::fs::read_to_string(folder.simulated_roots()).unwrap();
    by(&folder.simulated_roots()).expect(0, "SIMULATED ROOT");
    by(&folder.write("twice.pem", format!("{pem}{pem}"))).expect(1, "more than 4 certificates");
    let first = pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    by(&folder.write("doubled.pem", first.repeat(2))).expect(1, "a second root in the same place");
    let without_intel = folder.write("amd.pem", first);
    by(&without_intel).expect(3, "");
}
