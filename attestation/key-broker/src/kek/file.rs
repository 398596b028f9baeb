//! A key-encryption key in a file, sealed under a credential.
//!
//! The sealed file lies in the state folder. What opens it is the *credential*, a file of 32 random bytes that belongs
//! elsewhere: systemd decrypts one into memory from a file bound to the machine's TPM (`LoadCredentialEncrypted=`), and
//! the folder `$CREDENTIALS_DIRECTORY` is what the settings then name. A copy of the state folder, a backup for
//! instance, opens nothing without it. Where no other place is named the credential lies beside the sealed file, and
//! whoever reads the folder has the key.
//!
//! A lost credential or sealed file is made good from [shares](super::share).

use super::share::key_place;
use super::{Backend, BackendError, Blob, Context, Destroy, KekError, KekId, LocalKey, Member, Sealed};
use anchorhold_rats::Secret;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
/// More than the longest sealed file.
const MAX_SEALED_FILE_BYTES: usize = 256;
/// The name, in a sealed file, of what it is sealed under.
const CREDENTIAL: &str = "credential";

/// Why a key file was not made or not opened.
#[derive(Debug)]
pub enum FileError {
    /// The file system.
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Others than the owner may read it.
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It has not the length of what it should hold.
    Length {
        /// The file.
        path: PathBuf,
    },
    /// It does not open under this credential.
    Sealed {
        /// The sealed file.
        path: PathBuf,
        /// Why.
        error: KekError,
    },
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Open { path } => write!(f, "{} is open to others than its owner", path.display()),
            Self::Length { path } => write!(f, "{} has another length than it should", path.display()),
            Self::Sealed { path, error } => write!(f, "{} does not open: {error}", path.display()),
            Self::Random => f.write_str("the system's random generator gave nothing"),
        }
    }
}

impl std::error::Error for FileError {}

/// The two files of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The key, sealed.
    pub sealed: PathBuf,
    /// What opens it: 32 bytes.
    pub credential: PathBuf,
}

/// A key-encryption key that was read from its files.
pub struct FileKey {
    key: LocalKey,
    files: KeyFiles,
}

impl FileKey {
    /// Makes a key and its sealed file, and a credential if there is none at its path. Returns the key's bytes too, for
    /// its [shares](super::share).
    ///
    /// # Errors
    /// [`FileError`]; a sealed file is never overwritten.
    pub fn create(kek: &KekId, files: KeyFiles) -> Result<(Self, Secret<KEY_BYTES>), FileError> {
        let secret = Secret::random().map_err(|_| FileError::Random)?;
        Ok((Self::write(kek, files, &secret, write_new)?, secret))
    }

    /// Writes the sealed file of a key that is known, over what is there of it, and a credential if there is none at its
    /// path.
    ///
    /// # Errors
    /// [`FileError`]; what was there stays then.
    pub fn recover(kek: &KekId, files: KeyFiles, secret: &Secret<KEY_BYTES>) -> Result<Self, FileError> {
        Self::write(kek, files, secret, write_over)
    }

    fn write(
        kek: &KekId,
        files: KeyFiles,
        secret: &Secret<KEY_BYTES>,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), FileError>,
    ) -> Result<Self, FileError> {
        let credential = match read_secret(&files.credential) {
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let fresh: Secret<KEY_BYTES> = Secret::random().map_err(|_| FileError::Random)?;
                write_new(&files.credential, fresh.expose())?;
                fresh
            }
            outcome => outcome?,
        };
        let sealed = sealer(&credential).wrap(key_place(kek), secret.expose());
        let sealed = sealed.map_err(|error| FileError::Sealed { path: files.sealed.clone(), error })?;
        write(&files.sealed, &sealed.to_bytes())?;
        Ok(Self { key: LocalKey::new(secret), files })
    }

    /// Reads the key. Establishes that it is the one that was sealed for this id.
    ///
    /// # Errors
    /// [`FileError`]; a file that others may read is refused.
    pub fn open(kek: &KekId, files: KeyFiles) -> Result<Self, FileError> {
        let credential = read_secret(&files.credential)?;
        let bytes = read(&files.sealed, MAX_SEALED_FILE_BYTES)?;
        let unseal = || -> Result<_, KekError> {
            let plain = sealer(&credential).unwrap(key_place(kek), &Blob::parse(&bytes)?)?;
            Secret::copy_from(&plain).ok_or(KekError::Length)
        };
        match unseal() {
            Ok(secret) => Ok(Self { key: LocalKey::new(&secret), files }),
            Err(error) => Err(FileError::Sealed { path: files.sealed, error }),
        }
    }
}

