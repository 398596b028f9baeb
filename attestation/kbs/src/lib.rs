//! The KBS protocol of Confidential Containers (Trustee, guest-components), version 0.4.0, in both roles. No socket, clock,
//! file or device is touched here; time and bytes are arguments.
//!
//! * The server: [`server::Server`] answers introductions and attestations, issues tokens and recognises guests by them;
//!   [`seal`] encrypts a resource to a guest.
//! * The guest: [`client::begin`] starts an exchange, at whose end is [`client::Attested`], with which resources are
//!   asked for and opened.
//! * A relying party: [`TokenRules::accept`] takes attestation results that Trustee signed.
//!
//! Promised: what is read is refused when it is longer, other or more than the protocol has; a server's session is a value
//! that it recognises by its own key and never a table that can be filled; a token vouches for the key to which resources
//! go, and names the policy by which it was given; a guest opens nothing before it verified its token against pinned keys.
//!
//! This crate is *not* a verifier and *not* a broker: it judges no evidence, keeps no state, so a nonce that is used twice is
//! refused by whoever stores used ones, and decides about no resource. How it was held against Trustee's own programs, and
//! where the two differ, is in `INTEROP.md`.

mod binding;
pub mod client;
pub mod dangerous;
pub mod ear;
mod evidence;
mod init_data;
mod jwe;
mod jwk;
mod message;
mod problem;
pub mod server;
mod session;
mod tee;
mod tee_key;
mod weights_key;

pub use anchorhold_rats::{ParsePathError, ResourcePath};
pub use binding::{HashAlgorithm, RuntimeData, RuntimeDigest};
pub use ear::{AcceptedToken, TRUSTEE_PROFILE, TokenError, TokenRules};
pub use evidence::{ReadEvidence, ReadEvidenceError, WriteEvidenceError, WrittenEvidence};
pub use init_data::{InitData, InitDataError, MAX_INIT_DATA_BYTES};
pub use jwe::{JweError, MAX_JWE_BYTES, MAX_RESOURCE_BYTES, seal};
pub use jwk::{Curve, EcPublicKey, JwkError, RsaPublicKey, TeePublicKey};
pub use message::{MAX_ATTEST_BYTES, MAX_AUTH_BYTES, MessageError, PROTOCOL_VERSION};
pub use problem::{Problem, ProblemBody};
pub use session::{
    COOKIE, Issued, MAX_SESSION_LIFETIME_S, Session, SessionError, SessionKey, session_cookie,
};
pub use tee::Tee;
pub use tee_key::{TeeKey, TeeKeyError};
pub use weights_key::{
    MAX_WEIGHTS_KEY_BYTES, WEIGHTS_KEY_FORMAT, WeightsKeyError, WeightsKeyResource, WeightsKeyResourceTerms,
};
