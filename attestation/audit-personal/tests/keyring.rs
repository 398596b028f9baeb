//! A part is sealed by a guest, opened by the recipient alone, and by nobody once its key is destroyed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use anchorhold_audit_log::{
    BootId, Entry, Event, EventType, Finish, Hex, Outcome, Request, RequestId, Route, Sealed, Stamp,
    encode_entry,
};
use anchorhold_audit_personal::{
    CallerKey, KeyFile, KeyFileError, Keyring, KeyringError, MAX_KEY_FILE_BYTES, OpenedKey, Period,
    PersonalPart, RecipientKey, SubjectKey,
};
use anchorhold_rats::Kem;
use std::path::Path;

const BOOT: BootId = BootId::new([7; 16]);

fn part() -> PersonalPart {
    let key = CallerKey { id: Hex::new([0xab; 6]), label: Some("front desk".parse().unwrap()) };
    PersonalPart { address: Some("192.0.2.7".parse().unwrap()), key: Some(key) }
}

fn subject_key() -> SubjectKey {
    SubjectKey::generate(BOOT, "clinic/abababababab".parse().unwrap(), Period(228)).unwrap()
}

fn entry(sealed: Sealed, boot: BootId, rid: &str) -> Entry {
    let mut event = Event::new(EventType::InferComplete, Outcome::Success, Stamp { wall_ns: 1, mono_ns: 1 });
    event.sealed = Some(sealed);
    event.request = Some(Request {
        finish: Some(Finish::Stop),
        ms: 1,
        receipt: None,
        rid: RequestId::new(rid).unwrap(),
        route: Route::ChatCompletions,
        status: Some(200),
        stream: false,
        tin: 1,
        tout: 1,
        ttft_ms: None,
    });
    Entry::from_bytes(&encode_entry(&event, 4, boot).unwrap()).unwrap()
}

#[test]
fn the_recipient_opens_what_a_guest_sealed_and_nobody_else_does() {
    for kem in Kem::ALL {
        let (recipient, other) = (RecipientKey::generate(kem).unwrap(), RecipientKey::generate(kem).unwrap());
        let mut key = subject_key();
        let file = key.to_file(recipient.public_key()).unwrap();
        let file = KeyFile::from_bytes(&file.to_bytes()).unwrap();
        assert!(file.to_bytes().len() <= MAX_KEY_FILE_BYTES);
        assert!(OpenedKey::open(&file, &other).is_err());
        let opened = OpenedKey::open(&file, &recipient).unwrap();
        assert_eq!((opened.kid(), opened.period()), (key.kid(), Period(228)));
        assert_eq!(opened.subject().to_string(), "clinic/abababababab");
        let sealed = key.seal(&part(), &RequestId::new("r1").unwrap()).unwrap();
        assert_eq!(opened.open_part(&entry(sealed, BOOT, "r1")), Some(part()));
    }
}

#[test]
fn a_part_opens_in_its_own_entry_alone() {
    let recipient = RecipientKey::generate(Kem::X25519).unwrap();
    let (mut key, mut other) = (subject_key(), subject_key());
    let opened = OpenedKey::open(&key.to_file(recipient.public_key()).unwrap(), &recipient).unwrap();
    let rid = RequestId::new("r1").unwrap();
    let sealed = key.seal(&part(), &rid).unwrap();
    assert!(opened.open_part(&entry(sealed.clone(), BOOT, "r1")).is_some());
    assert_eq!(opened.open_part(&entry(sealed.clone(), BOOT, "r2")), None, "another request");
    assert_eq!(opened.open_part(&entry(sealed.clone(), BootId::new([8; 16]), "r1")), None, "another boot");
    assert_eq!(opened.open_part(&entry(other.seal(&part(), &rid).unwrap(), BOOT, "r1")), None, "another key");
    let mut moved = sealed;
    moved.n = Hex::new([9; 12]);
    assert_eq!(opened.open_part(&entry(moved, BOOT, "r1")), None, "another nonce");
}

#[test]
fn a_changed_file_of_a_key_is_refused_or_opens_nothing() {
    let recipient = RecipientKey::generate(Kem::X25519).unwrap();
    let file = subject_key().to_file(recipient.public_key()).unwrap();
    let bytes = file.to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let opened = KeyFile::from_bytes(&changed).map(|file| OpenedKey::open(&file, &recipient));
        assert!(!matches!(opened, Ok(Ok(_))), "byte {at}");
    }
    let spaced = [b" ".as_slice(), &bytes].concat();
    for wrong in [spaced, bytes[..bytes.len() - 1].to_vec(), vec![b' '; MAX_KEY_FILE_BYTES + 1], Vec::new()] {
        assert_eq!(KeyFile::from_bytes(&wrong), Err(KeyFileError));
    }
}

fn files_with(folder: &Path, wanted: &[u8]) -> usize {
    let files = std::fs::read_dir(folder).unwrap();
    let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    bytes.filter(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted)).count()
}

#[test]
fn case_37_a_destroyed_key_is_in_no_file_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Keyring::create(&folder.path().join("personal")).unwrap();
    let recipient = RecipientKey::generate(Kem::X25519).unwrap();
    let [gone, stays] =
        [subject_key(), subject_key()].map(|key| key.to_file(recipient.public_key()).unwrap());
    ring.put(&gone).unwrap();
    ring.put(&stays).unwrap();
    let text = gone.to_bytes();
    assert_eq!(files_with(ring.path(), &text), 1);
    // A hard link stands for whoever still has the old file open: it is overwritten, not only unlinked.
    let linked = folder.path().join("linked");
    std::fs::hard_link(ring.path().join(format!("{}.key", gone.kid())), &linked).unwrap();
    assert!(ring.destroy(gone.kid()).unwrap());
    assert_eq!(std::fs::read(&linked).unwrap(), vec![0; text.len()]);
    assert_eq!(files_with(ring.path(), &text), 0);
    assert_eq!(ring.get(gone.kid()).unwrap(), None);
    assert_eq!(ring.kids().unwrap(), [stays.kid()]);
    assert_eq!(ring.get(stays.kid()).unwrap(), Some(stays));
    assert!(!ring.destroy(gone.kid()).unwrap(), "a second time there is nothing");
}

#[test]
fn a_file_under_another_keys_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Keyring::create(folder.path()).unwrap();
    let recipient = RecipientKey::generate(Kem::X25519).unwrap();
    let file = subject_key().to_file(recipient.public_key()).unwrap();
    ring.put(&file).unwrap();
    let other = Hex::new([1; 16]);
    let place = |kid| folder.path().join(format!("{kid}.key"));
    std::fs::copy(place(file.kid()), place(other)).unwrap();
    assert!(matches!(ring.get(other), Err(KeyringError::Malformed { .. })));
    std::fs::remove_file(place(other)).unwrap();
    std::os::unix::fs::symlink(place(file.kid()), place(other)).unwrap();
    assert!(matches!(ring.get(other), Err(KeyringError::Malformed { .. })), "links are not followed");
}
