//! The keys that a broker knows, and the one it wraps under.

use super::blob::COMMITMENT_BYTES;
use super::bulkhead::Bulkhead;
use super::{Backend, BackendError, Blob, Context, DOMAIN, KekError, KekId, MAX_SECRET_BYTES, Place, Sealed};
use anchorhold_rats::Secret;
use ring::{digest, hmac};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const COMMITMENT_DOMAIN: &[u8] = b"anchorhold/key-broker/v1/commitment";
const HEALTH: Place<'static> = Place { kind: "health", name: &[] };

/// Items one after the other, each behind its length.
fn joined(items: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        out.extend_from_slice(&(item.len() as u64).to_be_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// Names a secret in its place without telling it: HMAC-SHA-256 under the secret itself. Only for what nobody
/// can guess, which the broker's secrets are, or what everybody knows, as its certificate. HMAC is collision resistant for keys of one length, and the length is in the
/// message, so a backend can give one secret only.
pub(super) fn commitment(place: Place<'_>, plain: &[u8]) -> [u8; COMMITMENT_BYTES] {
    let length = (plain.len() as u64).to_be_bytes();
    let message = joined(&[COMMITMENT_DOMAIN, &length, place.kind.as_bytes(), place.name]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, plain), &message);
    let mut out = [0; COMMITMENT_BYTES];
    out.copy_from_slice(tag.as_ref());
    out
}

fn context(kek: &KekId, place: Place<'_>, commitment: &[u8; COMMITMENT_BYTES]) -> Context {
    let items: [&[u8]; 5] = [DOMAIN, kek.as_str().as_bytes(), place.kind.as_bytes(), place.name, commitment];
    let mut out = [0; Context::LEN];
    out.copy_from_slice(digest::digest(&digest::SHA256, &joined(&items)).as_ref());
    Context(out)
}

/// One key-encryption key of a [`Keyring`].
#[derive(Clone)]
pub struct Member {
    kek: KekId,
    backend: Arc<dyn Backend>,
    /// For a backend that may block.
    bulkhead: Option<Bulkhead>,
}

impl Member {
    /// A key in this process, which answers at once.
    #[must_use]
    pub fn local(kek: KekId, backend: Arc<dyn Backend>) -> Self {
        Self { kek, backend, bulkhead: None }
    }

    /// A key elsewhere. Each call has `deadline`, and at most [`Bulkhead::LIMIT`] wait.
    #[must_use]
    pub fn remote(kek: KekId, backend: Arc<dyn Backend>, deadline: Duration) -> Self {
        Self { kek, backend, bulkhead: Some(Bulkhead::new(deadline)) }
    }

    /// The key's id.
    #[must_use]
    pub const fn kek(&self) -> &KekId {
        &self.kek
    }

    /// Calls the backend within the member's limits.
    ///
    /// # Errors
    /// [`KekError::Open`] when the backend says that something was not wrapped by it, [`KekError::Backend`] for trouble.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, KekError> {
        let outcome = match &self.bulkhead {
            None => work(self.backend.as_ref()),
            Some(bulkhead) => {
                let backend = Arc::clone(&self.backend);
                bulkhead.run(move || work(backend.as_ref()))
            }
        };
        outcome.map_err(|error| match error {
            BackendError::Open => KekError::Open { kek: self.kek.clone() },
            error => KekError::Backend { kek: self.kek.clone(), error },
        })
    }

    /// Wraps `plain` and sees that it opens again, so that nothing is stored that was lost on the way.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn wrap(&self, place: Place<'_>, plain: &[u8]) -> Result<Blob, KekError> {
        if plain.is_empty() || plain.len() > MAX_SECRET_BYTES {
            return Err(KekError::Length);
        }
        let commitment = commitment(place, plain);
        let context = context(&self.kek, place, &commitment);
        let copy = Zeroizing::new(plain.to_vec());
        let sealed = self.call(move |backend| backend.wrap(&context, &copy))?;
        let blob = Blob::new(self.kek.clone(), commitment, sealed).map_err(|_| self.garbage())?;
        self.unwrap(place, &blob)?;
        Ok(blob)
    }

    /// Unwraps a blob of this key. Establishes that it is the secret that was wrapped for `place`.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn unwrap(&self, place: Place<'_>, blob: &Blob) -> Result<Zeroizing<Vec<u8>>, KekError> {
        if *blob.kek() != self.kek {
            return Err(KekError::Open { kek: self.kek.clone() });
        }
        let context = context(&self.kek, place, blob.commitment());
        let sealed = blob.sealed().clone();
        let plain = self.call(move |backend| backend.unwrap(&context, &sealed))?;
        if commitment(place, &plain).ct_eq(blob.commitment()).into() {
            Ok(plain)
        } else {
            Err(KekError::Commitment { kek: self.kek.clone() })
        }
    }

    /// Wraps a blob of this key under the key's newest version.
    fn renew(&self, place: Place<'_>, blob: &Blob) -> Result<Blob, KekError> {
        let context = context(&self.kek, place, blob.commitment());
        let sealed: Sealed = blob.sealed().clone();
        let sealed = self.call(move |backend| backend.rewrap(&context, &sealed))?;
        let renewed = Blob::new(self.kek.clone(), *blob.commitment(), sealed).map_err(|_| self.garbage())?;
        self.unwrap(place, &renewed)?;
        Ok(renewed)
    }

    /// Whether the key can wrap and unwrap now, tried on a secret of no use; its version.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn health(&self) -> Result<u32, KekError> {
        let version = self.call(|backend| backend.version())?;
        let secret: Secret<32> = Secret::random().map_err(|_| KekError::Random)?;
        self.wrap(HEALTH, secret.expose())?;
        Ok(version)
    }

    fn garbage(&self) -> KekError {
        let error = BackendError::Garbage { wanted: "a version and a ciphertext of a storable length" };
        KekError::Backend { kek: self.kek.clone(), error }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.kek)
    }
}

