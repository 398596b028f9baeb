//! The keyring: one small file for each subject's key, which only the privacy recipient reads, and which can be destroyed.

use crate::subject::{OpenedKey, Period, SealError, Subject};
use anchorhold_audit_log::{BootId, Hex, SubjectKeyId, TenantId};
use anchorhold_hpke::{Error as HpkeError, PrivateKey};
use anchorhold_rats::{Secret, WrappingKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest file of a key, in bytes.
pub const MAX_KEY_FILE_BYTES: usize = 4096;
/// The most keys of one keyring.
pub const MAX_KEYS: usize = 100_000;
const FORMAT: &str = "anchorhold-subject-key-v1";
const INFO_LABEL: &[u8] = b"anchorhold subject key v1\0";
const SUFFIX: &str = ".key";
const VERSION: u8 = 1;
/// Version, secret, period, tenant with its length, key with whether there is one: one length for all subjects.
const PLAIN_BYTES: usize = 1 + 32 + 4 + 1 + TenantId::LIMIT_BYTES + 1 + 6;

/// Bytes are not the file of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the file of a subject's key")]
pub struct KeyFileError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    boot: BootId,
    ct: String,
    enc: String,
    format: String,
    kid: SubjectKeyId,
}

/// One subject's key, encrypted to the privacy recipient (HPKE, RFC 9180). Whose it is, is encrypted too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    boot: BootId,
    kid: SubjectKeyId,
    sealed: anchorhold_hpke::Sealed,
}

impl KeyFile {
    /// The key's public name.
    #[must_use]
    pub const fn kid(&self) -> SubjectKeyId {
        self.kid
    }

    /// Reads a file in its one spelling.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFileError> {
        if bytes.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyFileError);
        }
        let written: Written = serde_json::from_slice(bytes).map_err(|_| KeyFileError)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFileError);
        let sealed = anchorhold_hpke::Sealed { enc: decode(&written.enc)?, ciphertext: decode(&written.ct)? };
        let file = Self { boot: written.boot, kid: written.kid, sealed };
        (written.format == FORMAT && file.to_bytes() == bytes).then_some(file).ok_or(KeyFileError)
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let written = Written {
            boot: self.boot,
            ct: URL_SAFE_NO_PAD.encode(&self.sealed.ciphertext),
            enc: URL_SAFE_NO_PAD.encode(&self.sealed.enc),
            format: FORMAT.to_owned(),
            kid: self.kid,
        };
        // Texts and hex are always JSON.
        let mut bytes = serde_json::to_vec(&written).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn seal(key: &OpenedKey, recipient: &WrappingKey) -> Result<Self, SealError> {
        let plain = plain(key);
        let sealed =
            anchorhold_hpke::seal(recipient, &info(key.boot, key.kid), &plain).map_err(
                |error| match error {
                    HpkeError::Random => SealError::Random,
                    HpkeError::PublicKey | HpkeError::Open => SealError::Recipient,
                },
            )?;
        Ok(Self { boot: key.boot, kid: key.kid, sealed })
    }

    pub(crate) fn open(&self, recipient: &PrivateKey) -> Result<OpenedKey, HpkeError> {
        let plain = recipient.open(&info(self.boot, self.kid), &self.sealed.enc, &self.sealed.ciphertext)?;
        self.read(&plain).ok_or(HpkeError::Open)
    }

    fn read(&self, plain: &[u8]) -> Option<OpenedKey> {
        let (version, rest) = plain.split_first()?;
        let (secret, rest) = rest.split_first_chunk::<32>()?;
        let (period, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let (tenant, rest) = rest.split_at_checked(TenantId::LIMIT_BYTES)?;
        let tenant = std::str::from_utf8(tenant.get(..usize::from(*length))?).ok()?;
        let (has_key, rest) = rest.split_first()?;
        let id = rest.first_chunk::<6>()?;
        let key = (*has_key == 1).then(|| Hex::new(*id));
        let opened = OpenedKey {
            kid: self.kid,
            boot: self.boot,
            subject: Subject { tenant: TenantId::new(tenant).ok()?, key },
            period: Period(u32::from_be_bytes(*period)),
            secret: Secret::copy_from(secret)?,
        };
        // One spelling, of one length.
        (*version == VERSION && self::plain(&opened).as_slice() == plain).then_some(opened)
    }
}