/// What seals and opens under a credential, with the same commitment and form as every other secret.
fn sealer(credential: &Secret<KEY_BYTES>) -> Member {
    let id = CREDENTIAL.parse().expect("the constant is an id");
    Member::local(id, Arc::new(LocalKey::new(credential)))
}

impl Backend for FileKey {
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError> {
        self.key.wrap(context, plain)
    }

    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.key.unwrap(context, sealed)
    }

    fn version(&self) -> Result<u32, BackendError> {
        self.key.version()
    }

    /// Overwrites and removes the sealed file, and the credential where it lies in the same folder and so is of no
    /// other use. An SSD or a copying file system may keep what was overwritten: there it is the credential, kept
    /// elsewhere and withdrawn, that makes the rest worthless. Shares have to be destroyed by the people who hold them.
    fn destroy(&self, what: Destroy) -> Result<(), BackendError> {
        if what != Destroy::Key {
            return Err(BackendError::Unsupported { what: "versions of a key" });
        }
        let failed = |_| BackendError::Unreachable { what: "way to remove the key's file" };
        if self.files.sealed.parent() == self.files.credential.parent() {
            erase(&self.files.credential).map_err(failed)?;
        }
        erase(&self.files.sealed).map_err(failed)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({})", self.files.sealed.display())
    }
}

/// Reads a file that only its owner may read, of at most `limit_bytes` bytes.
pub(crate) fn read(path: &Path, limit_bytes: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_owned() });
    }
    // Long enough that reading never moves it, which would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit_bytes + 1));
    file.take(limit_bytes as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > limit_bytes {
        return Err(FileError::Length { path: path.to_owned() });
    }
    Ok(bytes)
}

fn read_secret(path: &Path) -> Result<Secret<KEY_BYTES>, FileError> {
    let bytes = read(path, KEY_BYTES)?;
    Secret::copy_from(&bytes).ok_or_else(|| FileError::Length { path: path.to_owned() })
}

/// Writes a file that only its owner may read and that is not there yet; durable when this returns.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_folder_of(path)
    };
    write().map_err(|error| FileError::Io { path: path.to_owned(), error })
}

/// Writes a file that only its owner may read, whole or not at all, over what is there; durable when this returns.
fn write_over(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        // Left by an attempt that was cut off.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => write_new(&fresh, bytes)?,
    }
    fs::rename(&fresh, path).and_then(|()| sync_folder_of(path)).map_err(io)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Overwrites a file with zeros and removes it. One that is gone already is no fault: an earlier attempt may have been cut
