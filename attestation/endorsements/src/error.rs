//! Why endorsements are missing.

use crate::item::{Item, Vendor};
use crate::transport::TransportError;
use anchorhold_rats::{EvidenceError, Timestamp};
use std::time::Duration;

/// Why one thing could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Only the cache may be used and it has none.
    #[error("not in the cache, and the network may not be used")]
    NotCached,
    /// Only the cache may be used and what it has is over.
    #[error("the cached one expired at {expired}, and the network may not be used")]
    Expired {
        /// Its last moment.
        expired: Timestamp,
    },
    /// No whole answer in time.
    #[error("no answer within {} ms", within.as_millis())]
    Timeout {
        /// The time that the last attempt had.
        within: Duration,
    },
    /// No answer at all.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The service does not know it.
    #[error("the service has none (status {status})")]
    Absent {
        /// 400, 404 or 410.
        status: u16,
    },
    /// The service sent the request elsewhere, which is not followed.
    #[error("redirected (status {status}), which is not followed")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// The service does not answer this caller, or not with a status that is understood.
    #[error("refused with status {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The service is overloaded or out of order, after all attempts.
    #[error("unavailable (status {status})")]
    Unavailable {
        /// 429, 500 to 599, or 200 with an OCSP response that asks to come back.
        status: u16,
        /// What the service asked to wait, in seconds.
        retry_after_s: Option<u64>,
    },
    /// The answer is not what was asked for.
    #[error("the answer is not {wanted}")]
    Content {
        /// What was asked for.
        wanted: &'static str,
    },
    /// The base URL and the path of the item make no URL.
    #[error("no valid URL")]
    Url,
}

/// One thing that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{vendor} {item} from {host}: {cause}")]
pub struct Failure {
    /// Who publishes it.
    pub vendor: Vendor,
    /// What it is.
    pub item: Box<Item>,
    /// The host that was, or would have been, asked.
    pub host: String,
    /// Why there is none.
    pub cause: Cause,
}

/// Why evidence does not say what to ask for. A verifier refuses such evidence too and says more about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    /// The SNP report does not have the documented shape.
    #[error("the SNP report is not readable ({0})")]
    Report(String),
    /// The SNP report states that no key signed it.
    #[error("the SNP report is not signed")]
    Unsigned,
    /// A cloud provider's key signed the report and its certificate is not there; AMD publishes none.
    #[error("a VLEK signed the report and no certificate accompanies it; AMD publishes only VCEKs")]
    Vlek,
    /// The host masked the chip's identity, so its certificate has no name.
    #[error("CHIP_ID is masked and no certificate accompanies the report")]
    ChipIdMasked,
    /// The report names a processor that is not known.
    #[error("the SNP report is of an unknown product")]
    Product,
    /// REPORTED_TCB has reserved bytes that are not zero, in every layout that it could have.
    #[error("REPORTED_TCB does not have the layout of the product")]
    Tcb,
    /// The TDX quote does not carry a readable PCK certificate chain.
    #[error("the TDX quote has no {0}")]
    Quote(&'static str),
    /// A name that is no RIM id.
    #[error("reference manifest {index} of the devices has no valid id")]
    RimId {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// More of something than evidence may have.
    #[error("{what} over the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The most that is asked for.
        limit: usize,
    },
}

/// Why there are no endorsements for evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The evidence does not say what to ask for.
    #[error(transparent)]
    Evidence(#[from] Unplannable),
    /// Some are missing. What was fetched is in the cache, so the next call asks for these alone.
    #[error("endorsements are missing: {}", list(.0))]
    Missing(Vec<Failure>),
    /// Evidence or endorsements are over the limits of what travels.
    #[error(transparent)]
    Limits(#[from] EvidenceError),
    /// The cache could not be written, where that was the purpose.
    #[error("cache not written: {0}")]
    Cache(std::io::ErrorKind),
}

fn list(failures: &[Failure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
