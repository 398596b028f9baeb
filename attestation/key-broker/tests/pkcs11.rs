//! Keys in a real PKCS#11 module: SoftHSM2, each test with a token and a process of its own.
//!
//! A module reads its settings from the environment once for a process, so each test runs itself again with them set.
#![cfg(feature = "pkcs11")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

#[path = "common/softhsm.rs"]
mod softhsm;

use anchorhold_key_broker::kek::pkcs11::{TokenKey, TokenSettings};
use anchorhold_key_broker::kek::{Backend as _, BackendError, Blob, Destroy, KekError, Member, Place};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const FOLDER: &str = "ANCHORHOLD_TEST_TOKEN_FOLDER";
const PLACE: Place<'static> = Place { kind: "weights key", name: b"acme/chat" };

/// A token of this test's own.
struct Token {
    folder: PathBuf,
    module: PathBuf,
}

/// Runs `test` in a process of its own, with a fresh token. `name` is that of the test function.
fn with_token(name: &str, test: impl FnOnce(&Token)) {
    let Some(module) = softhsm::module(name) else { return };
    if let Some(folder) = std::env::var_os(FOLDER) {
        return test(&Token { folder: folder.into(), module });
    }
    let folder = tempfile::tempdir().unwrap();
    let conf = softhsm::make_token(folder.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Token {
    fn settings(&self, key: &str) -> TokenSettings {
        TokenSettings {
            module: self.module.clone(),
            token: softhsm::LABEL.to_owned(),
            key: key.to_owned(),
            pin_file: self.folder.join("pin"),
        }
    }

    fn created(&self, key: &str) -> Arc<TokenKey> {
        let token = TokenKey::new(self.settings(key));
        token.create().unwrap();
        Arc::new(token)
    }

    /// The module as another user of it in this process.
    fn module(&self) -> Pkcs11 {
        let module = Pkcs11::new(&self.module).unwrap();
        let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        module
    }

    fn session(&self) -> Session {
        let module = self.module();
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        let session = module.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::from(softhsm::PIN)));
        session
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }
}

fn member(key: &str, token: &Arc<TokenKey>) -> Member {
    Member::remote(key.parse().unwrap(), token.clone(), Duration::from_secs(20))
}

#[test]
fn a_secret_opens_under_its_key_in_its_place_alone() {
    with_token("a_secret_opens_under_its_key_in_its_place_alone", |token| {
        let (one, two) = (token.created("kek-1"), token.created("kek-2"));
        let blob = member("kek-1", &one).wrap(PLACE, &[7; 32]).unwrap();
        assert_eq!(blob.sealed().bytes.len(), 12 + 32 + 16);
        // Another process would find the key again.
        let again = Arc::new(TokenKey::new(token.settings("kek-1")));
        assert_eq!(member("kek-1", &again).unwrap(PLACE, &blob).unwrap().as_slice(), [7; 32]);
        let refused = Err(KekError::Open { kek: "kek-1".parse().unwrap() });
        let elsewhere = Place { name: b"acme/chas", ..PLACE };
        assert_eq!(member("kek-1", &one).unwrap(elsewhere, &blob), refused);
        // The wrong key of the same name.
        assert_eq!(member("kek-1", &two).unwrap(PLACE, &blob), refused);
        let bytes = blob.to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Ok(changed) = Blob::parse(&changed) {
                assert!(member("kek-1", &one).unwrap(PLACE, &changed).is_err(), "{at}");
            }
        }
        for end in 48..bytes.len() {
            let short = Blob::parse(&bytes[..end]).unwrap();
            assert_eq!(member("kek-1", &one).unwrap(PLACE, &short), refused, "{end}");
        }
        assert_eq!(member("kek-1", &one).health(), Ok(1));
    });
}

#[test]
fn a_key_that_is_made_here_cannot_be_read_out() {
    with_token("a_key_that_is_made_here_cannot_be_read_out", |token| {
        let key = token.created("kek-1");
        let session = token.session();
        let found = session.find_objects(&[Attribute::Label(b"kek-1".to_vec())]).unwrap();
        let value = session.get_attributes(found[0], &[cryptoki::object::AttributeType::Value]);
        assert!(value.is_ok_and(|values| values.is_empty()), "the value is kept back");
        assert_eq!(key.create(), Err(BackendError::Unfit { wanted: "the first of its label in the token" }));
    });
}

