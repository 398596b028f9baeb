//! Fetches what AMD, Intel and NVIDIA say about the parts in evidence, and keeps it, so that verification itself stays
//! offline.
//!
//! [`EndorsementStore::endorse`] takes evidence and returns it with everything that a verifier needs beside it: for SEV-SNP the
//! chip's certificate (where the host did not send it) and AMD's revocation list; for TDX Intel's TCB info, identity of the
//! quoting enclave and revocation lists; for NVIDIA's devices their reference manifests and OCSP responses.
//!
//! ```no_run
//! use anchorhold_endorsements::{Cache, CacheLimits, Config, EndorsementStore, HttpsTransport};
//! use anchorhold_rats::{Evidence, Timestamp};
//! use anchorhold_verifier::{TrustAnchors, authenticate};
//!
//! # async fn verify(evidence: Evidence, now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::open("/var/cache/anchorhold/endorsements", CacheLimits::default())?;
//! let store = EndorsementStore::new(Config::production(), HttpsTransport::new()?, cache);
//! let endorsed = store.endorse(&evidence, now).await?;
//! let authentic =
//!     authenticate(&endorsed.evidence, &endorsed.endorsements, &TrustAnchors::production(), now)?;
//! // The same evidence, to be judged elsewhere without a network.
//! let file = serde_json::to_vec(&endorsed.into_bundle(now)?)?;
//! # Ok(())
//! # }
//! ```
//!
//! What is promised: a request has a time limit, an answer a length limit that holds while it arrives, a call a time limit of
//! its own; only failures that may pass are tried again; redirects are not followed; what the cache has is not asked for
//! again before it is due, and the same question is not asked twice at once. With [`Mode::Offline`] nothing is asked, and the
//! error names what is missing. Clock and transport are arguments: [`plan`](plan()) needs neither.
//!
//! *Not* promised: that anything here is genuine. Every byte is untrusted until a verifier has judged it, and is read only as
//! far as it takes to keep it under the right name for the right time. Whoever controls a service, the network or the
//! cache folder can withhold endorsements or send old ones, which the verifier refuses by their dates; and sees which chips
//! are asked about.

mod answer;
mod bundle;
mod cache;
mod config;
mod endorsement;
mod error;
mod fetch;
mod https;
mod item;
mod ocsp;
mod pck;
mod plan;
mod request;
mod retry;
mod rim;
mod rim_ids;
mod store;
mod transport;

pub use cache::{Cache, CacheError, CacheLimits};
pub use config::{
    Ages, BaseUrl, BaseUrlError, BearerToken, Config, Intermediates, Limits, Mirrors, Mode, Retry, RootCrl,
    Source,
};
pub use endorsement::Endorsement;
pub use error::{Cause, Error, Failure, Unplannable};
pub use https::HttpsTransport;
pub use item::{CertId, Fmspc, Item, PckCa, RimId, Update, Vendor};
pub use plan::{Wanted, follow_up, plan};
pub use rim_ids::rim_ids;
pub use store::{Endorsed, EndorsementStore, Gathered};
pub use transport::{Answer, Request, Transport, TransportError};
