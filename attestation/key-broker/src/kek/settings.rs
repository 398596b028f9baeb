//! `kek.toml` in the state folder: which key-encryption keys there are, and where. It holds no secret.
//!
//! ```toml
//! primary = "hsm-2"          # new secrets are wrapped under this one
//! retired = ["file-1"]       # ids that are never used again
//!
//! [[kek]]
//! id   = "hsm-2"
//! kind = "pkcs11"
//! module   = "/usr/lib/softhsm/libsofthsm2.so"
//! token    = "anchorhold"
//! key      = "kek-2"
//! pin_file = "/run/credentials/anchorhold-key-broker.service/pin"
//! ```
//!
//! Written by `init` and the `kek` commands, whole and at once; it may be edited while no broker runs.

use super::file::{FileError, FileKey, KeyFiles};
#[cfg(feature = "pkcs11")]
use super::pkcs11::{TokenKey, TokenSettings};
use super::share::{self, Scheme, Share, ShareError};
use super::transit::{TransitKey, TransitSettings};
use super::{Backend, BackendError, KekError, KekId, Keyring, Member};
use crate::layout::make_private_folder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The most key-encryption keys at one time.
pub const MAX_KEKS: usize = 16;
/// The most ids that are remembered as retired.
const MAX_RETIRED: usize = 1024;
const MAX_FILE_BYTES: usize = 64 * 1024;
const MAX_AUTHORITIES_BYTES: u64 = 256 * 1024;
#[cfg(feature = "pkcs11")]
const MAX_TEXT_BYTES: usize = 1024;
/// How long a call to a backend may take, unless the settings say.
const DEFAULT_DEADLINE_MS: u64 = 5_000;
/// Below the time that a release request has.
const DEADLINES_MS: std::ops::RangeInclusive<u64> = 10..=20_000;