/// How a key of the ring does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The key.
    pub kek: KekId,
    /// Whether new secrets are wrapped under it.
    pub primary: bool,
    /// Its version, or its trouble.
    pub version: Result<u32, KekError>,
}

/// The key and version that secrets are to be under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The key.
    pub kek: KekId,
    /// Its version.
    pub version: u32,
}

struct Ring {
    primary: KekId,
    members: BTreeMap<KekId, Member>,
    retired: BTreeSet<KekId>,
}

/// The keys that a broker knows.
pub struct Keyring {
    /// The lock is never held across a call to a backend.
    ring: RwLock<Ring>,
    /// The folder of the `kek.toml` that the ring was read from. Held over one change of both.
    settings: Option<Mutex<PathBuf>>,
}

impl Keyring {
    /// A ring of one key, which is the primary.
    #[must_use]
    pub fn new(primary: Member) -> Self {
        let kek = primary.kek.clone();
        let members = BTreeMap::from([(kek.clone(), primary)]);
        Self { ring: RwLock::new(Ring { primary: kek, members, retired: BTreeSet::new() }), settings: None }
    }

    /// The same ring, as the one that the `kek.toml` in `folder` tells of.
    #[must_use]
    pub fn of_settings(self, folder: &Path) -> Self {
        Self { settings: Some(Mutex::new(folder.to_owned())), ..self }
    }

    /// The folder of the ring's `kek.toml`, for one change of both; `None` for a ring that was not read from one.
    pub fn settings(&self) -> Option<MutexGuard<'_, PathBuf>> {
        // A panic leaves a change that is cut off, and every one of them may be.
        self.settings.as_ref().map(|settings| settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        // Every write below is one insertion or removal; a panic leaves nothing half done.
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key, to unwrap with.
    ///
    /// # Errors
    /// The member back when its id is taken, or was that of a key that is no more.
    pub fn add(&self, member: Member) -> Result<(), Member> {
        let mut ring = self.write();
        if ring.members.contains_key(&member.kek) || ring.retired.contains(&member.kek) {
            return Err(member);
        }
        ring.members.insert(member.kek.clone(), member);
        Ok(())
    }

    /// Wraps under `kek` from now on.
    ///
    /// # Errors
    /// [`KekError::Unknown`] and [`KekError::Retired`].
    pub fn set_primary(&self, kek: &KekId) -> Result<(), KekError> {
        self.member(kek)?;
        self.write().primary = kek.clone();
        Ok(())
    }

    /// Takes a key out, so that nothing opens with it any more. The primary stays; `None` is returned for it.
    pub fn retire(&self, kek: &KekId) -> Option<Member> {
        let mut ring = self.write();
        if ring.primary == *kek {
            return None;
        }
        let member = ring.members.remove(kek);
        ring.retired.insert(kek.clone());
        member
    }

    /// Puts a key back that [`retire`](Self::retire) took out and that was not destroyed after all.
    pub fn reinstate(&self, member: Member) {
        let mut ring = self.write();
        ring.retired.remove(&member.kek);
        ring.members.insert(member.kek.clone(), member);
    }

    /// Notes keys that are no more, for the error that a secret under one of them gives.
    pub fn note_retired(&self, keks: impl IntoIterator<Item = KekId>) {
        self.write().retired.extend(keks);
    }

    /// The key that new secrets are wrapped under.
    #[must_use]
    pub fn primary(&self) -> Member {
        let ring = self.read();
        ring.members.get(&ring.primary).cloned().expect("the primary is a member: it is never retired")
    }

    /// The keys, by id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.read().members.values().cloned().collect()
    }

