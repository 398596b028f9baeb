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

/// Declares the codes of one family: a constant for each, `ALL`, and `MEANINGS` in the same order, which are the
/// constants' documentation. A code may name the one place of the evidence that it judges:
/// `NAME = Stage "code" @ "report" 0x90 48;`.
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $stage:ident $text:literal $(@ $part:literal $offset:literal $length:literal)?;)*) => {
        $($(#[doc = $doc])* pub const $name: anchorhold_rats::Code =
            anchorhold_rats::Code::new(anchorhold_rats::Stage::$stage, $text)$(.at($part, $offset, $length))?;)*

        /// All of them.
        pub const ALL: &[anchorhold_rats::Code] = &[$($name),*];

        /// What each of them demands, in the order of [`ALL`].
        pub const MEANINGS: &[&str] = &[$(concat!($($doc),*)),*];
    };
}
pub(crate) use codes;

/// A list or an item of the evidence or its endorsements is over its limit.
pub const EVIDENCE_LIMIT: Code = Code::new(Stage::Parse, "evidence_limit");
/// The policy says nothing about this kind of evidence, so it is refused.
pub const FAMILY_DENIED: Code = Code::new(Stage::Policy, "family_denied");
/// The evidence lacks a part for which the policy asks.
pub const FAMILY_MISSING: Code = Code::new(Stage::Policy, "family_missing");

/// The codes that belong to no family.
const COMMON: &[Code] = &[EVIDENCE_LIMIT, FAMILY_DENIED, FAMILY_MISSING];

/// All codes of all families.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [COMMON, snp::ALL, tdx::ALL, event_log::ALL, nvidia::ALL, rim::ALL, azure::ALL].into_iter().flatten()
}

/// What the rule with this code demands, in plain words; `None` for a code that is not of this crate.
#[must_use]
pub fn meaning(name: &str) -> Option<&'static str> {
    let families = [
        (snp::ALL, snp::MEANINGS),
        (tdx::ALL, tdx::MEANINGS),
        (event_log::ALL, event_log::MEANINGS),
        (nvidia::ALL, nvidia::MEANINGS),
        (rim::ALL, rim::MEANINGS),
        (azure::ALL, azure::MEANINGS),
    ];
    let mut rules = families.into_iter().flat_map(|(codes, meanings)| codes.iter().zip(meanings));
    rules.find(|(code, _)| code.name == name).map(|(_, meaning)| meaning.trim())
}

#[cfg(test)]
mod tests {
    use super::{all, meaning};

    #[test]
    fn a_code_means_its_documentation() {
        assert_eq!(meaning("snp_report_length"), Some("The report is exactly 1184 bytes."));
        assert_eq!(meaning("no_such_code"), None);
    }

    #[test]
    fn no_code_is_used_twice() {
        let mut names: Vec<_> = all().map(|code| code.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
