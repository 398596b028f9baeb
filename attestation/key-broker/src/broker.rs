//! The broker without its sockets: challenges and decisions, imports, policies and revocations, and the logs that it
//! witnesses. Each change of the state has its entry in the broker's log, in the same transaction.

mod activate;
mod kbs;
mod keks;
mod lease;
mod operate;
mod release;
mod witness;

pub use activate::{NewPolicy, Replaces};
pub use kbs::ResourceAsked;
pub use lease::{LeaseState, Returned};
pub use operate::Status;

use crate::cedar::{Cedar, CedarError};
use crate::cosigned::Cosigned;
use crate::endorser::Endorser;
use crate::journal::Journal;
use crate::kek::file::FileError;
use crate::kek::settings::{Origin, Settings, SettingsError, WrittenKek};
use crate::kek::share::{Scheme, Share};
use crate::kek::{KekError, Keyring};
use crate::layout::{Layout, StoreOpenError, make_private_folder};
use crate::ledger::{Ledger, LedgerError};
use crate::secrets::{Secrets, SecretsError, Tls};
use crate::state;
use crate::store::{Store, StoreError, look_up};
use anchorhold_audit_log::cosignature::{Cosigner, Quorum};
use anchorhold_audit_log::{Event, EventType, ExportError, Outcome, Stamp};
use anchorhold_kbs::ear::TokenIssuer;
use anchorhold_kbs::server::Server;
use anchorhold_kbs::{MAX_RESOURCE_BYTES, SessionKey};
use anchorhold_key_release::{
    ActivationError, BrokerKey, Challenge, ChallengeAsked, Denied, Explain, ImportError, NonceKey,
    PolicyError, Refusal, ReleaseKey, ReleasePolicy, Revocations, Revoked, RotationError, SignerSet,
};
use anchorhold_rats::{Kem, Sha256Digest, Timestamp};
use anchorhold_verifier::TrustAnchors;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The KEM of the key to which owners wrap weights keys: import files are kept, so they must stay secret for long.
pub const IMPORT_KEM: Kem = Kem::XWing;

/// Why the broker did not start, or did not do what its operator asked.
#[derive(Debug)]
pub enum BrokerError {
    /// The state's store.
    Open(StoreOpenError),
    /// The state folder.
    Folder(std::io::Error),
    /// A key-encryption key.
    Kek(KekError),
    /// The settings of the key-encryption keys, or one of their files.
    Settings(SettingsError),
    /// The state or the log.
    Ledger(LedgerError),
    /// There is a broker's state already.
    Exists,
    /// There is no broker's state.
    NotSetUp,
    /// There is no state, and a key that would be under this name.
    KeyWithoutState(PathBuf),
    /// A policy file.
    Policy(PolicyError),
    /// The Cedar policies of the policy in force are not read.
    Cedar(CedarError),
    /// A policy does not come into force.
    Activation(ActivationError),
    /// Other signers do not take the place of those that there are.
    Rotation(RotationError),
    /// There are no signers, and this broker cannot be without.
    NoSigners,
    /// The log could not be read.
    Log(Box<ExportError>),
    /// The import file.
    Import(ImportError),
    /// A model's version is there already, with another key or manifest.
    VersionTaken {
        /// The version.
        version: u64,
    },
    /// A model has as many versions as may be.
    TooManyVersions,
    /// There are as many revocations as may be; put them into a policy.
    TooManyRevocations,
    /// The witness key's name.
    Witness(anchorhold_audit_log::note::NoteError),
    /// A resource is over its limit, or has a name that entries cannot hold.
    Resource,
    /// There are as many resources as may be.
    TooManyResources,
    /// The key that signs tokens.
    TokenKey,
    /// A log to be witnessed has no name that entries can hold, or is witnessed under another key.
    LogKey,
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Folder(error) => write!(f, "state folder: {error}"),
            Self::Kek(error) => error.fmt(f),
            Self::Settings(error) => error.fmt(f),
            Self::Ledger(error) => error.fmt(f),
            Self::Exists => f.write_str("there is a broker's state already"),
            Self::NotSetUp => f.write_str("there is no broker's state: init makes one"),
            Self::KeyWithoutState(path) => write!(
                f,
                "{} is there though no state is: if an init was cut off, nothing is under this key and it can be removed",
                path.display()
            ),
            Self::Policy(error) => write!(f, "policy: {error}"),
            Self::Cedar(error) => error.fmt(f),
            Self::Activation(error) => error.fmt(f),
            Self::Rotation(error) => error.fmt(f),
            Self::NoSigners => f.write_str("the state names nobody who may sign policies"),
            Self::Log(error) => write!(f, "audit log: {error}"),
            Self::Import(error) => write!(f, "weights key import: {error}"),
            Self::VersionTaken { version } => {
                write!(f, "version {version} of the model is there already, with another key or manifest")
            }
            Self::TooManyVersions => {
                write!(f, "the model has {} versions, the most there may be", state::MAX_VERSIONS)
            }
            Self::TooManyRevocations => {
                write!(f, "there are {} revocations, the most there may be", state::MAX_REVOKED)
            }
            Self::Witness(error) => write!(f, "witness key: {error}"),
            Self::Resource => write!(
                f,
                "a resource has at most {MAX_RESOURCE_BYTES} bytes and a name of at most 128 that begins with a letter or digit"
            ),
            Self::TooManyResources => {
                write!(f, "there are {} resources, the most there may be", state::MAX_RESOURCES)
            }
            Self::TokenKey => f.write_str("the stored token key is no P-256 key"),
            Self::LogKey => {
                f.write_str("the log's name cannot be logged, or a log of this name has another key")
            }
        }
    }
}

