//! Keys in a transit engine: the client over real TLS against a double written after the engine's documentation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

#[path = "common/transit.rs"]
mod transit;

use anchorhold_key_broker::kek::transit::{TransitKey, TransitSettings};
use anchorhold_key_broker::kek::{
    Backend as _, BackendError, Blob, Destroy, KekError, Keyring, Member, Place, Target,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transit::{Double, Fault, NAMESPACE, TOKEN};

const PLACE: Place<'static> = Place { kind: "weights key", name: b"acme/chat" };
const DEADLINE: Duration = Duration::from_secs(20);

struct Site {
    double: Double,
    folder: tempfile::TempDir,
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Site {
    fn new() -> Self {
        let site = Self { double: Double::start(), folder: tempfile::tempdir().unwrap() };
        write_secret(&site.token_file(), &format!("{TOKEN}\n"));
        site
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn settings(&self) -> TransitSettings {
        TransitSettings {
            target: self.double.url.parse().unwrap(),
            authorities: self.double.authority_pem.clone().into_bytes(),
            mount: "transit".parse().unwrap(),
            key: transit::KEY.parse().unwrap(),
            namespace: Some(NAMESPACE.parse().unwrap()),
            token_file: self.token_file(),
            deadline: DEADLINE,
        }
    }

    fn key(&self) -> Arc<TransitKey> {
        Arc::new(TransitKey::new(self.settings()).unwrap())
    }

    fn member(&self) -> Member {
        Member::remote("bao-1".parse().unwrap(), self.key(), DEADLINE)
    }
}

fn trouble(outcome: Result<impl std::fmt::Debug, KekError>) -> BackendError {
    match outcome {
        Err(KekError::Backend { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_opens_under_its_key_in_its_place_alone() {
    let site = Site::new();
    let member = site.member();
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    assert!(blob.sealed().bytes.starts_with(b"vault:v1:"));
    assert_eq!(blob.sealed().version, 1);
    assert_eq!(site.member().unwrap(PLACE, &blob).unwrap().as_slice(), [7; 32]);
    let refused = Err(KekError::Open { kek: "bao-1".parse().unwrap() });
    assert_eq!(member.unwrap(Place { name: b"acme/chas", ..PLACE }, &blob), refused);
    assert_eq!(member.unwrap(Place { kind: "signing seed", ..PLACE }, &blob), refused);
    // Another key of the same name.
    site.double.lock().key.as_mut().unwrap().versions[0] = [1; 32];
    assert_eq!(member.unwrap(PLACE, &blob), refused);
    assert_eq!(member.health(), Ok(1));
}

#[test]
fn every_changed_bit_of_a_blob_is_refused() {
    let site = Site::new();
    let member = site.member();
    let bytes = member.wrap(PLACE, &[7; 32]).unwrap().to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(changed) = Blob::parse(&changed) {
            assert!(member.unwrap(PLACE, &changed).is_err(), "{at}");
        }
    }
}

#[test]
fn one_connection_carries_many_calls_and_one_that_ended_is_replaced() {
    let mut site = Site::new();
    let member = site.member();
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    let asked = site.double.asked();
    let wanted = [
        "GET /v1/auth/token/lookup-self",
        "GET /v1/transit/keys/kek",
        "POST /v1/transit/encrypt/kek",
        "POST /v1/transit/decrypt/kek",
    ];
    assert_eq!(asked, wanted);
    // The same server again at the same address, with the same key and certificate.
    let key = site.double.lock().key.clone();
    let identity = anchorhold_channel::tls::SelfSigned::generate(&["localhost".into()]).unwrap();
    let port = site.double.url.rsplit_once(':').unwrap().1.to_owned();
    let pem = identity.certificate_pem().to_owned();
    let both = format!("{}{pem}", site.double.authority_pem);
    let member = Member::remote(
        "bao-1".parse().unwrap(),
        Arc::new(
            TransitKey::new(TransitSettings { authorities: both.into_bytes(), ..site.settings() }).unwrap(),
        ),
        DEADLINE,
    );
    assert!(member.unwrap(PLACE, &blob).is_ok());
    let Site { double, folder } = site;
    drop(double);
    assert!(matches!(trouble(member.unwrap(PLACE, &blob)), BackendError::Unreachable { .. }));
    site = Site { double: Double::start_at(&format!("127.0.0.1:{port}"), identity), folder };
    site.double.lock().key = key;
    assert_eq!(member.unwrap(PLACE, &blob).unwrap().as_slice(), [7; 32]);
}

#[test]
fn refuses_a_server_that_the_authorities_do_not_vouch_for() {
    let site = Site::new();
    let other = anchorhold_channel::tls::SelfSigned::generate(&["localhost".into()]).unwrap();
    let settings =
        TransitSettings { authorities: other.certificate_pem().as_bytes().to_vec(), ..site.settings() };
    let key = TransitKey::new(settings).unwrap();
    assert!(matches!(key.version(), Err(BackendError::Unreachable { .. })));
    // The right authority, another name.
    let port = site.double.url.rsplit_once(':').unwrap().1;
    let target = format!("https://[::1]:{port}").parse().unwrap();
    let key = TransitKey::new(TransitSettings { target, ..site.settings() }).unwrap();
    assert!(matches!(key.version(), Err(BackendError::Unreachable { .. })));
    assert_eq!(site.double.asked(), Vec::<String>::new());
    let none = TransitSettings { authorities: b"nothing".to_vec(), ..site.settings() };
    assert!(matches!(TransitKey::new(none), Err(BackendError::Garbage { .. })));
}

#[test]
fn case_12_every_fault_of_the_engine_is_trouble_and_passes() {
    let site = Site::new();
    let member = site.member();
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    for (fault, wanted) in [
        (Fault::Sealed, BackendError::Locked),
        (Fault::Html, BackendError::Garbage { wanted: "a plaintext of the transit engine" }),
        (Fault::Partial, BackendError::Garbage { wanted: "a plaintext of the transit engine" }),
        (Fault::Truncated, BackendError::Garbage { wanted: "a plaintext of the transit engine" }),
        (Fault::Endless, BackendError::Garbage { wanted: "short" }),
        (Fault::Redirect, BackendError::Status { observed: 307 }),
        (Fault::Internal, BackendError::Status { observed: 500 }),
        (Fault::Quota, BackendError::Status { observed: 429 }),
    ] {
        site.double.misbehave(Some(fault));
        assert_eq!(trouble(member.unwrap(PLACE, &blob)), wanted, "{fault:?}");
        assert!(matches!(member.wrap(PLACE, &[7; 32]), Err(KekError::Backend { .. })), "{fault:?}");
        assert!(matches!(member.health(), Err(KekError::Backend { .. })), "{fault:?}");
        site.double.misbehave(None);
        assert_eq!(member.unwrap(PLACE, &blob).unwrap().as_slice(), [7; 32], "{fault:?}");
    }
}

#[test]
fn case_12_another_secret_is_caught_and_a_lost_one_is_never_stored() {
    let site = Site::new();
    let member = site.member();
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    let kek = "bao-1".parse().unwrap();
    site.double.misbehave(Some(Fault::OtherSecret));
    assert_eq!(member.unwrap(PLACE, &blob), Err(KekError::Commitment { kek }));
    assert!(member.wrap(PLACE, &[7; 32]).is_err());
    site.double.misbehave(Some(Fault::Lost));
    assert!(matches!(member.wrap(PLACE, &[7; 32]), Err(KekError::Open { .. })));
}

#[test]
fn case_12_a_hanging_engine_costs_its_deadline_and_no_more() {
    let site = Site::new();
    let patient = site.member();
    let blob = patient.wrap(PLACE, &[7; 32]).unwrap();
    let short = Duration::from_millis(50);
    let settings = TransitSettings { deadline: short, ..site.settings() };
    let key = Arc::new(TransitKey::new(settings).unwrap());
    let hasty = Member::remote("bao-1".parse().unwrap(), key, DEADLINE);
    assert_eq!(hasty.health(), Ok(1));
    site.double.misbehave(Some(Fault::Hang));
    assert_eq!(trouble(hasty.unwrap(PLACE, &blob)), BackendError::Timeout { within: short });
    site.double.misbehave(None);
    assert!(hasty.unwrap(PLACE, &blob).is_ok());
}

#[test]
fn case_12_an_old_version_is_trouble_and_says_so() {
    let site = Site::new();
    let key = site.key();
    let member = Member::remote("bao-1".parse().unwrap(), key.clone(), DEADLINE);
    let old = member.wrap(PLACE, &[7; 32]).unwrap();
    assert_eq!(key.rotate(), Ok(2));
    let new = member.wrap(PLACE, &[7; 32]).unwrap();
    assert_eq!((old.sealed().version, new.sealed().version), (1, 2));
    assert!(member.unwrap(PLACE, &old).is_ok());
    assert_eq!(key.destroy(Destroy::VersionsBelow(3)), Err(BackendError::Version { observed: 3 }));
    key.destroy(Destroy::VersionsBelow(2)).unwrap();
    assert_eq!(trouble(member.unwrap(PLACE, &old)), BackendError::Version { observed: 1 });
    assert!(member.unwrap(PLACE, &new).is_ok());
    {
        let inner = site.double.lock();
        let key = inner.key.as_ref().unwrap();
        assert_eq!(key.state["min_available_version"], 2, "trimmed, not only disallowed");
    }
    // Once more, as after a cut.
    key.destroy(Destroy::VersionsBelow(2)).unwrap();
    let future = Blob::parse(&{
        let mut bytes = new.to_bytes();
        let at = bytes.windows(8).position(|part| part == b"vault:v2").unwrap();
        bytes[at + 7] = b'9';
        bytes[13] = 9;
        bytes
    });
    assert_eq!(trouble(member.unwrap(PLACE, &future.unwrap())), BackendError::Version { observed: 9 });
}

#[test]
fn case_26_rewrapping_within_the_engine_shows_no_secret_to_the_network_first() {
    let site = Site::new();
    let key = site.key();
    let ring = Keyring::new(Member::remote("bao-1".parse().unwrap(), key.clone(), DEADLINE));
    let old = ring.wrap(PLACE, &[7; 32]).unwrap();
    let target = ring.target().unwrap();
    assert_eq!(target, Target { kek: "bao-1".parse().unwrap(), version: 1 });
    assert_eq!(ring.rewrap(&target, PLACE, &old), Ok(None));
    key.rotate().unwrap();
    let target = ring.target().unwrap();
    assert_eq!(target.version, 2);
    let _ = site.double.asked();
    let new = ring.rewrap(&target, PLACE, &old).unwrap().unwrap();
    assert_eq!(site.double.asked(), ["POST /v1/transit/rewrap/kek", "POST /v1/transit/decrypt/kek"]);
    assert_eq!(Blob::parse(&new).unwrap().sealed().version, 2);
    assert_eq!(ring.rewrap(&target, PLACE, &new), Ok(None));
    assert_eq!(ring.unwrap(PLACE, &new).unwrap().as_slice(), [7; 32]);
    site.double.misbehave(Some(Fault::Lost));
    assert!(ring.rewrap(&target, PLACE, &old).is_err(), "what nothing opens is not taken");
}

#[test]
fn a_destroyed_key_opens_nothing() {
    let site = Site::new();
    let key = site.key();
    let member = Member::remote("bao-1".parse().unwrap(), key.clone(), DEADLINE);
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    site.double.lock().may_administer = false;
    assert!(matches!(key.destroy(Destroy::Key), Err(BackendError::Denied { .. })));
    assert!(matches!(key.rotate(), Err(BackendError::Denied { .. })));
    assert!(member.unwrap(PLACE, &blob).is_ok());
    site.double.lock().may_administer = true;
    key.destroy(Destroy::Key).unwrap();
    assert_eq!(key.destroy(Destroy::Key), Ok(()));
    assert!(matches!(trouble(member.unwrap(PLACE, &blob)), BackendError::Missing { .. }));
}

#[test]
fn refuses_a_key_that_is_not_fit_before_anything_is_wrapped() {
    let site = Site::new();
    site.double.lock().key.as_mut().unwrap().state["exportable"] = true.into();
    let refused = trouble(site.member().wrap(PLACE, &[7; 32]));
    assert!(matches!(refused, BackendError::Unfit { .. }), "{refused:?}");
    let asked = site.double.asked();
    assert!(asked.iter().all(|asked| !asked.contains("encrypt")), "{asked:?}");
}

#[test]
fn a_token_that_was_replaced_is_read_again() {
    let site = Site::new();
    let member = site.member();
    let blob = member.wrap(PLACE, &[7; 32]).unwrap();
    "s.other".clone_into(&mut site.double.lock().token);
    assert!(matches!(trouble(member.unwrap(PLACE, &blob)), BackendError::Denied { .. }));
    write_secret(&site.token_file(), "s.other");
    assert!(member.unwrap(PLACE, &blob).is_ok());
    std::fs::remove_file(site.token_file()).unwrap();
    assert!(member.unwrap(PLACE, &blob).is_ok(), "as long as the token that was read is good");
    "s.third".clone_into(&mut site.double.lock().token);
    assert_eq!(trouble(member.unwrap(PLACE, &blob)), BackendError::Missing { what: "token file" });
}

#[test]
fn refuses_token_files_that_others_can_read_and_that_hold_none() {
    let site = Site::new();
    let version = || site.key().version();
    std::fs::set_permissions(site.token_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(version(), Err(BackendError::Denied { what: "a token file that others can read" }));
    for bad in ["", "\n", "a\nb", "a\0b"] {
        write_secret(&site.token_file(), bad);
        assert_eq!(version(), Err(BackendError::Garbage { wanted: "a token" }), "{bad:?}");
    }
    write_secret(&site.token_file(), &"x".repeat(4097));
    assert!(version().is_err());
    assert_eq!(site.double.asked(), Vec::<String>::new());
}

#[test]
fn a_token_is_renewed_in_time_and_not_before() {
    let site = Site::new();
    let key = site.key();
    key.version().unwrap();
    key.upkeep().unwrap();
    assert!(!site.double.asked().iter().any(|asked| asked.contains("renew")));
    // A lease so short that it is due at once.
    site.double.lock().token_ttl_s = 1;
    let short = site.key();
    short.version().unwrap();
    let _ = site.double.asked();
    let until = Instant::now() + Duration::from_secs(20);
    while !site.double.asked().iter().any(|asked| asked == "POST /v1/auth/token/renew-self") {
        assert!(Instant::now() < until);
        short.upkeep().unwrap();
    }
}