/// off.
fn erase(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    io::copy(&mut io::repeat(0).take(file.metadata()?.len()), &mut file)?;
    file.sync_all()?;
    fs::remove_file(path)?;
    sync_folder_of(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kek::Place;

    const PLACE: Place<'static> = Place { kind: "weights key", name: b"acme/chat" };

    fn kek() -> KekId {
        "file-1".parse().unwrap()
    }

    fn files(folder: &Path) -> KeyFiles {
        KeyFiles { sealed: folder.join("sealed"), credential: folder.join("credential") }
    }

    fn member(key: FileKey) -> Member {
        Member::local(kek(), Arc::new(key))
    }

    fn created(folder: &Path) -> Member {
        member(FileKey::create(&kek(), files(folder)).unwrap().0)
    }

    #[test]
    fn a_key_is_read_back_from_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let blob = created(folder.path()).wrap(PLACE, b"secret").unwrap();
        let again = member(FileKey::open(&kek(), files(folder.path())).unwrap());
        assert_eq!(again.unwrap(PLACE, &blob).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn the_sealed_file_alone_does_not_hold_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (_, secret) = FileKey::create(&kek(), files(folder.path())).unwrap();
        let sealed = fs::read(folder.path().join("sealed")).unwrap();
        assert!(!sealed.windows(8).any(|part| secret.expose().windows(8).any(|key| key == part)));
        fs::remove_file(folder.path().join("credential")).unwrap();
        let lost = FileKey::open(&kek(), files(folder.path()));
        assert!(matches!(lost, Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn refuses_another_credential_another_id_and_a_changed_file() {
        let folder = tempfile::tempdir().unwrap();
        created(folder.path());
        let opened = |id: &str| match FileKey::open(&id.parse().unwrap(), files(folder.path())) {
            Err(FileError::Sealed { error, .. }) => Some(error),
            _ => None,
        };
        let refused = Some(KekError::Open { kek: CREDENTIAL.parse().unwrap() });
        assert_eq!(opened("file-2"), refused);
        let sealed = fs::read(folder.path().join("sealed")).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            fs::write(folder.path().join("sealed"), changed).unwrap();
            assert!(opened("file-1").is_some(), "{at}");
        }
        fs::write(folder.path().join("sealed"), &sealed).unwrap();
        assert_eq!(opened("file-1"), None);
        fs::write(folder.path().join("credential"), [7; 32]).unwrap();
        assert_eq!(opened("file-1"), refused);
    }

    #[test]
    fn refuses_files_that_others_can_read_and_credentials_of_another_length() {
        let folder = tempfile::tempdir().unwrap();
        created(folder.path());
        let open = || FileKey::open(&kek(), files(folder.path()));
        for name in ["sealed", "credential"] {
            let path = folder.path().join(name);
            for mode in [0o640, 0o604, 0o610] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                assert!(matches!(open(), Err(FileError::Open { .. })), "{name} {mode:o}");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for length in [0, 31, 33] {
            fs::write(folder.path().join("credential"), vec![1; length]).unwrap();
            assert!(matches!(open(), Err(FileError::Length { .. })), "{length}");
        }
    }

    #[test]
    fn a_sealed_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        created(folder.path());
        let before = fs::read(folder.path().join("sealed")).unwrap();
        let again = FileKey::create(&kek(), files(folder.path()));
        assert!(
            matches!(again, Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists)
        );
        assert_eq!(fs::read(folder.path().join("sealed")).unwrap(), before);
    }

    #[test]
    fn a_credential_that_is_there_is_used() {
        let folder = tempfile::tempdir().unwrap();
        write_new(&folder.path().join("credential"), &[9; 32]).unwrap();
        created(folder.path());
        assert_eq!(fs::read(folder.path().join("credential")).unwrap(), [9; 32]);
        assert!(FileKey::open(&kek(), files(folder.path())).is_ok());
    }

    #[test]
    fn a_lost_key_comes_back_from_what_its_shares_give() {
        let folder = tempfile::tempdir().unwrap();
        let (key, secret) = FileKey::create(&kek(), files(folder.path())).unwrap();
        let blob = member(key).wrap(PLACE, b"secret").unwrap();
        // The credential is lost, and the sealed file with it; another attempt was cut off.
        fs::remove_file(folder.path().join("credential")).unwrap();
        fs::write(folder.path().join("sealed.new"), "half").unwrap();
        FileKey::recover(&kek(), files(folder.path()), &secret).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let again = member(FileKey::open(&kek(), files(folder.path())).unwrap());
        assert_eq!(again.unwrap(PLACE, &blob).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn destroying_removes_both_files_and_a_credential_elsewhere_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = FileKey::create(&kek(), files(folder.path())).unwrap();
        assert!(key.destroy(Destroy::VersionsBelow(2)).is_err());
        assert!(folder.path().join("sealed").exists());
        key.destroy(Destroy::Key).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // Cut off after the first file and done again.
        key.destroy(Destroy::Key).unwrap();

        let elsewhere = tempfile::tempdir().unwrap();
        let files = KeyFiles { credential: elsewhere.path().join("credential"), ..files(folder.path()) };
        let (key, _) = FileKey::create(&kek(), files).unwrap();
        key.destroy(Destroy::Key).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(elsewhere.path().join("credential").exists());
    }

    #[test]
    fn what_is_erased_was_overwritten_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, b"secret").unwrap();
        // A second name keeps the bytes within reach.
        fs::hard_link(&path, folder.path().join("same")).unwrap();
        erase(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(folder.path().join("same")).unwrap(), [0; 6]);
    }
}