impl std::error::Error for BrokerError {}

impl From<LedgerError> for BrokerError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(LedgerError::Store(error))
    }
}

impl From<SettingsError> for BrokerError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<SecretsError> for BrokerError {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Store(error) => error.into(),
            SecretsError::Kek(error) => Self::Kek(error),
        }
    }
}

impl From<StoreOpenError> for BrokerError {
    fn from(error: StoreOpenError) -> Self {
        Self::Open(error)
    }
}

/// What the broker takes from its surroundings; the binary brings the real ones.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    /// Where faults of the state and the log are told, for the operator.
    pub report: Arc<dyn Fn(&str) + Send + Sync>,
    /// Where endorsements are; without, those that guests attach must do.
    pub endorser: Option<Arc<dyn Endorser>>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Surroundings {
    fn now(&self) -> Timestamp {
        at((self.clock)())
    }
}

fn at(stamp: Stamp) -> Timestamp {
    Timestamp::from_unix_seconds(stamp.wall_ns.div_euclid(1_000_000_000))
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The value of `Set-Cookie`, in the KBS role.
    pub set_cookie: Option<String>,
    /// The broker's name of the request, as in its log.
    pub request_id: Option<String>,
}

impl Answer {
    /// An answer in JSON.
    #[must_use]
    pub const fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", body, set_cookie: None, request_id: None }
    }
}

/// A policy as the broker applies it: the file in force with all that was revoked since.
#[derive(Debug, Clone)]
struct InForce {
    policy: Arc<ReleasePolicy>,
    /// The Cedar policies that it names.
    cedar: Option<Arc<Cedar>>,
    /// [`state::stands_for`] when it was read.
    read_for: (u64, u64),
}

/// A key broker with its state, log and keys.
pub struct Broker {
    ledger: Ledger,
    keyring: Keyring,
    journal: Arc<Journal>,
    anchors: TrustAnchors,
    signing: Arc<BrokerKey>,
    import: ReleaseKey,
    nonces: NonceKey,
    cosigner: Cosigner,
    cosigned: Cosigned,
    tls: Tls,
    kbs: Server,
    /// The newest that was read; the lock is held for a copy.
    in_force: RwLock<Option<InForce>>,
    around: Surroundings,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.signing.public_key())
    }
}

/// What a new broker begins with.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// Its secrets.
    pub secrets: &'a Secrets,
    /// Who may sign its policies; without, whoever has the state may set one, and only a broker under simulated roots opens it.
    pub signers: Option<&'a SignerSet>,
    /// When.
    pub at: Stamp,
}

/// Makes the state of a new broker in a store: its wrapped secrets, who may sign its policies, and the first entries of its log.
///
/// # Errors
/// [`BrokerError::Exists`] when there is one; otherwise the store or a key-encryption key.
pub fn set_up(
    store: Arc<dyn Store>,
    keyring: &Keyring,
    beginning: &Beginning<'_>,
) -> Result<(), BrokerError> {
    let Beginning { secrets, signers, at } = *beginning;
    let wrapped = secrets.wrap(keyring).map_err(BrokerError::Kek)?;
    let first = signers.map(|set| {
        let row = state::SignersRow { file: set.text().to_owned(), signed: None };
        (activate::first_signers(set, at), row)
    });
    // All of it in one change, so that a state is there or is not.
    let made = Ledger::create(store, &secrets.log, at, |writing| {
        if let Some((event, row)) = &first {
            writing.append(event)?;
            state::put_signers(writing.tables(), row)?;
        }
        wrapped.iter().try_for_each(|(kind, secret)| state::put_secret(writing.tables(), kind, secret))
    });
    match made {
        Ok(_) => Ok(()),
        Err(LedgerError::Exists) => Err(BrokerError::Exists),
        Err(error) => Err(error.into()),
    }
}

