//! Every reason code of this crate, with the stage it belongs to. Codes are only ever added.
//!
//! Each family of evidence has its own table; [`all`] joins them.

use anchorhold_rats::{Code, Stage};

pub use crate::azure::codes as azure;
pub use crate::event_log::codes as event_log;
pub use crate::nvidia::codes as nvidia;
pub use crate::nvidia::rim::codes as rim;
pub use crate::snp::codes as snp;
pub use crate::tdx::codes as tdx;

/// Declares the codes of one family: a constant for each and `ALL`. A code may name the one place of the evidence that
/// it judges: `NAME = Stage "code" @ "report" 0x90 48;`.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $stage:ident $text:literal $(@ $part:literal $offset:literal $length:literal)?;)*) => {
        $($(#[$doc])* pub const $name: anchorhold_rats::Code =
            anchorhold_rats::Code::new(anchorhold_rats::Stage::$stage, $text)$(.at($part, $offset, $length))?;)*

        /// All of them.
        pub const ALL: &[anchorhold_rats::Code] = &[$($name),*];
    };
}
pub(crate) use codes;

/// A list or an item of the evidence or its endorsements is over its limit.
pub const EVIDENCE_LIMIT: Code = Code::new(Stage::Parse, "evidence_limit");
/// The policy says nothing about this kind of evidence, so it is refused.
pub const FAMILY_DENIED: Code = Code::new(Stage::Policy, "family_denied");

/// The codes that belong to no family.
const COMMON: &[Code] = &[EVIDENCE_LIMIT, FAMILY_DENIED];

/// All codes of all families.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [COMMON, snp::ALL, tdx::ALL, event_log::ALL, nvidia::ALL, rim::ALL, azure::ALL].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn no_code_is_used_twice() {
        let mut names: Vec<_> = all().map(|code| code.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
