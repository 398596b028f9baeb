//! `owner` and `simulated-root`.

use crate::support::{Folder, run};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_sealed_weights::OwnerKey;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[test]
fn a_new_key_is_private_and_shows_the_same_public_half() {
    let folder = Folder::new();
    let file = folder.path("owner.key");
    let made = run(["owner", "new", &file]);
    made.expect(0, "");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(["owner", "show", &file]).out, made.out);
    let key = OwnerKey::from_pkcs8(&std::fs::read(&file).unwrap()).unwrap();
    let hex: String = key.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(made.out, format!("{hex}\n"));
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = Folder::new();
    let file = folder.write("owner.key", "precious");
    run(["owner", "new", &file]).expect(1, "anchorhold: error: cannot create");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn refuses_a_key_that_others_may_read_and_what_is_no_key() {
    let folder = Folder::new();
    let file = folder.path("owner.key");
    run(["owner", "new", &file]).expect(0, "");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    run(["owner", "show", &file]).expect(1, "may be read by others (mode 640, wanted 600)\nhint: chmod 600");
    let other = folder.write("other.key", "no key");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    run(["owner", "show", &other]).expect(1, "not an Ed25519 key");
    run(["owner", "show", &folder.path("missing")]).expect(1, "cannot open");
}

#[test]
fn a_directory_is_no_key_and_its_mode_is_left_alone() {
    let folder = Folder::new();
    let key = folder.write("dir/key", "");
    let dir = Path::new(&key).parent().unwrap();
    for mode in [0o755, 0o700] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = run(["owner", "show", dir.to_str().unwrap()]);
        ran.expect(1, "dir is a directory");
        assert!(!ran.err.contains("chmod"), "{}", ran.err);
    }
}

#[test]
fn the_simulated_root_is_the_software_guests_and_comes_with_a_warning() {
    let folder = Folder::new();
    let root = folder.simulated_root();
    assert_eq!(std::fs::read(&root).unwrap(), simulated_ark_der());
    run(["simulated-root", &root]).expect(1, "cannot create");
}