/// Makes the state of a new broker in `layout`, with a key-encryption key in a file beside it.
///
/// # Errors
/// [`BrokerError`].
pub fn set_up_in(layout: &Layout, beginning: &Beginning<'_>) -> Result<(), BrokerError> {
    set_up_under(layout, &WrittenKek::first_beside_state(), (Origin::Fresh, None), beginning).map(drop)
}

/// Makes the state of a new broker in `layout` under a key-encryption key that is made or found. Returns the key's shares,
/// if any were asked for.
///
/// # Errors
/// [`BrokerError`].
pub fn set_up_under(
    layout: &Layout,
    kek: &WrittenKek,
    (origin, scheme): (Origin, Option<Scheme>),
    beginning: &Beginning<'_>,
) -> Result<Vec<Share>, BrokerError> {
    make_private_folder(layout.folder()).map_err(BrokerError::Folder)?;
    let store = layout.create_store()?;
    if look_up(&*store, |view| state::is_set_up(view))? {
        return Err(BrokerError::Exists);
    }
    // Nothing of this is a state yet: whatever fails from here on, the next attempt finds an empty store.
    let (member, shares) = kek.obtain(layout.folder(), origin, scheme).map_err(left_behind)?;
    Settings::of(kek.clone()).write(layout.folder())?;
    set_up(store, &Keyring::new(member), beginning)?;
    let sync = std::fs::File::open(layout.folder()).and_then(|folder| folder.sync_all());
    sync.map_err(BrokerError::Folder)?;
    Ok(shares)
}

/// A key's file that is there though no state is may be left of an attempt that was cut off, or of another state's key. Which it
/// is the operator knows.
fn left_behind(error: SettingsError) -> BrokerError {
    match error {
        SettingsError::File(FileError::Io { path, error }) if error.kind() == ErrorKind::AlreadyExists => {
            BrokerError::KeyWithoutState(path)
        }
        error => error.into(),
    }
}

/// Under which name this broker cosigns.
#[must_use]
pub fn witness_name(ledger: &Ledger) -> String {
    format!("{}/witness", ledger.key().name())
}

impl Broker {
    /// Opens the state in `layout`. Evidence must end in `anchors`; no answer leaves before `witnesses` have cosigned.
    ///
    /// # Errors
    /// [`BrokerError`]; in particular when another broker has the state.
    pub fn open(
        layout: &Layout,
        anchors: TrustAnchors,
        witnesses: Quorum,
        around: Surroundings,
    ) -> Result<Self, BrokerError> {
        let store = layout.open_store()?;
        if !look_up(&*store, |view| state::is_set_up(view))? {
            return Err(BrokerError::NotSetUp);
        }
        let keyring = Settings::read(layout.folder())?.open(layout.folder(), &*around.report)?;
        Self::open_on(store, keyring, anchors, witnesses, around)
    }

