//! A small sealed package, limits that do not wait, and one way to fetch.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anchorhold_sealed_weights::{
    Effort, Manifest, ObjectEntry, OwnerKey, Role, SealOptions, SealedModel, SegmentSize, VerifiedManifest,
    WeightsKey, read_manifest, seal,
};
use anchorhold_weights_store::{
    Error, FetchedPackage, Limits, Order, Pin, PlainHttp, Progress, Recheck, Store, StoreOptions, Target,
    fetch,
};
use tempfile::TempDir;

/// The weights key; its bytes and [`CANARY`] must never be found in a cache.
pub(crate) const KEY: [u8; 32] = *b"weights-key-of-the-store-tests!!";
/// Stands everywhere in the plaintext of the weights.
pub(crate) const CANARY: &[u8] = b"plaintext-canary";
const OWNER_SEED: [u8; 32] = [7; 32];
/// Encrypted bytes of a full segment.
pub(crate) const SEGMENT: u64 = (1 << 20) + 32;
/// Segments of the weights, the last one not full.
pub(crate) const SEGMENTS: u64 = 6;

/// A model folder and its package.
pub(crate) struct Sealed {
    dir: TempDir,
}

impl Sealed {
    pub(crate) fn new() -> Self {
        Self::with_version(1)
    }

    pub(crate) fn with_version(version: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.safetensors"), weights(version)).unwrap();
        fs::write(model.join("config.json"), r#"{"hidden_size":384}"#).unwrap();
        fs::write(model.join("tokenizer.json"), r#"{"vocab":["a","b"]}"#).unwrap();
        let options = SealOptions {
            segment: SegmentSize::Mib1,
            ..SealOptions::new("acme/tiny", version, 1_000..=2_000)
        };
        let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap();
        seal(&model, &dir.path().join("package"), &options, &owner, &KEY, &Effort::default()).unwrap();
        Self { dir }
    }

    pub(crate) fn package(&self) -> PathBuf {
        self.dir.path().join("package")
    }

    pub(crate) fn manifest(&self) -> VerifiedManifest {
        Manifest::verify(&read_manifest(&self.package()).unwrap(), &owner()).unwrap()
    }

    pub(crate) fn weights(&self) -> ObjectEntry {
        self.manifest().object(Role::Weights).unwrap().clone()
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::Release { digest: *self.manifest().digest(), min_version: 1 }
    }
}

pub(crate) fn owner() -> [u8; 32] {
    OwnerKey::from_seed(&OWNER_SEED).unwrap().public_key()
}

/// Five and a half segments of the canary.
fn weights(version: u64) -> Vec<u8> {
    let count = (SEGMENTS - 1) * (1 << 20) + (1 << 19);
    let mut header =
        format!(r#"{{"w{version}":{{"dtype":"U8","shape":[{count}],"data_offsets":[0,{count}]}}}}"#);
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(CANARY.iter().cycle().take(count as usize));
    bytes
}

/// Limits that give up soon and never wait long. Two segments a request.
pub(crate) fn limits() -> Limits {
    Limits {
        range_len: 2 * SEGMENT,
        in_flight: 4,
        attempts: 3,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(4),
        changes: 2,
        connect_timeout: Duration::from_secs(20),
        head_timeout: Duration::from_secs(20),
        pace_window: Duration::from_secs(20),
        pace_least: 1,
        lock_wait: Duration::from_secs(60),
        total: Duration::from_secs(120),
        note_every: 1,
    }
}

pub(crate) fn plain() -> StoreOptions {
    StoreOptions { plain_http: PlainHttp::DangerouslyAllowed, ..StoreOptions::default() }
}

/// A place to fetch to, and what is fetched with.
pub(crate) struct Fetch<'a> {
    pub(crate) url: String,
    pub(crate) options: StoreOptions,
    pub(crate) pin: Pin,
    pub(crate) recheck: Recheck,
    pub(crate) limits: Limits,
    pub(crate) target: Target<'a>,
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(url: &str, sealed: &Sealed, target: Target<'a>) -> Self {
        Self {
            url: url.to_owned(),
            options: plain(),
            pin: sealed.pin(),
            recheck: Recheck::Nothing,
            limits: limits(),
            target,
        }
    }

    pub(crate) async fn run(&self) -> Result<FetchedPackage, Error> {
        self.report(&|_| {}).await
    }

    pub(crate) async fn report(&self, report: &(dyn Fn(Progress) + Sync)) -> Result<FetchedPackage, Error> {
        let store = Store::open(&self.url.parse()?, &self.options, &self.limits)?;
        let owner = owner();
        let order = Order { owner_key: &owner, pin: self.pin, recheck: self.recheck, limits: &self.limits };
        fetch(&store, &order, self.target, report).await
    }

    /// The code with which a fetch that must not succeed ends.
    pub(crate) async fn refused(&self) -> (&'static str, Error) {
        let error = self.run().await.unwrap_err();
        (error.code(), error)
    }
}

/// A reader with the key loads the model out of the returned files, and every byte is the plaintext.
pub(crate) fn loads(package: FetchedPackage) {
    let key = WeightsKey::open(package.manifest(), &KEY).unwrap();
    let (files, lock) = package.into_files();
    let model = SealedModel::open(&key, files).unwrap();
    model.verify(&Effort::default()).unwrap();
    drop(lock);
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Neither plaintext nor the key stands anywhere below a folder.
pub(crate) fn check_ciphertext_only(dir: &Path) {
    for path in files(dir) {
        let bytes = fs::read(&path).unwrap();
        for secret in [CANARY, &KEY, b"hidden_size", b"\"vocab\""] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds {:?}", path.display(), String::from_utf8_lossy(secret));
        }
    }
}
