//! Appraisal profiles and machine lists: what evidence a relying party accepts, as typed, signed files.
//!
//! * [`AppraisalProfile::from_toml`] reads a profile into the policies of `anchorhold-verifier`: one table for each
//!   family of evidence, and a family without a table is refused. `policies/appraisal` has reviewed ones.
//! * [`MachineList::from_toml`] reads the machines that are allowed or revoked; [`MachineList::apply`] puts them into a
//!   policy.
//! * [`ReferenceValues::from_toml`] reads what a published image measures, and gives the lines for a policy that accepts it.
//! * [`GrantPlatform::read`] reads the platform of a release policy's grant, in the words of profiles.
//! * [`Rule::change_from`] says whether a rule of a newer file lets more through than that of an older one.
//! * [`verify_signed`] reads any of them from a DSSE envelope that enough trusted signers signed, at a time at which it holds.
//!
//! Promised: what no file names is refused. An empty list of reference values accepts nothing, a key that no file has and
//! a key that stands twice are errors, and no default is looser than the verifier's own strict policy. Debugging,
//! migration and simulated roots cannot be allowed by a file, only by a caller that names `anchorhold_verifier::dangerous`.
//! [`AppraisalProfile::rules`] lists every rule of a profile with the value in force, and [`AppraisalProfile::to_toml`]
//! writes them all out.
//!
//! This crate is *not* a verifier, keeps no state and reads no clock: whoever stores the last version seen refuses an
//! older one.

mod change;
mod error;
mod event_log;
mod gpu;
mod grant;
mod header;
mod hex;
pub mod machines;
mod paravisor;
mod profile;
mod reader;
mod reference;
mod rule;
mod signed;
mod snp;
mod tdx;
mod tpm;
mod words;

pub use change::Change;
pub use error::{MAX_POLICY_BYTES, PolicyError};
pub use grant::{GrantPlatform, MAX_TDX_IMAGES};
pub use header::{Header, MAX_VALIDITY_DAYS, NotInForce};
pub use machines::{ListKind, Machine, MachineEntry, MachineList};
pub use profile::AppraisalProfile;
pub use reader::{MAX_LIST_ITEMS, Reader};
pub use reference::{MeasuredFile, ReferenceValues, SnpLaunch, TdxBoot, TpmBoot};
pub use rule::Rule;
pub use signed::{
    Document, FileKind, MACHINE_LIST_TYPE, PROFILE_TYPE, REFERENCE_VALUES_TYPE, SignedError,
    VerifiedDocument, sign, verify_signed,
};

use anchorhold_rats::{Measurement, ParseHexError};

/// Why no file may allow debugging.
pub(crate) const DEBUG: &str = "a guest that can be debugged keeps no secret";
/// Why no file may allow migration.
pub(crate) const MIGRATION: &str = "a migration agent can export the guest";
/// Why no file may allow simulated roots.
pub(crate) const SIMULATED: &str =
    "the keys below a simulated root are public, so anybody can forge such evidence";

/// A launch digest as `sha384:` and hex.
///
/// # Errors
/// [`ParseHexError`] for everything else.
pub fn measurement(text: &str) -> Result<Measurement, ParseHexError> {
    text.strip_prefix("sha384:").unwrap_or_default().parse()
}
