//! Exchanges that succeed.

use crate::support::{Guest, Sent, at, attest, attested, released, rules, sent_with, server};
use anchorhold_kbs::client::{Attested, attest_path, auth_path};
use anchorhold_kbs::{InitData, TRUSTEE_PROFILE};
use ring::digest::{SHA256, digest};

const INIT_DATA: &str = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n\"aa.toml\" = \"\"\n";

#[test]
fn a_guest_of_every_family_gets_a_resource() {
    let server = server();
    for guest in Guest::ALL {
        let attested = attested(&server, guest);
        let answer = released(&server, &attested, b"a secret");
        assert_eq!(attested.open(&answer).unwrap().expose(), b"a secret", "{guest:?}");
        // The token works as well as the cookie, at any server with the same keys.
        let bearer = format!("Bearer {}", attested.token().as_str());
        assert!(server.session(Some(&bearer), None, at()).is_ok());
    }
}

#[test]
fn paths_are_those_of_the_protocol() {
    assert_eq!((auth_path().as_str(), attest_path().as_str()), ("/kbs/v0/auth", "/kbs/v0/attest"));
    let path = Attested::resource_path(&"a/b/c".parse().unwrap());
    assert_eq!(path, "/kbs/v0/resource/a/b/c");
}

#[test]
fn the_token_says_who_attested_and_what_was_found() {
    let server = server();
    let attested = attested(&server, Guest::SnpWithGpu);
    let claims = attested.token().claims();
    assert_eq!(claims.eat_profile, TRUSTEE_PROFILE);
    assert_eq!((claims.iat, claims.exp), (at().unix_seconds(), at().unix_seconds() + 300));
    assert_eq!(claims.submods.keys().collect::<Vec<_>>(), ["cpu0", "gpu0"]);
    // The root is a simulated one, and the token says so.
    assert!(!claims.is_affirming());
    assert_eq!(claims.submods["cpu0"].trust_vector.len(), 8);
    let evidence = claims.submods["cpu0"].evidence.as_ref().unwrap();
    assert_eq!(evidence.measurement.as_deref(), Some("07".repeat(48).as_str()));
    assert_eq!(evidence.report_data.as_ref().unwrap().len(), 128);
    assert!(claims.submods["gpu0"].evidence.is_none());
}

#[test]
fn initialisation_data_that_the_evidence_holds_is_in_the_token() {
    let server = server();
    let init: [u8; 32] = digest(&SHA256, INIT_DATA.as_bytes()).as_ref().try_into().unwrap();
    assert_eq!(InitData::read("toml", INIT_DATA).unwrap().digest(), init);
    for guest in [Guest::Snp, Guest::Tdx] {
        let Sent { body, cookie, waiting } = sent_with(&server, guest, init, Some(INIT_DATA));
        let answer = attest(&server, guest, &body, Some(&cookie)).unwrap();
        let attested = waiting.take(&answer.body, None, at()).unwrap();
        let evidence = attested.token().claims().submods["cpu0"].evidence.clone().unwrap();
        let hex: String = init.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(evidence.init_data, Some(hex), "{guest:?}");
    }
}

#[test]
fn a_server_that_sets_no_second_cookie_keeps_the_first() {
    let server = server();
    let Sent { body, cookie, waiting } = crate::support::sent(&server, Guest::Snp);
    let answer = attest(&server, Guest::Snp, &body, Some(&cookie)).unwrap();
    let attested = waiting.take(&answer.body, None, at()).unwrap();
    assert_eq!(attested.cookie_header(), cookie);
    assert!(rules(&server).accept(attested.token().as_str(), at()).is_ok());
}