    /// Opens the state in a store.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn open_on(
        store: Arc<dyn Store>,
        keyring: Keyring,
        anchors: TrustAnchors,
        witnesses: Quorum,
        around: Surroundings,
    ) -> Result<Self, BrokerError> {
        let secrets = Secrets::open(&*store, &keyring)?;
        if !anchors.are_simulated() && look_up(&*store, |view| state::signers(view))?.is_none() {
            return Err(BrokerError::NoSigners);
        }
        let ledger = Ledger::open(store, &secrets.log)?;
        let name = witness_name(&ledger);
        let broker = Self {
            keyring,
            journal: Arc::new(Journal::new(&secrets.chip, anchors.are_simulated())),
            anchors,
            signing: Arc::new(BrokerKey::from_seed(&secrets.signing)),
            import: ReleaseKey::from_seed(IMPORT_KEM, &secrets.import),
            nonces: NonceKey::new(&secrets.nonce),
            cosigner: Cosigner::from_seed(&name, secrets.witness.expose()).map_err(BrokerError::Witness)?,
            cosigned: Cosigned::new(witnesses),
            tls: secrets.tls,
            // Its nonces have a domain of their own, so they are none of key release.
            kbs: Server::new(
                SessionKey::new(&secrets.nonce),
                TokenIssuer::new(&secrets.token).map_err(|_| BrokerError::TokenKey)?,
            ),
            in_force: RwLock::new(None),
            around,
            ledger,
        };
        broker.read_policy()?;
        Ok(broker)
    }

    /// The state and its log.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The key-encryption keys.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The key that signs answers.
    #[must_use]
    pub fn signing_key(&self) -> &BrokerKey {
        &self.signing
    }

    /// The key to which owners wrap weights keys.
    #[must_use]
    pub const fn import_key(&self) -> &ReleaseKey {
        &self.import
    }

    /// The key that cosigns the logs of others.
    #[must_use]
    pub const fn cosigner(&self) -> &Cosigner {
        &self.cosigner
    }

    /// Which of its heads witnesses have cosigned.
    #[must_use]
    pub const fn cosigned(&self) -> &Cosigned {
        &self.cosigned
    }

    /// The TLS key, PKCS#8.
    #[must_use]
    pub fn tls_key(&self) -> &[u8] {
        &self.tls.key
    }

    /// The TLS certificate, PEM.
    #[must_use]
    pub fn tls_certificate(&self) -> &str {
        &self.tls.certificate
    }

    /// Tells the operator of a fault.
    pub fn report(&self, text: &str) {
        (self.around.report)(text);
    }

    /// Logs that a program begins or ends to work on the state.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn log_start(&self, kind: EventType) -> Result<(), LedgerError> {
        self.ledger.append(self.operator_event(kind, Outcome::Success)).map(drop)
    }

    /// The policy in force with all that was revoked, read again where either has changed.
    fn read_policy(&self) -> Result<Option<InForce>, BrokerError> {
        let cached = self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = cached.as_ref().map(|cached| cached.read_for);
        let read = look_up(self.ledger.store(), |view| {
            let stands_for = state::stands_for(view)?;
            if Some(stands_for) == known {
                return Ok(None);
            }
            Ok(Some((stands_for, state::policy(view)?, state::revocations(view)?)))
        })?;
        let Some((read_for, row, revoked)) = read else { return Ok(cached) };
        let Some(row) = row else { return Ok(None) };
        let revoked = revoked.iter().map(|row| Revoked::parse(&row.kind, &row.name));
        let revoked: Revocations =
            revoked.collect::<Result<_, _>>().map_err(|_| StoreError::Corrupt("revocation"))?;
        let policy = ReleasePolicy::from_toml(&row.file).map_err(BrokerError::Policy)?.revoking(&revoked);
        let text = row.cedar.as_deref();
        if text.map(|text| Sha256Digest::of(text.as_bytes())) != policy.cedar() {
            return Err(StoreError::Corrupt("Cedar policies").into());
        }
        let cedar = text.map(Cedar::read).transpose().map_err(BrokerError::Cedar)?.map(Arc::new);
        let in_force = InForce { policy: Arc::new(policy), cedar, read_for };
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Some(in_force.clone());
        Ok(Some(in_force))
    }

    /// The policy in force, with all that was revoked since.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn policy(&self) -> Result<Option<Arc<ReleasePolicy>>, BrokerError> {
        Ok(self.read_policy()?.map(|in_force| in_force.policy))
    }

    /// Answers `POST /v1/challenge` with this body. Nothing is stored and nothing logged, so a flood costs neither.
    ///
    /// # Panics
    /// Never: a challenge has only fields that JSON can hold.
    #[must_use]
    pub fn challenge(&self, body: &[u8]) -> Answer {
        let broker_time = self.around.now();
        match self.nonces.issue(broker_time) {
            Ok((nonce, expires)) => {
                let (broker_key_id, minor) = (self.signing.key_id(), ChallengeAsked::agreed(body));
                let challenge = Challenge { nonce, expires, broker_time, broker_key_id, minor };
                let body =
                    serde_json::to_vec(&challenge).expect("a challenge has only fields that JSON can hold");
                Answer::json(200, body)
            }
            Err(error) => {
                self.report(&error.to_string());
                unlogged(&Denied::Backend)
            }
        }
    }

    fn operator_event(&self, kind: EventType, outcome: Outcome) -> Event {
        let mut event = Event::new(kind, outcome, (self.around.clock)());
        event.actor = Some(anchorhold_audit_log::Actor::new(anchorhold_audit_log::ActorKind::Operator));
        event
    }
}

/// The answer when nothing could be logged.
fn unlogged(denied: &Denied) -> Answer {
    Answer::json(denied.status(), Refusal::new(denied.clone()).to_json(Explain::Code))
}
