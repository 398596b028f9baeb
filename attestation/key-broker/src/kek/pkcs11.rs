//! A key-encryption key in an HSM, through its PKCS#11 module (OASIS PKCS #11 version 2.40 and 3).
//!
//! The key is an AES-256 key that never leaves the token. Each secret is encrypted there with `CKM_AES_GCM` (current
//! mechanisms 2.40, section 2.12.3), the [`Context`] as associated data and a random 12-byte IV of ours, which stands
//! before the ciphertext. A token that insists on an IV of its own, as some do in FIPS mode, is refused at the start:
//! what it encrypts does not open.
//!
//! The module is the owner's choice and runs in this process. It is trusted with the secrets, as the token is, and with
//! the process. A call that hangs is the [bulkhead](super::bulkhead)'s business.

use super::backoff::Backoff;
use super::bulkhead::Bulkhead;
use super::file::{FileError, read};
use super::{Backend, BackendError, Context, Destroy, Sealed};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use zeroize::Zeroizing;

/// A token's key has one version.
const VERSION: u32 = 1;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const MAX_PIN_BYTES: usize = 256;

/// Which key of which token, and how to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label (`CKA_LABEL`); one key of the token has it.
    pub key: String,
    /// A file with the user PIN, readable by its owner alone. A line break at its end is no part of the PIN.
    pub pin_file: PathBuf,
}

/// A key-encryption key in a token.
pub struct TokenKey {
    settings: TokenSettings,
    link: Mutex<Link>,
}

/// The way to the token. The lock is held while a session is opened, and not while one works.
#[derive(Default)]
struct Link {
    module: Option<Pkcs11>,
    /// Sessions that nobody uses.
    idle: Vec<Opened>,
    backoff: Backoff,
    /// A PIN that the token refused. It is not tried again, lest the token locks itself.
    refused_pin: Option<Zeroizing<Vec<u8>>>,
}

/// A session that is logged in, with the key's handle in it.
struct Opened {
    session: Session,
    key: ObjectHandle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl TokenKey {
    /// The key that `settings` name. The token is not asked yet.
    #[must_use]
    pub fn new(settings: TokenSettings) -> Self {
        Self { settings, link: Mutex::default() }
    }

    /// Makes the key in the token.
    ///
    /// # Errors
    /// [`BackendError`]; in particular when the token has a key of that label.
    pub fn create(&self) -> Result<(), BackendError> {
        let session = self.log_in(&mut self.lock(), Access::Write)?;
        if !self.handles(&session)?.is_empty() {
            return Err(BackendError::Unfit { wanted: "the first of its label in the token" });
        }
        session.generate_key(&Mechanism::AesKeyGen, &self.template()).map_err(|error| classify(&error))?;
        self.version().map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        // What a panic may leave is fewer idle sessions.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn template(&self) -> Vec<Attribute> {
        vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen((KEY_BYTES as u64).into()),
            Attribute::Label(self.settings.key.clone().into_bytes()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]
    }

    fn handles(&self, session: &Session) -> Result<Vec<ObjectHandle>, BackendError> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(self.settings.key.clone().into_bytes()),
        ];
        session.find_objects(&template).map_err(|error| classify(&error))
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, BackendError> {
        let slots = module.get_slots_with_token().map_err(|error| classify(&error))?;
        let mut ours = slots.into_iter().filter(|slot| {
            module.get_token_info(*slot).is_ok_and(|info| info.label() == self.settings.token)
        });
        match (ours.next(), ours.next()) {
            (Some(slot), None) => Ok(slot),
            (None, _) => Err(BackendError::Missing { what: "token of that label" }),
            (Some(_), Some(_)) => Err(BackendError::Unfit { wanted: "in the only token of its label" }),
        }
    }