#[test]
fn refuses_keys_that_could_leave_the_token() {
    with_token("refuses_keys_that_could_leave_the_token", |token| {
        let session = token.session();
        let good = || {
            vec![
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen(32.into()),
                Attribute::Token(true),
                Attribute::Private(true),
            ]
        };
        let cases: [(&str, Vec<Attribute>, &str); 6] = [
            (
                "extractable",
                vec![Attribute::Sensitive(true), Attribute::Extractable(true)],
                "kept in the token (CKA_EXTRACTABLE false)",
            ),
            (
                "open",
                vec![Attribute::Sensitive(false), Attribute::Extractable(false)],
                "sensitive (CKA_SENSITIVE)",
            ),
            (
                "no-encrypt",
                vec![Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Encrypt(false)],
                "for encryption (CKA_ENCRYPT)",
            ),
            (
                "no-decrypt",
                vec![Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Decrypt(false)],
                "for decryption (CKA_DECRYPT)",
            ),
            (
                "short",
                vec![
                    Attribute::Sensitive(true),
                    Attribute::Extractable(false),
                    Attribute::ValueLen(16.into()),
                ],
                "of 256 bits",
            ),
            ("good", vec![Attribute::Sensitive(true), Attribute::Extractable(false)], ""),
        ];
        for (label, special, wanted) in cases {
            let mut template = good();
            template.retain(|attribute| {
                !special.iter().any(|other| other.attribute_type() == attribute.attribute_type())
            });
            template.extend(special);
            template.push(Attribute::Label(label.as_bytes().to_vec()));
            session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            let observed = TokenKey::new(token.settings(label)).version();
            if wanted.is_empty() {
                assert_eq!(observed, Ok(1), "{label}");
            } else {
                assert_eq!(observed, Err(BackendError::Unfit { wanted }), "{label}");
            }
        }
    });
}

#[test]
fn refuses_a_key_that_was_outside_once_whatever_it_says_now() {
    with_token("refuses_a_key_that_was_outside_once_whatever_it_says_now", |token| {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Value(vec![1; 32]),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Label(b"imported".to_vec()),
        ];
        token.session().create_object(&template).unwrap();
        let observed = TokenKey::new(token.settings("imported")).version();
        assert!(matches!(observed, Err(BackendError::Unfit { .. })), "{observed:?}");
    });
}