fn plain(key: &OpenedKey) -> Zeroizing<Vec<u8>> {
    let tenant = key.subject.tenant.as_str().as_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES));
    out.push(VERSION);
    out.extend(key.secret.expose());
    out.extend(key.period.0.to_be_bytes());
    // A tenant's name has at most 64 bytes.
    out.push(u8::try_from(tenant.len()).unwrap_or(0));
    out.extend(tenant);
    out.resize(PLAIN_BYTES - 7, 0);
    out.push(u8::from(key.subject.key.is_some()));
    out.extend(key.subject.key.map_or([0; 6], |id| *id.as_bytes()));
    out
}

fn info(boot: BootId, kid: SubjectKeyId) -> Vec<u8> {
    [INFO_LABEL, boot.as_bytes(), kid.as_bytes()].concat()
}

/// Why a keyring could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The medium failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// A file is not that of the key after which it is named.
    #[error("{} is not the file of a subject's key", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// More than [`MAX_KEYS`] keys.
    #[error("a keyring holds at most {MAX_KEYS} keys")]
    TooMany,
}

/// A folder of keys' files.
#[derive(Debug, Clone)]
pub struct Keyring {
    path: PathBuf,
}

impl Keyring {
    /// The keyring in this folder, which is made, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// [`KeyringError::Io`].
    pub fn create(path: &Path) -> Result<Self, KeyringError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
            _ => Ok(Self { path: path.to_owned() }),
        }
    }

    /// The keyring in a folder that is there.
    ///
    /// # Errors
    /// [`KeyringError::Io`].
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        std::fs::read_dir(path).map_err(failed("open", path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn place(&self, kid: SubjectKeyId) -> PathBuf {
        self.path.join(format!("{kid}{SUFFIX}"))
    }

    fn sync(&self) -> Result<(), KeyringError> {
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed("sync", &self.path))
    }

    /// Puts a key's file there; durable when this returns.
    ///
    /// # Errors
    /// [`KeyringError::Io`].
    pub fn put(&self, file: &KeyFile) -> Result<(), KeyringError> {
        let place = self.place(file.kid);
        let new = place.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&new).and_then(|mut out| {
            out.write_all(&file.to_bytes())?;
            out.sync_all()?;
            std::fs::rename(&new, &place)
        });
        written.map_err(failed("write", &place))?;
        self.sync()
    }

    /// The file of this key; `None` when it is not, or no longer, there.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn get(&self, kid: SubjectKeyId) -> Result<Option<KeyFile>, KeyringError> {
        let path = self.place(kid);
        let found = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed("open", &path))?,
        };
        if !found.is_file() {
            return Err(KeyringError::Malformed { path });
        }
        let mut bytes = Vec::new();
        let limit = MAX_KEY_FILE_BYTES as u64 + 1;
        let file = File::open(&path).map_err(failed("open", &path))?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        match KeyFile::from_bytes(&bytes) {
            Ok(file) if file.kid == kid => Ok(Some(file)),
            _ => Err(KeyringError::Malformed { path }),
        }
    }

    /// Whether this key's file is there.
    #[must_use]
    pub fn has(&self, kid: SubjectKeyId) -> bool {
        self.place(kid).symlink_metadata().is_ok()
    }

    /// The keys that are there, in the order of their names. Other files are not looked at.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn kids(&self) -> Result<Vec<SubjectKeyId>, KeyringError> {
        let mut kids = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed("open", &self.path))? {
            let name = entry.map_err(failed("read", &self.path))?.file_name();
            let kid: Option<SubjectKeyId> =
                name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            kids.extend(kid);
            if kids.len() > MAX_KEYS {
                return Err(KeyringError::TooMany);
            }
        }
        kids.sort_unstable();
        Ok(kids)
    }

    /// Destroys a key's file: its bytes are overwritten, then the name is removed, and both are durable when this returns. `false` when
    /// there was none. A file system that writes elsewhere (copy on write, flash) may keep the old bytes for a while; they open nothing
    /// without the recipient's private key.
    ///
    /// # Errors
    /// [`KeyringError::Io`].
    pub fn destroy(&self, kid: SubjectKeyId) -> Result<bool, KeyringError> {
        let path = self.place(kid);
        // What a write that was cut off left has the same content.
        let new = path.with_extension("new");
        let mut gone = false;
        for path in [&path, &new] {
            let found = match path.symlink_metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found.map_err(failed("open", path))?,
            };
            if found.is_file() {
                overwrite(path, found.len()).map_err(failed("overwrite", path))?;
            }
            std::fs::remove_file(path).map_err(failed("remove", path))?;
            gone = true;
        }
        self.sync()?;
        Ok(gone)
    }
}

fn overwrite(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_all()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::Io { doing, path, source }
}