    /// Opens a session and logs in.
    fn log_in(&self, link: &mut Link, access: Access) -> Result<Session, BackendError> {
        let module = match &link.module {
            Some(module) => module,
            None => link.module.insert(load(&self.settings)?),
        };
        let slot = self.slot(module)?;
        let mechanisms = module.get_mechanism_list(slot).map_err(|error| classify(&error))?;
        if !mechanisms.contains(&MechanismType::AES_GCM) {
            return Err(BackendError::Unfit { wanted: "in a token with CKM_AES_GCM" });
        }
        let session = match access {
            Access::Read => module.open_ro_session(slot),
            Access::Write => module.open_rw_session(slot),
        };
        let session = session.map_err(|error| classify(&error))?;
        let pin = self.pin()?;
        if link.refused_pin.as_ref().is_some_and(|refused| **refused == *pin) {
            return Err(PIN_REFUSED);
        }
        let text = std::str::from_utf8(&pin).map_err(|_| BackendError::Garbage { wanted: "a PIN" })?;
        match session.login(UserType::User, Some(&AuthPin::from(text))) {
            // The login is the process's: another session has done it.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                let error = classify(&error);
                if error == PIN_REFUSED {
                    link.refused_pin = Some(pin);
                }
                Err(error)
            }
        }
    }

    fn pin(&self) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let mut pin = read(&self.settings.pin_file, MAX_PIN_BYTES).map_err(|error| match error {
            FileError::Open { .. } => BackendError::Denied { what: "a PIN file that others can read" },
            _ => BackendError::Missing { what: "PIN file" },
        })?;
        while pin.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            pin.pop();
        }
        Ok(pin)
    }

    /// A session with the key, after a look at the key. After a failure it is not tried at once again.
    fn connect(&self, access: Access) -> Result<Opened, BackendError> {
        let mut link = self.lock();
        link.backoff.check(Instant::now())?;
        let opened = self.log_in(&mut link, access).and_then(|session| {
            let handles = self.handles(&session)?;
            match handles.as_slice() {
                [] => Err(BackendError::Missing { what: "key of that label in the token" }),
                [key] => {
                    look_at(&session, *key)?;
                    Ok(Opened { key: *key, session })
                }
                _ => Err(BackendError::Unfit { wanted: "the only one of its label in the token" }),
            }
        });
        match &opened {
            Ok(_) => link.backoff.worked(),
            Err(error) => {
                // Set up anew next time, should the module have been reset under us.
                link.module = None;
                link.backoff.failed(Instant::now(), error);
            }
        }
        opened
    }

    /// Keeps a session for the next call.
    fn keep(&self, opened: Opened) {
        let mut link = self.lock();
        if link.idle.len() < Bulkhead::LIMIT {
            link.idle.push(opened);
        }
    }

    /// Does `work` in a session. One that was idle may have ended with its token, so trouble there is no answer: it and
    /// its like are dropped, and a new session is asked.
    fn with_session<T>(&self, work: impl Fn(&Opened) -> Result<T, Error>) -> Result<T, BackendError> {
        let idle = self.lock().idle.pop();
        if let Some(opened) = idle {
            match work(&opened).map_err(|error| classify(&error)) {
                outcome @ (Ok(_) | Err(BackendError::Open)) => {
                    self.keep(opened);
                    return outcome;
                }
                Err(_) => {
                    let stale = std::mem::take(&mut self.lock().idle);
                    drop((opened, stale));
                }
            }
        }
        let opened = self.connect(Access::Read)?;
        let outcome = work(&opened).map_err(|error| classify(&error));
        if matches!(outcome, Ok(_) | Err(BackendError::Open)) {
            self.keep(opened);
        }
        outcome
    }
}

const PIN_REFUSED: BackendError = BackendError::Denied { what: "this PIN; the token may lock itself" };

fn load(settings: &TokenSettings) -> Result<Pkcs11, BackendError> {
    let module = Pkcs11::new(&settings.module)
        .map_err(|_| BackendError::Missing { what: "PKCS#11 module, or it cannot be loaded" })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // One module may hold several keys.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(classify(&error)),
    }
}

