//! Fetches a sealed package out of an object store that nobody trusts into a cache of ciphertext.
//!
//! [`Store::open`] names the store, [`Cache::open`] the folder, and [`fetch`] brings over what is missing:
//!
//! 1. the manifest, bounded, under the owner's key and with the digest that the key release names;
//! 2. the card and the trees, whole, each under the signed root;
//! 3. the objects, in ranges of several segments, many at once, each segment under its own leaf before it counts.
//!
//! What was verified is noted on disk ([`SegmentMap`]), so that a fetch that ends for whatever reason, `kill -9` included, goes
//! on where it was. The note may lie: whoever reads the package verifies it again, and [`Recheck::Everything`] finds what is
//! not as signed and fetches that alone.
//!
//! Promised: only bytes that the owner signed are called fetched; every wait, size, number of attempts and the whole fetch are
//! bounded ([`Limits`]); a slow, lying, redirecting or changing store ends in an [`Error`] with a code of its own; nothing
//! but ciphertext and public parts of the package is ever written. A store can withhold and it sees what is asked for; it
//! can do nothing else.
//!
//! *Not* here: keys (nothing is decrypted), the choice of the version that may be served, the clock and the environment.

mod attempts;
mod cache;
mod credentials;
mod disk;
mod error;
mod fetch;
mod folder;
mod limits;
mod local;
mod package;
mod segment_map;
mod store;
mod store_url;
mod transport;

pub use cache::{Cache, MAX_CACHED_PACKAGES};
pub use credentials::{CredentialsError, S3Credentials};
pub use error::{Error, Fault};
pub use fetch::{Order, Pin, Progress, Recheck, Target, fetch};
pub use folder::Folder;
pub use limits::Limits;
pub use package::{FetchedPackage, Summary};
pub use segment_map::{MapError, SegmentMap};
pub use store::{Addressing, Identity, PlainHttp, S3Options, Store, StoreOptions};
pub use store_url::{MAX_URL_LEN, Place, StoreUrl};
pub use transport::{Trust, parse_content_range};
