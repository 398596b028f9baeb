//! Intel TDX: the quote, the platform's chain and collateral, TCB levels, and the appraisal policy.
//!
//! Sources: *Intel TDX DCAP Quoting Library API*, appendix A; *Intel TDX Module ABI Specification* (348551); *Intel SGX
//! PCK Certificate and CRL Profile Specification*; *Intel Provisioning Certification Service*, API version 4; and, for the
//! meeting of TCB levels, the behaviour of Intel's quote verification library.

mod appraise;
mod attributes;
mod authenticate;
mod body;
mod chain;
pub mod codes;
mod collateral;
mod cursor;
mod json;
mod level;
mod pck;
mod policy;
mod qe;
mod qe_identity;
mod quote;
mod signature_data;
mod status;
mod tcb_info;

pub use crate::chain_cache::{ChainCache, MAX_CACHED_CHAINS};
pub use appraise::appraise;
pub(crate) use appraise::judge_policy;
pub use attributes::{TdAttributes, Xfam};
pub(crate) use authenticate::judge;
pub use authenticate::{AuthenticQuote, Input, Stated, authenticate, authenticate_with_cache};
pub use body::{BodyKind, Td15, Td15Extended, TdBody};
pub use level::{PlatformLevels, Tcb, TcbLevel};
pub use pck::{Pck, PlatformId, SgxType};
pub use policy::{AttributeRules, Flag, Grace, PlatformRules, Policy};
pub use quote::{MAX_PADDING_BYTES, Quote};
pub use status::TcbStatus;