/// Refuses a key that could leave the token, now or before, or that does not do what is asked of it.
fn look_at(session: &Session, key: ObjectHandle) -> Result<(), BackendError> {
    let wanted: [(Attribute, &'static str); 8] = [
        (Attribute::KeyType(KeyType::AES), "an AES key"),
        (Attribute::ValueLen((KEY_BYTES as u64).into()), "of 256 bits"),
        (Attribute::Sensitive(true), "sensitive (CKA_SENSITIVE)"),
        (Attribute::Extractable(false), "kept in the token (CKA_EXTRACTABLE false)"),
        (Attribute::AlwaysSensitive(true), "one that was sensitive always (CKA_ALWAYS_SENSITIVE)"),
        (Attribute::NeverExtractable(true), "one that never could leave (CKA_NEVER_EXTRACTABLE)"),
        (Attribute::Encrypt(true), "for encryption (CKA_ENCRYPT)"),
        (Attribute::Decrypt(true), "for decryption (CKA_DECRYPT)"),
    ];
    let types: Vec<AttributeType> = wanted.iter().map(|(attribute, _)| attribute.attribute_type()).collect();
    let observed = session.get_attributes(key, &types).map_err(|error| classify(&error))?;
    match wanted.iter().find(|(attribute, _)| !observed.contains(attribute)) {
        None => Ok(()),
        Some((_, wanted)) => Err(BackendError::Unfit { wanted }),
    }
}

/// What a module's error means. Values of PKCS #11 base 2.40, section 5.1.
fn classify(error: &Error) -> BackendError {
    let Error::Pkcs11(value, _) = error else {
        return BackendError::Garbage { wanted: "one of a PKCS#11 module" };
    };
    match value {
        RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => BackendError::Open,
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked => PIN_REFUSED,
        RvError::UserNotLoggedIn | RvError::UserPinNotInitialized | RvError::UserTypeInvalid => {
            BackendError::Denied { what: "use of the token" }
        }
        RvError::KeyFunctionNotPermitted | RvError::ActionProhibited | RvError::TokenWriteProtected => {
            BackendError::Denied { what: "this use of the key" }
        }
        RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::KeyTypeInconsistent => {
            BackendError::Unfit { wanted: "one that does AES-GCM with an IV of ours" }
        }
        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::SlotIdInvalid => BackendError::Missing { what: "token" },
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => BackendError::Missing { what: "key" },
        _ => BackendError::Unreachable { what: "good answer from the token" },
    }
}

impl Backend for TokenKey {
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError> {
        let iv = random_iv()?;
        let body = self.with_session(|opened| {
            opened.session.encrypt(&gcm(&mut iv.clone(), context)?, opened.key, plain)
        })?;
        if body.len() != plain.len() + TAG_BYTES {
            return Err(BackendError::Garbage { wanted: "ciphertext and tag" });
        }
        Ok(Sealed { version: VERSION, bytes: [iv.as_slice(), &body].concat() })
    }

    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        if sealed.version != VERSION {
            return Err(BackendError::Version { observed: sealed.version });
        }
        let (iv, body) = sealed.bytes.split_first_chunk::<IV_BYTES>().ok_or(BackendError::Open)?;
        // Not every module checks this itself.
        let length = body.len().checked_sub(TAG_BYTES).ok_or(BackendError::Open)?;
        let fresh = random_iv()?;
        let plain = self.with_session(|opened| {
            let plain = opened.session.decrypt(&gcm(&mut iv.clone(), context)?, opened.key, body);
            match plain {
                // SoftHSM among others says no more than this of a wrong tag. A token that can encrypt is sound.
                Err(Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, function)) => {
                    opened.session.encrypt(&gcm(&mut fresh.clone(), context)?, opened.key, &[0])?;
                    Err(Error::Pkcs11(RvError::EncryptedDataInvalid, function))
                }
                plain => plain.map(Zeroizing::new),
            }
        })?;
        if plain.len() == length {
            Ok(plain)
        } else {
            Err(BackendError::Garbage { wanted: "the whole secret" })
        }
    }

    fn version(&self) -> Result<u32, BackendError> {
        // Attributes may have been changed under an open session, so this one is new.
        let opened = self.connect(Access::Read)?;
        self.keep(opened);
        Ok(VERSION)
    }

    fn destroy(&self, what: Destroy) -> Result<(), BackendError> {
        if what != Destroy::Key {
            return Err(BackendError::Unsupported { what: "versions of a key" });
        }
        match self.connect(Access::Write) {
            Ok(opened) => opened.session.destroy_object(opened.key).map_err(|error| classify(&error)),
            // An earlier attempt may have been cut off after this.
            Err(BackendError::Missing { what: "key of that label in the token" }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn random_iv() -> Result<[u8; IV_BYTES], BackendError> {
    let mut iv = [0; IV_BYTES];
    SystemRandom::new().fill(&mut iv).map_err(|_| BackendError::Random)?;
    Ok(iv)
}

fn gcm<'a>(iv: &'a mut [u8; IV_BYTES], context: &'a Context) -> Result<Mechanism<'a>, Error> {
    GcmParams::new(iv, context.as_bytes(), (TAG_BYTES as u64 * 8).into()).map(Mechanism::AesGcm)
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({} in {})", self.settings.key, self.settings.token)
    }
}
