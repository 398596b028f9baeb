//! The broker's own secrets. In the store they are wrapped under its key-encryption keys.

use crate::kek::{KekError, Keyring, Place};
use crate::state;
use crate::store::{Store, StoreError, look_up};
use anchorhold_rats::{RandomError, Secret};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use std::fmt;
use zeroize::Zeroizing;

/// Why the secrets are not there.
#[derive(Debug)]
pub enum SecretsError {
    /// The store.
    Store(StoreError),
    /// They do not open.
    Kek(KekError),
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Kek(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SecretsError {}

impl From<StoreError> for SecretsError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KekError> for SecretsError {
    fn from(error: KekError) -> Self {
        Self::Kek(error)
    }
}

/// All of them.
#[derive(Debug)]
pub struct Secrets {
    /// Seed of the Ed25519 key that signs answers.
    pub signing: Secret<32>,
    /// Seed of the X-Wing key to which owners wrap weights keys.
    pub import: Secret<32>,
    /// Seed of the Ed25519 key that signs the broker's log.
    pub log: Secret<32>,
    /// Seed of the Ed25519 key that cosigns the logs of others.
    pub witness: Secret<32>,
    /// The key by which the broker recognises its nonces.
    pub nonce: Secret<32>,
    /// The key of the HMAC under which chips are logged.
    pub chip: Secret<32>,
    /// The TLS key and its certificate.
    pub tls: Tls,
    /// The P-256 key that signs tokens of the KBS role, PKCS#8.
    pub token: Zeroizing<Vec<u8>>,
}

/// What a broker shows on a connection. Brokers on one store share it, so that a guest pins one.
#[derive(Debug)]
pub struct Tls {
    /// The key, PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
    /// The certificate, PEM; public.
    pub certificate: String,
}

impl Secrets {
    /// Fresh ones, but for the TLS key, which comes with its certificate.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate(tls: Tls) -> Result<Self, RandomError> {
        Ok(Self {
            signing: Secret::random()?,
            import: Secret::random()?,
            log: Secret::random()?,
            witness: Secret::random()?,
            nonce: Secret::random()?,
            chip: Secret::random()?,
            token: token_key()?,
            tls,
        })
    }

    fn named(&self) -> [(&'static str, &[u8]); 9] {
        [
            ("signing seed", self.signing.expose()),
            ("import seed", self.import.expose()),
            ("log seed", self.log.expose()),
            ("witness seed", self.witness.expose()),
            ("nonce key", self.nonce.expose()),
            ("chip key", self.chip.expose()),
            ("tls key", &self.tls.key),
            // Wrapped like the others, so that it cannot be exchanged for another.
            ("tls certificate", self.tls.certificate.as_bytes()),
            ("token key", &self.token),
        ]
    }

    /// Each of them wrapped, by kind, as a state keeps them.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn wrap(&self, keyring: &Keyring) -> Result<Vec<(&'static str, Vec<u8>)>, KekError> {
        self.named()
            .into_iter()
            .map(|(kind, secret)| Ok((kind, keyring.wrap(place(kind), secret)?)))
            .collect()
    }

    /// Reads and unwraps them.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn open(store: &dyn Store, keyring: &Keyring) -> Result<Self, SecretsError> {
        let open = |kind: &'static str| -> Result<_, SecretsError> {
            let wrapped = look_up(store, |view| state::secret(view, kind))?;
            Ok(keyring.unwrap(place(kind), &wrapped)?)
        };
        let seed = |kind| -> Result<Secret<32>, SecretsError> {
            let secret = open(kind)?;
            Ok(Secret::copy_from(&secret).ok_or(StoreError::Corrupt("secret"))?)
        };
        Ok(Self {
            signing: seed("signing seed")?,
            import: seed("import seed")?,
            log: seed("log seed")?,
            witness: seed("witness seed")?,
            nonce: seed("nonce key")?,
            chip: seed("chip key")?,
            tls: Tls {
                key: open("tls key")?,
                certificate: String::from_utf8(open("tls certificate")?.to_vec())
                    .map_err(|_| StoreError::Corrupt("certificate"))?,
            },
            token: open("token key")?,
        })
    }
}

fn token_key() -> Result<Zeroizing<Vec<u8>>, RandomError> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    key.map(|key| Zeroizing::new(key.as_ref().to_vec())).map_err(|_| RandomError)
}

const fn place(kind: &'static str) -> Place<'static> {
    Place { kind, name: &[] }
}
