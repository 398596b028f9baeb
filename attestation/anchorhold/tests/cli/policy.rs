//! `policy check`.

use crate::support::{Folder, MEASUREMENT, release_policy, run};
use anchorhold_rats::Sha256Digest;

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
    let debug = folder.write("debug.toml", good.replace("debug             = false", "debug = true"));
    run(["policy", "check", &debug]).expect(1, "grant[0].snp.debug is refused");
    let unknown = folder.write("unknown.toml", format!("extra = 1\n{good}"));
    run(["policy", "check", &unknown]).expect(1, "extra is no key");
    run(["policy", "check", &folder.write("binary.toml", [0xff])]).expect(1, "is not UTF-8 text");
    run(["policy", "check", &folder.write("long.toml", vec![b' '; 300_000])]).expect(1, "over the limit");
}