/// Why there is no keyring.
#[derive(Debug)]
pub enum SettingsError {
    /// The file system.
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The file is longer than any that is written.
    TooLong,
    /// The text is not TOML of this form.
    Toml(String),
    /// A setting is not one that can be.
    Value {
        /// The key that it is about.
        kek: KekId,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The keys do not fit together.
    Ring {
        /// What is wanted.
        wanted: &'static str,
    },
    /// A key's files.
    File(FileError),
    /// A key's shares.
    Share(ShareError),
    /// A key's backend.
    Kek(KekError),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::TooLong => write!(f, "kek.toml has over {MAX_FILE_BYTES} bytes"),
            Self::Toml(error) => write!(f, "kek.toml: {error}"),
            Self::Value { kek, wanted } => write!(f, "key-encryption key {kek}: wanted {wanted}"),
            Self::Ring { wanted } => write!(f, "kek.toml: wanted {wanted}"),
            Self::File(error) => error.fmt(f),
            Self::Share(error) => error.fmt(f),
            Self::Kek(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SettingsError {}

impl From<FileError> for SettingsError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<ShareError> for SettingsError {
    fn from(error: ShareError) -> Self {
        Self::Share(error)
    }
}

impl From<KekError> for SettingsError {
    fn from(error: KekError) -> Self {
        Self::Kek(error)
    }
}

/// Where a new key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It is made.
    Fresh,
    /// It is there.
    Existing,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// New secrets are wrapped under it.
    Primary,
    /// It opens what another broker on the same state wraps under it, and waits to be promoted.
    Standby,
}

/// One key as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum WrittenKek {
    /// In a file, see [`file`](super::file). Relative paths begin at the state folder.
    File {
        /// The key's id.
        id: KekId,
        /// The sealed file.
        sealed: PathBuf,
        /// What opens it.
        credential: PathBuf,
    },
    /// In an HSM, see [`pkcs11`](super::pkcs11).
    Pkcs11 {
        /// The key's id.
        id: KekId,
        /// The PKCS#11 module.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
        /// File with the PIN.
        pin_file: PathBuf,
        /// How long a call may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// In OpenBao or Vault, see [`transit`](super::transit).
    Transit {
        /// The key's id.
        id: KekId,
        /// `https://host[:port]`.
        url: String,
        /// File with the authorities, PEM.
        authorities: PathBuf,
        /// Where the engine is mounted.
        mount: String,
        /// The key's name.
        key: String,
        /// The namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// File with the token.
        token_file: PathBuf,
        /// How long a call may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
}

impl WrittenKek {
    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> &KekId {
        match self {
            Self::File { id, .. } | Self::Pkcs11 { id, .. } | Self::Transit { id, .. } => id,
        }
    }

    /// The first key of a broker, in files that lie in the folder `keks` of the state folder.
    ///
    /// # Panics
    /// Never: the constant is an id.
    #[must_use]
    pub fn first_beside_state() -> Self {
        Self::file_beside_state(FIRST.parse().expect("the constant is an id"))
    }

    /// A key in files that lie in the folder `keks` of the state folder.
    #[must_use]
    pub fn file_beside_state(id: KekId) -> Self {
        let path = |suffix: &str| Path::new(FOLDER).join(format!("{id}.{suffix}"));
        Self::File { sealed: path("sealed"), credential: path("credential"), id }
    }

    fn deadline(&self) -> Result<Duration, SettingsError> {
        let (Self::Pkcs11 { deadline_ms, .. } | Self::Transit { deadline_ms, .. }) = self else {
            return Ok(Duration::MAX);
        };
        let millis = deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS);
        if DEADLINES_MS.contains(&millis) {
            Ok(Duration::from_millis(millis))
        } else {
            Err(self.wanted("a deadline of 10 to 20000 ms"))
        }
    }

    fn wanted(&self, wanted: &'static str) -> SettingsError {
        SettingsError::Value { kek: self.id().clone(), wanted }
    }

    fn files(state: &Path, sealed: &Path, credential: &Path) -> KeyFiles {
        KeyFiles { sealed: state.join(sealed), credential: state.join(credential) }
    }

    /// Makes the key, and shares of it where it is in a file and shares are wanted.
    ///
    /// # Errors
    /// [`SettingsError`]; in particular when there is such a key already.
    pub fn create(
        &self,
        state: &Path,
        shares: Option<Scheme>,
    ) -> Result<(Member, Vec<Share>), SettingsError> {
        match self {
            Self::File { id, sealed, credential } => {
                let files = Self::files(state, sealed, credential);
                make_folder_of(&files.sealed)?;
                let (key, secret) = FileKey::create(id, files)?;
                let shares = shares.map(|scheme| share::split(id, &secret, scheme)).transpose()?;
                Ok((Member::local(id.clone(), Arc::new(key)), shares.unwrap_or_default()))
            }
            _ if shares.is_some() => Err(self.wanted("a key in a file: this one cannot be shared out")),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11 { .. } => {
                let member = self.open(state)?;
                let token = self.token(state)?;
                // On the member's terms, which are the deadline and the limit of calls.
                member.call(move |_| TokenKey::new(token).create())?;
                Ok((member, Vec::new()))
            }
            #[cfg(not(feature = "pkcs11"))]
            Self::Pkcs11 { .. } => Err(self.wanted("a broker that was built with the feature pkcs11")),
            Self::Transit { .. } => {
                Err(self
                    .wanted("a key that is there: whoever runs the engine makes it (derived, aes256-gcm96)"))
            }
        }
    }

    /// Makes the key, or finds it; with shares of it, if they are wanted.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn obtain(
        &self,
        state: &Path,
        origin: Origin,
        shares: Option<Scheme>,
    ) -> Result<(Member, Vec<Share>), SettingsError> {
        match (origin, shares) {
            (Origin::Fresh, shares) => self.create(state, shares),
            (Origin::Existing, None) => Ok((self.open(state)?, Vec::new())),
            (Origin::Existing, Some(_)) => Err(self.wanted("a fresh key: one that is there has its shares")),
        }
    }

    /// Writes the files of a key anew from its shares.
    ///
    /// # Errors
    /// [`SettingsError`]; in particular when the shares are of another key.
    pub fn recover(&self, state: &Path, shares: &[Share]) -> Result<(), SettingsError> {
        let Self::File { id, sealed, credential } = self else {
            return Err(self.wanted("a key in a file: this one has no shares"));
        };
        let (kek, secret) = share::combine(shares)?;
        if kek != *id {
            return Err(self.wanted("shares of this key"));
        }
        let files = Self::files(state, sealed, credential);
        make_folder_of(&files.sealed)?;
        FileKey::recover(id, files, &secret)?;
        Ok(())
    }

    /// The key, not asked yet where it is elsewhere.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn open(&self, state: &Path) -> Result<Member, SettingsError> {
        let deadline = self.deadline()?;
        let backend: Arc<dyn Backend> = match self {
            Self::File { id, sealed, credential } => {
                let key = FileKey::open(id, Self::files(state, sealed, credential))?;
                return Ok(Member::local(id.clone(), Arc::new(key)));
            }
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11 { .. } => Arc::new(TokenKey::new(self.token(state)?)),
            #[cfg(not(feature = "pkcs11"))]
            Self::Pkcs11 { .. } => {
                return Err(self.wanted("a broker that was built with the feature pkcs11"));
            }
            Self::Transit { .. } => Arc::new(self.transit(state, deadline)?),
        };
        Ok(Member::remote(self.id().clone(), backend, deadline))
    }

