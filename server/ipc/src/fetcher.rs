//! What keeper and fetcher say to each other. What is not here cannot be said.

use crate::worker::{Confinement, ObjectDescriptors, WireText};
use serde::{Deserialize, Serialize};

/// From the keeper to a fetcher.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToFetcher {
    /// Fetch this package. Comes once.
    Fetch(Box<FetchPackage>),
}

/// What a fetcher needs in order to fetch one sealed package. No key of the guest is among it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPackage {
    /// The package's address in its store.
    pub url: String,
    /// How the store is spoken to.
    pub store: StoreAccess,
    /// What the key broker's grant says the manifest's SHA-256 must be.
    pub manifest_digest: [u8; 32],
    /// The lowest version that the release policy allows.
    pub version_min: u64,
    /// The Ed25519 key of the model's owner.
    pub owner_key: [u8; 32],
    /// Whether what an earlier fetch left is believed or verified again.
    pub recheck: bool,
    /// The most bytes of all packages in the cache.
    pub cache_max_bytes: u64,
    /// The most bytes of memory that may hold the package when the cache's disk does not work.
    pub memory_max_bytes: u64,
}

/// How a store is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAccess {
    /// Certificates, DER, of the authorities that may vouch for the store's name; none means Mozilla's list.
    pub authorities: Vec<Vec<u8>>,
    /// Whether the store may be spoken to without TLS.
    pub plain_http: bool,
    /// Who we are to the store.
    pub identity: StoreIdentity,
    /// The region of an S3 store.
    pub region: String,
    /// The address of an S3 store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in front of the S3 store's own.
    pub virtual_host: bool,
    /// Requests at one time.
    pub in_flight: u16,
    /// Bytes of one request.
    pub range_len: u64,
    /// For the whole fetch, in seconds.
    pub total_s: u64,
}

/// Who we are to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreIdentity {
    /// Nobody.
    Anonymous,
    /// The role that the cloud gives this machine.
    Machine,
    /// The holder of an access key, in the text that the AWS tools write.
    Key(WireText),
}

/// From a fetcher to the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromFetcher {
    /// What holds the fetcher; sent before anything is fetched.
    Confined(Confinement),
    /// How far the fetch is, in bytes.
    Progress {
        /// Verified so far.
        done: u64,
        /// Of the whole package.
        total: u64,
    },
    /// The cache's disk does not work; the package is fetched into memory instead.
    CacheFailed {
        /// Stable code, such as `cache_full`.
        code: String,
        /// What was being done, and the system's answer.
        detail: String,
    },
    /// The package is here. The descriptors are the card, for each object its segments and its tree, and the cache's
    /// lock where `locked`; all for reading alone.
    Fetched(FetchReport),
    /// The package was not fetched; the fetcher exits.
    Failed {
        /// Stable code, such as `absent`.
        code: String,
        /// What was wanted and observed.
        detail: String,
    },
}

/// A fetched package and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReport {
    /// The exact bytes of the signed manifest.
    pub manifest: Vec<u8>,
    /// The objects of the package, in the order of their descriptors.
    pub objects: Vec<ObjectDescriptors>,
    /// Whether the cache's lock is the last descriptor.
    pub locked: bool,
    /// Bytes that came from the store.
    pub fetched: u64,
    /// Bytes that were there already.
    pub reused: u64,
    /// Requests to the store.
    pub requests: u64,
}
