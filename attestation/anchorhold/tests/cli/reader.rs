//! `audit reader`, and `audit export` of a log that is encrypted on its disk.

use crate::support::{Folder, run};
use anchorhold_audit_log::{Beginning, BootId, Log, Origin, Signer, Stamp, StorageKey};
use anchorhold_log_key::{KeyCopies, ReaderKey};
use anchorhold_rats::{Secret, WrappingKey};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A log whose key these readers have; gives back its folder.
fn log(folder: &Folder, name: &str, readers: &[&str]) -> String {
    let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
    let signer = Signer::from_seed(Origin::new("acme/1").unwrap(), &[5; 32]).unwrap();
    let (key, mut bytes) = StorageKey::generate().unwrap();
    let readers: Vec<WrappingKey> = readers.iter().map(|reader| reader.trim().parse().unwrap()).collect();
    let copies = match readers.as_slice() {
        [] => Vec::new(),
        readers => KeyCopies::seal(&Secret::take(&mut bytes), "acme/1", readers).unwrap().to_json(),
    };
    let path = folder.path(name);
    let beginning = Beginning::new(signer, BootId::new([6; 16]), at).encrypted(key, copies);
    Log::begin(Path::new(&path), beginning).unwrap().close(at).unwrap();
    path
}

fn new_reader(folder: &Folder, name: &str, more: &[&str]) -> (String, String) {
    let file = folder.path(name);
    let ran = run(["audit", "reader", "new", &file].iter().chain(more));
    ran.expect(0, "");
    (file, ran.out)
}

#[test]
fn a_reader_exports_the_log_that_a_guest_left() {
    let folder = Folder::new();
    let (key, public) = new_reader(&folder, "reader.key", &[]);
    let (hybrid, its_public) = new_reader(&folder, "hybrid.key", &["--kem", "x-wing"]);
    assert!(public.starts_with("x25519:") && its_public.starts_with("x-wing:"));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = run(["audit", "reader", "show", &key]);
    shown.expect(0, "");
    assert_eq!(shown.out, public);
    let log = log(&folder, "log", &[&public, &its_public]);
    for (key, out) in [(&key, "one.tar"), (&hybrid, "two.tar")] {
        let out = folder.path(out);
        run(["audit", "export", "--log", &log, "--reader-key", key, "--out", &out]).expect(0, "");
        let audit_key = std::fs::read_to_string(Path::new(&log).join("key.vkey")).unwrap();
        run(["audit", "verify", &out, "--log-only", "--audit-key", audit_key.trim()]).expect(0, "");
    }
}

#[test]
fn what_is_missing_or_wrong_with_a_readers_key_is_said() {
    let folder = Folder::new();
    let (key, public) = new_reader(&folder, "reader.key", &[]);
    let (other, _) = new_reader(&folder, "other.key", &[]);
    let out = folder.path("bundle.tar");
    let export = |log: &str, key: &[&str]| {
        let words = ["audit", "export", "--log", log, "--out", &out];
        run(words.iter().chain(key))
    };
    let read = log(&folder, "log", &[&public]);
    let ran = export(&read, &[]);
    ran.expect(1, "entries are encrypted");
    assert!(ran.err.contains("--reader-key"), "{}", ran.err);
    export(&read, &["--reader-key", &other]).expect(1, "given to 1 readers, and this key is none of theirs");
    let unread = log(&folder, "unread", &[]);
    export(&unread, &["--reader-key", &key]).expect(1, "given to no reader");
    // The copies of another log, which the same reader opens.
    let swapped = log(&folder, "swapped", &[&public]);
    let copies = |log: &str| Path::new(log).join("storage-key.json");
    std::fs::copy(copies(&read), copies(&swapped)).unwrap();
    export(&swapped, &["--reader-key", &key]).expect(1, "the key is not that of this log");
    std::fs::write(copies(&swapped), "{}").unwrap();
    export(&swapped, &["--reader-key", &key]).expect(1, "malformed");
    let text = folder.write("text.key", "no key\n");
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    export(&read, &["--reader-key", &text]).expect(1, "not a log reader's private key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    export(&read, &["--reader-key", &key]).expect(1, "may be read by others");
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_readers_key_is_made_once_and_of_a_known_kind() {
    let folder = Folder::new();
    let (key, public) = new_reader(&folder, "reader.key", &[]);
    run(["audit", "reader", "new", &key]).expect(1, "cannot create");
    let text = std::fs::read_to_string(&key).unwrap();
    assert_eq!(ReaderKey::from_text(&text).unwrap().public_key().to_string(), public.trim());
    run(["audit", "reader", "new", &folder.path("more.key"), "--kem", "rsa"]).expect(2, "x25519 or x-wing");
}