    #[cfg(feature = "pkcs11")]
    fn token(&self, state: &Path) -> Result<TokenSettings, SettingsError> {
        let Self::Pkcs11 { module, token, key, pin_file, .. } = self else {
            return Err(self.wanted("a key in a token"));
        };
        // PKCS#11 pads labels with blanks to this length.
        if token.is_empty() || token.len() > 32 || token.trim_end() != token {
            return Err(self.wanted("a token's label of 1 to 32 bytes"));
        }
        if key.is_empty() || key.len() > MAX_TEXT_BYTES {
            return Err(self.wanted("a key's label"));
        }
        Ok(TokenSettings {
            module: module.clone(),
            token: token.clone(),
            key: key.clone(),
            pin_file: state.join(pin_file),
        })
    }

    fn transit(&self, state: &Path, deadline: Duration) -> Result<TransitKey, SettingsError> {
        let Self::Transit { url, authorities, mount, key, namespace, token_file, .. } = self else {
            return Err(self.wanted("a key in a transit engine"));
        };
        let path = state.join(authorities);
        let mut pem = Vec::new();
        let io = |error| SettingsError::Io { path: path.clone(), error };
        File::open(&path).map_err(io)?.take(MAX_AUTHORITIES_BYTES).read_to_end(&mut pem).map_err(io)?;
        let named = "letters, digits, _, -, . and / between the parts of a name";
        let settings = TransitSettings {
            target: url.parse().map_err(|_| self.wanted("a url of the form https://host[:port]"))?,
            authorities: pem,
            mount: mount.parse().map_err(|_| self.wanted(named))?,
            key: key.parse().map_err(|_| self.wanted(named))?,
            namespace: namespace.as_deref().map(str::parse).transpose().map_err(|_| self.wanted(named))?,
            token_file: state.join(token_file),
            deadline,
        };
        TransitKey::new(settings)
            .map_err(|error| SettingsError::Kek(KekError::Backend { kek: self.id().clone(), error }))
    }
}

/// What is wrong and, where one line is at fault, which; without the line itself: somebody may have written a PIN there.
fn unreadable(text: &str, error: &toml::de::Error) -> SettingsError {
    let lines = |end: usize| text.bytes().take(end).filter(|byte| *byte == b'\n').count() + 1;
    SettingsError::Toml(match error.span() {
        Some(span) if lines(span.start) == lines(span.end) => {
            format!("line {}: {}", lines(span.start), error.message())
        }
        _ => error.message().to_owned(),
    })
}

fn make_folder_of(path: &Path) -> Result<(), SettingsError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    make_private_folder(folder).map_err(|error| SettingsError::Io { path: folder.to_owned(), error })
}

/// The folder of sealed files, within the state folder.
const FOLDER: &str = "keks";
/// The id that `init` gives a key in a file.
const FIRST: &str = "file-1";

/// What `kek.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    primary: KekId,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    retired: BTreeSet<KekId>,
    #[serde(rename = "kek")]
    keks: Vec<WrittenKek>,
}