#[test]
fn refuses_one_label_on_two_keys_and_a_label_on_none() {
    with_token("refuses_one_label_on_two_keys_and_a_label_on_none", |token| {
        token.created("kek-1");
        let session = token.session();
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            Attribute::Label(b"kek-1".to_vec()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
        let twice = TokenKey::new(token.settings("kek-1")).version();
        assert_eq!(twice, Err(BackendError::Unfit { wanted: "the only one of its label in the token" }));
        let none = TokenKey::new(token.settings("kek-2")).version();
        assert!(matches!(none, Err(BackendError::Missing { .. })), "{none:?}");
        let other = TokenSettings { token: "other".to_owned(), ..token.settings("kek-1") };
        assert_eq!(
            TokenKey::new(other).version(),
            Err(BackendError::Missing { what: "token of that label" })
        );
        let other = TokenSettings { module: "/nowhere.so".into(), ..token.settings("kek-1") };
        assert!(matches!(TokenKey::new(other).version(), Err(BackendError::Missing { .. })));
        // A library that is no PKCS#11 module.
        let other = TokenSettings { module: std::env::current_exe().unwrap(), ..token.settings("kek-1") };
        assert!(TokenKey::new(other).version().is_err());
    });
}

#[test]
fn a_refused_pin_is_not_tried_again_until_its_file_changes() {
    with_token("a_refused_pin_is_not_tried_again_until_its_file_changes", |token| {
        token.created("kek-1");
        // The login is the process's, and ends with its last session.
        let key = TokenKey::new(token.settings("kek-1"));
        std::fs::write(token.folder.join("pin"), "000000").unwrap();
        let refused = || matches!(key.version(), Err(BackendError::Denied { .. }));
        assert!(refused());
        let until = std::time::Instant::now() + Duration::from_secs(30);
        std::fs::write(token.folder.join("pin"), softhsm::PIN).unwrap();
        // The wait between two tries has to pass.
        while refused() {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
        assert_eq!(key.version(), Ok(1));
        std::fs::set_permissions(token.folder.join("pin"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = BackendError::Denied { what: "a PIN file that others can read" };
        assert_eq!(TokenKey::new(token.settings("kek-1")).version(), Err(open));
    });
}

#[test]
fn case_12_a_lost_login_is_renewed_within_the_call() {
    with_token("case_12_a_lost_login_is_renewed_within_the_call", |token| {
        let key = token.created("kek-1");
        let member = member("kek-1", &key);
        let blob = member.wrap(PLACE, &[7; 32]).unwrap();
        for _ in 0..3 {
            // Ends the login of every session of the process.
            token.session().logout().unwrap();
            assert_eq!(member.unwrap(PLACE, &blob).unwrap().as_slice(), [7; 32]);
        }
    });
}

/// Asks until the key answers again. Until then every answer has to be trouble.
fn until_it_works(member: &Member, blob: &Blob) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match member.unwrap(PLACE, blob) {
            Ok(plain) => return assert_eq!(plain.as_slice(), [7; 32]),
            Err(error) => {
                assert!(matches!(error, KekError::Backend { .. }), "{error:?}");
                assert!(std::time::Instant::now() < until, "{error:?}");
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn case_12_a_module_that_was_reset_is_set_up_again() {
    with_token("case_12_a_module_that_was_reset_is_set_up_again", |token| {
        let key = token.created("kek-1");
        let member = member("kek-1", &key);
        let blob = member.wrap(PLACE, &[7; 32]).unwrap();
        // Ends every session of the process, and the module's own state.
        token.module().finalize().unwrap();
        until_it_works(&member, &blob);
    });
}

fn moved(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

#[test]
fn case_12_a_token_that_is_gone_is_trouble_and_works_again_when_it_is_back() {
    with_token("case_12_a_token_that_is_gone_is_trouble_and_works_again_when_it_is_back", |token| {
        let key = token.created("kek-1");
        let member = member("kek-1", &key);
        let blob = member.wrap(PLACE, &[7; 32]).unwrap();
        let away = token.folder.join("away");
        moved(&token.tokens(), &away);
        let gone = member.unwrap(PLACE, &blob);
        assert!(matches!(gone, Err(KekError::Backend { .. })), "{gone:?}");
        moved(&away, &token.tokens());
        until_it_works(&member, &blob);
    });
}

#[test]
fn a_destroyed_key_opens_nothing_and_is_destroyed_once() {
    with_token("a_destroyed_key_opens_nothing_and_is_destroyed_once", |token| {
        let key = token.created("kek-1");
        let member = member("kek-1", &key);
        let blob = member.wrap(PLACE, &[7; 32]).unwrap();
        assert!(matches!(key.destroy(Destroy::VersionsBelow(1)), Err(BackendError::Unsupported { .. })));
        key.destroy(Destroy::Key).unwrap();
        assert!(matches!(member.unwrap(PLACE, &blob), Err(KekError::Backend { .. })));
        let session = token.session();
        assert!(session.find_objects(&[Attribute::Label(b"kek-1".to_vec())]).unwrap().is_empty());
        // An earlier attempt may have been cut off after the end.
        let again = TokenKey::new(token.settings("kek-1"));
        assert_eq!(again.destroy(Destroy::Key), Ok(()));
    });
}

#[test]
fn many_threads_use_one_key() {
    with_token("many_threads_use_one_key", |token| {
        let key = token.created("kek-1");
        let member = member("kek-1", &key);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let member = &member;
                scope.spawn(move || {
                    for round in 0..20_u8 {
                        let secret = [thread ^ round; 32];
                        let blob = member.wrap(PLACE, &secret).unwrap();
                        assert_eq!(member.unwrap(PLACE, &blob).unwrap().as_slice(), secret);
                    }
                });
            }
        });
    });
}
