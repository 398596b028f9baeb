//! A client that verifies a server before it asks it anything, and goes on verifying while it asks.
//!
//! [`VerifiedUpstream`] is one server under watch: [`verify`](VerifiedUpstream::verify) judges it now,
//! [`watch`](VerifiedUpstream::watch) judges it on time, before its evidence ends, and as a `tower::Service` it carries requests
//! on a pool of attested connections. Users of hyper take [`AttestedConnector`], which gives `hyper_util`'s client connections
//! that were attested before HTTP saw them. Programs that cannot be linked with it, among them those built on `reqwest`, go through
//! [`proxy::serve`]: a plain HTTP endpoint on this machine that does the same (`anchorhold proxy`).
//!
//! *Promised*: no byte of a request leaves unless the last verdict is `accepted`, its evidence has not ended, and the
//! connection has shown an authenticator of the attested guest. Every wait, body and count is bounded. [`History`] remembers what was
//! accepted and tells when a server goes back to something older; [`receipts`] holds what the server says about each exchange
//! against the bytes that went through.
//!
//! This crate is *not* a verifier (that is `anchorhold-verifier`), reads no clock, environment or policy of its own (a
//! [`RelyingParty`] gives them), and logs nothing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

mod bundle;
mod connector;
pub mod history;
pub mod proxy;
pub mod receipts;
mod relying;
mod upstream;
mod verification;

pub use bundle::{ATTESTATION_BUNDLE_FORMAT, AttestationBundle, BundleError};
pub use connector::{AttestedConnector, ConnectError, Link};
pub use history::History;
pub use relying::{FixedTrust, RelyingParty, Trust, judge};
pub use upstream::{AttestedGuest, HistorySummary, RequestError, Settings, Snapshot, VerifiedUpstream};
pub use verification::{Reason, Standing};