impl Settings {
    /// One key, which is the primary.
    #[must_use]
    pub fn of(kek: WrittenKek) -> Self {
        Self { primary: kek.id().clone(), retired: BTreeSet::new(), keks: vec![kek] }
    }

    /// The file in the state folder.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join("kek.toml")
    }

    /// The id of the key that new secrets are wrapped under.
    #[must_use]
    pub const fn primary(&self) -> &KekId {
        &self.primary
    }

    /// Ids that are never used again.
    #[must_use]
    pub const fn retired(&self) -> &BTreeSet<KekId> {
        &self.retired
    }

    /// The keys.
    #[must_use]
    pub fn keks(&self) -> &[WrittenKek] {
        &self.keks
    }

    /// The key with this id.
    #[must_use]
    pub fn kek(&self, id: &KekId) -> Option<&WrittenKek> {
        self.keks.iter().find(|kek| kek.id() == id)
    }

    /// Reads the text of a file and checks that the keys fit together.
    ///
    /// # Errors
    /// [`SettingsError`]; a field that is not known is refused.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(SettingsError::TooLong);
        }
        let settings: Self = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let ids: BTreeSet<_> = self.keks.iter().map(WrittenKek::id).collect();
        let rules = [
            (self.keks.len() <= MAX_KEKS, "at most 16 keys"),
            (self.retired.len() <= MAX_RETIRED, "at most 1024 retired ids"),
            (ids.len() == self.keks.len(), "another id for each key"),
            (ids.contains(&self.primary), "a primary that is one of the keys"),
            (ids.iter().all(|id| !self.retired.contains(*id)), "no key with a retired id"),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, wanted)) => Err(SettingsError::Ring { wanted }),
            None => Ok(()),
        }
    }

    /// Reads the file of a state folder.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(state: &Path) -> Result<Self, SettingsError> {
        let path = Self::path(state);
        let mut text = String::new();
        let io = |error| SettingsError::Io { path: path.clone(), error };
        let file = File::open(&path).map_err(io)?;
        file.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text).map_err(io)?;
        Self::from_toml(&text)
    }

    /// Writes the file of a state folder, whole or not at all; durable when this returns.
    ///
    /// # Errors
    /// [`SettingsError`]; the file that was there stays then.
    pub fn write(&self, state: &Path) -> Result<(), SettingsError> {
        self.check()?;
        let text = toml::to_string(self).map_err(|error| SettingsError::Toml(error.to_string()))?;
        let (path, fresh) = (Self::path(state), state.join("kek.toml.new"));
        let write = || {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(state)?.sync_all()
        };
        write().map_err(|error| SettingsError::Io { path: path.clone(), error })
    }

    /// The same with one more key.
    ///
    /// # Errors
    /// [`SettingsError::Ring`] when its id was used before.
    pub fn with(&self, kek: WrittenKek, role: Role) -> Result<Self, SettingsError> {
        let mut settings = self.clone();
        if role == Role::Primary {
            settings.primary = kek.id().clone();
        }
        settings.keks.push(kek);
        settings.check()?;
        Ok(settings)
    }

    /// The same with another of its keys as the primary.
    ///
    /// # Errors
    /// [`SettingsError::Ring`] when it is none of them.
    pub fn led_by(&self, id: &KekId) -> Result<Self, SettingsError> {
        let settings = Self { primary: id.clone(), ..self.clone() };
        settings.check()?;
        Ok(settings)
    }

    /// The same without a key, whose id is retired.
    ///
    /// # Errors
    /// [`SettingsError::Ring`] for the primary and for an id that is none of a key.
    pub fn without(&self, id: &KekId) -> Result<Self, SettingsError> {
        let mut settings = self.clone();
        settings.keks.retain(|kek| kek.id() != id);
        if settings.keks.len() == self.keks.len() {
            return Err(SettingsError::Ring { wanted: "the id of one of the keys" });
        }
        settings.retired.insert(id.clone());
        settings.check()?;
        Ok(settings)
    }

    /// The keys of a state folder, each asked once. Trouble with another key than the primary is told and goes by: its
    /// secrets open when it is back, and one whose files are gone is left out.
    ///
    /// # Errors
    /// [`SettingsError`]: the primary does not answer, or a key must not be used.
    pub fn open(&self, state: &Path, report: &dyn Fn(&str)) -> Result<Keyring, SettingsError> {
        let primary = self.kek(&self.primary).ok_or(SettingsError::Ring { wanted: "a primary" })?;
        let primary = primary.open(state)?;
        primary.call(|backend| backend.version())?;
        let ring = Keyring::new(primary);
        for kek in self.keks.iter().filter(|kek| *kek.id() != self.primary) {
            let member = match kek.open(state) {
                Err(SettingsError::File(error)) => {
                    report(&error.to_string());
                    continue;
                }
                member => member?,
            };
            match member.call(|backend| backend.version()) {
                Err(error @ KekError::Backend { error: BackendError::Unfit { .. }, .. }) => {
                    return Err(error.into());
                }
                Err(error) => report(&error.to_string()),
                Ok(_) => {}
            }
            ring.add(member).map_err(|_| SettingsError::Ring { wanted: "another id for each key" })?;
        }
        ring.note_retired(self.retired.iter().cloned());
        Ok(ring.of_settings(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
primary = "bao-1"
retired = ["file-0"]

[[kek]]
kind = "file"
id = "file-1"
sealed = "keks/file-1.sealed"
credential = "/run/credentials/broker/kek"

[[kek]]
kind = "pkcs11"
id = "hsm-1"
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "anchorhold"
key = "kek-1"
pin_file = "pin"
deadline_ms = 2000

[[kek]]
kind = "transit"
id = "bao-1"
url = "https://bao.example:8200"
authorities = "bao.pem"
mount = "teams/a/transit"
key = "kek"
namespace = "a"
token_file = "/run/bao/token"
"#;

    #[test]
    fn what_is_written_is_read_back() {
        let settings = Settings::from_toml(FULL).unwrap();
        assert_eq!(settings.keks().len(), 3);
        let folder = tempfile::tempdir().unwrap();
        settings.write(folder.path()).unwrap();
        assert_eq!(Settings::read(folder.path()).unwrap(), settings);
        // And again, over what is there.
        let less = settings.without(&"file-1".parse().unwrap()).unwrap();
        less.write(folder.path()).unwrap();
        assert_eq!(Settings::read(folder.path()).unwrap(), less);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_unknown_fields_kinds_and_ids() {
        for (from, to) in [
            ("primary =", "first ="),
            ("retired =", "gone ="),
            ("pin_file =", "pin ="),
            ("pin_file = \"pin\"", "pin_file = \"pin\"\npin = \"1234\""),
            ("sealed =", "deadline_ms = 5\nsealed ="),
            ("kind = \"file\"", "kind = \"kms\""),
            ("id = \"file-1\"", "id = \"File\""),
            ("token_file = \"/run/bao/token\"", ""),
        ] {
            let text = FULL.replacen(from, to, 1);
            assert_ne!(text, FULL, "{from}");
            assert!(matches!(Settings::from_toml(&text), Err(SettingsError::Toml(_))), "{to}");
        }
        // Whoever writes a PIN there finds no copy of it in a journal.
        let text = FULL.replacen("pin_file = \"pin\"", "pin = \"31415\"", 1);
        let error = Settings::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains("`pin`") && !error.contains("31415"), "{error}");
        let error = Settings::from_toml("primary = \"a\"\nkek = 31415 1\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("31415"), "{error}");
        let long = format!("{FULL}\n#{}", "x".repeat(MAX_FILE_BYTES));
        assert!(matches!(Settings::from_toml(&long), Err(SettingsError::TooLong)));
    }

    #[test]
    fn refuses_keys_that_do_not_fit_together() {
        let wanted = |text: &str| match Settings::from_toml(text) {
            Err(SettingsError::Ring { wanted }) => wanted,
            other => panic!("{other:?}"),
        };
        assert_eq!(wanted(&FULL.replace("\"hsm-1\"", "\"file-1\"")), "another id for each key");
        assert_eq!(
            wanted(&FULL.replace("primary = \"bao-1\"", "primary = \"x\"")),
            "a primary that is one of the keys"
        );
        assert_eq!(wanted(&FULL.replace("file-0", "hsm-1")), "no key with a retired id");
        let many: String = (2..18).fold(FULL.to_owned(), |text, n| {
            format!(
                "{text}\n[[kek]]\nkind = \"file\"\nid = \"file-{n}\"\nsealed = \"a\"\ncredential = \"b\"\n"
            )
        });
        assert_eq!(wanted(&many), "at most 16 keys");
    }

    #[test]
    fn refuses_values_that_cannot_be() {
        let opened = |id: &str, from: &str, to: &str| {
            let settings = Settings::from_toml(&FULL.replacen(from, to, 1)).unwrap();
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("bao.pem"), "").unwrap();
            match settings.kek(&id.parse().unwrap()).unwrap().open(folder.path()) {
                Err(SettingsError::Value { wanted, .. }) => wanted,
                other => panic!("{:?}", other.map(|member| member.kek().clone())),
            }
        };
        for deadline in ["9", "20001"] {
            let observed = opened("hsm-1", "deadline_ms = 2000", &format!("deadline_ms = {deadline}"));
            assert_eq!(observed, "a deadline of 10 to 20000 ms");
        }
        assert_eq!(opened("hsm-1", "\"anchorhold\"", "\"\""), "a token's label of 1 to 32 bytes");
        assert_eq!(opened("hsm-1", "\"anchorhold\"", "\"a \""), "a token's label of 1 to 32 bytes");
        assert_eq!(opened("hsm-1", "\"kek-1\"", "\"\""), "a key's label");
        assert_eq!(opened("bao-1", "https://", "http://"), "a url of the form https://host[:port]");
        let named = "letters, digits, _, -, . and / between the parts of a name";
        assert_eq!(opened("bao-1", "teams/a/transit", "teams/../transit"), named);
        assert_eq!(opened("bao-1", "namespace = \"a\"", "namespace = \"/\""), named);
        assert_eq!(opened("bao-1", "key = \"kek\"", "key = \"kek?\""), named);
    }

    #[test]
    fn an_id_is_never_used_twice_and_the_primary_never_retired() {
        let settings = Settings::of(WrittenKek::first_beside_state());
        let again = WrittenKek::file_beside_state("file-1".parse().unwrap());
        assert!(matches!(settings.with(again.clone(), Role::Primary), Err(SettingsError::Ring { .. })));
        let primary = "file-1".parse().unwrap();
        assert!(matches!(settings.without(&primary), Err(SettingsError::Ring { .. })));
        let second = WrittenKek::file_beside_state("file-2".parse().unwrap());
        let standby = settings.with(second.clone(), Role::Standby).unwrap();
        assert_eq!(standby.primary(), &primary);
        assert_eq!(
            standby.led_by(second.id()).unwrap(),
            settings.with(second.clone(), Role::Primary).unwrap()
        );
        assert!(matches!(settings.led_by(second.id()), Err(SettingsError::Ring { .. })));
        let settings = settings.with(second, Role::Primary).unwrap().without(&primary).unwrap();
        assert!(matches!(settings.with(again, Role::Primary), Err(SettingsError::Ring { .. })));
        assert!(matches!(settings.without(&primary), Err(SettingsError::Ring { .. })));
    }

    #[test]
    fn a_folder_of_settings_becomes_a_ring() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::of(WrittenKek::first_beside_state());
        let [kek] = settings.keks() else { panic!() };
        kek.create(folder.path(), None).unwrap();
        let second = WrittenKek::file_beside_state("file-2".parse().unwrap());
        second.create(folder.path(), None).unwrap();
        let settings = settings.with(second, Role::Primary).unwrap();
        let ring = settings.open(folder.path(), &|_| {}).unwrap();
        assert_eq!(format!("{ring:?}"), "Keyring([KekId(file-1), KekId(file-2)], primary file-2)");
        assert!(matches!(kek.create(folder.path(), None), Err(SettingsError::File(_))));
    }
}