    /// The key with this id.
    ///
    /// # Errors
    /// [`KekError::Unknown`] and [`KekError::Retired`].
    pub fn member(&self, kek: &KekId) -> Result<Member, KekError> {
        let ring = self.read();
        match ring.members.get(kek) {
            Some(member) => Ok(member.clone()),
            None if ring.retired.contains(kek) => Err(KekError::Retired { kek: kek.clone() }),
            None => Err(KekError::Unknown { kek: kek.clone() }),
        }
    }

    /// Wraps `plain` for `place` under the primary.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn wrap(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KekError> {
        Ok(self.primary().wrap(place, plain)?.to_bytes())
    }

    /// Unwraps what [`wrap`](Self::wrap) made for the same place, under whichever key it names. Establishes that it is
    /// the secret that was wrapped.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn unwrap(&self, place: Place<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let blob = Blob::parse(wrapped)?;
        self.member(blob.kek())?.unwrap(place, &blob)
    }

    /// Unwraps exactly `N` bytes.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn unwrap_secret<const N: usize>(
        &self,
        place: Place<'_>,
        wrapped: &[u8],
    ) -> Result<Secret<N>, KekError> {
        Secret::copy_from(&self.unwrap(place, wrapped)?).ok_or(KekError::Length)
    }

    /// What secrets are to be under: the primary, in the version that it wraps with now.
    ///
    /// # Errors
    /// [`KekError::Backend`].
    pub fn target(&self) -> Result<Target, KekError> {
        let primary = self.primary();
        let version = primary.call(|backend| backend.version())?;
        Ok(Target { kek: primary.kek, version })
    }

    /// Wraps a stored secret anew for `target`. `None` when it is under it already. The result was opened once, so the
    /// old wrapping can be forgotten.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn rewrap(
        &self,
        target: &Target,
        place: Place<'_>,
        wrapped: &[u8],
    ) -> Result<Option<Vec<u8>>, KekError> {
        let blob = Blob::parse(wrapped)?;
        let renewed = if *blob.kek() != target.kek {
            let plain = self.member(blob.kek())?.unwrap(place, &blob)?;
            self.member(&target.kek)?.wrap(place, &plain)?
        } else if blob.sealed().version < target.version {
            self.member(blob.kek())?.renew(place, &blob)?
        } else {
            return Ok(None);
        };
        Ok(Some(renewed.to_bytes()))
    }

    /// How every key does, all asked at once: the slowest takes its deadline.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        let primary = self.read().primary.clone();
        let (members, primary) = (self.members(), &primary);
        std::thread::scope(|scope| {
            let ask = |member: Member| {
                let (kek, broken) = (member.kek.clone(), member.clone());
                let asked = scope.spawn(move || member.health());
                (kek, broken, asked)
            };
            let asked: Vec<_> = members.into_iter().map(ask).collect();
            let health =
                |(kek, member, asked): (KekId, Member, std::thread::ScopedJoinHandle<'_, _>)| Health {
                    primary: kek == *primary,
                    version: asked.join().unwrap_or_else(|_| Err(member.garbage())),
                    kek,
                };
            asked.into_iter().map(health).collect()
        })
    }

    /// Lets every backend do what it has to do from time to time; the trouble that came of it.
    #[must_use]
    pub fn upkeep(&self) -> Vec<KekError> {
        self.members().iter().filter_map(|member| member.call(|backend| backend.upkeep()).err()).collect()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.read();
        write!(f, "Keyring({:?}, primary {})", ring.members.keys().collect::<Vec<_>>(), ring.primary)
    }
}
