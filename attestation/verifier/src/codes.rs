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
pub use crate::tpm::codes as tpm;

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
    [COMMON, snp::ALL, tdx::ALL, event_log::ALL, nvidia::ALL, rim::ALL, azure::ALL, tpm::ALL]
        .into_iter()
        .flatten()
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
        (tpm::ALL, tpm::MEANINGS),
    ];
    let mut rules = families.into_iter().flat_map(|(codes, meanings)| codes.iter().zip(meanings));
    rules.find(|(code, _)| code.name == name).map(|(_, meaning)| meaning.trim())
}

/// The rules of [`all`] that a refusal breaks when what the vendor says is not at hand, too old, or not genuine.
///
/// Not among them is what a genuine statement says of a part (revoked, on hold, unknown, other measurements): those are about
/// the part, and asking for the statement again mends nothing.
const ENDORSEMENTS: &[Code] = &[
    snp::LEAF_MISSING,
    snp::INTERMEDIATE_MISSING,
    snp::CRL_COUNT,
    snp::CRL_MALFORMED,
    snp::CRL_ISSUER,
    snp::CRL_SIGNATURE,
    snp::CRL_FRESHNESS,
    snp::CRL_MISSING,
    tdx::COLLATERAL_MISSING,
    tdx::SIGNER_SIGNATURE,
    tdx::SIGNER_NAME,
    tdx::SIGNER_AUTHORITY,
    tdx::SIGNER_VALIDITY,
    tdx::CRL_ISSUER,
    tdx::CRL_MALFORMED,
    tdx::CRL_SIGNATURE,
    tdx::CRL_FRESHNESS,
    tdx::TCB_INFO_SIGNATURE,
    tdx::TCB_INFO_MALFORMED,
    tdx::TCB_INFO_KIND,
    tdx::TCB_INFO_DATES,
    tdx::QE_IDENTITY_SIGNATURE,
    tdx::QE_IDENTITY_MALFORMED,
    tdx::QE_IDENTITY_KIND,
    tdx::QE_IDENTITY_DATES,
    tdx::FMSPC,
    tdx::PCE_ID,
    tdx::EVALUATION_NUMBER,
    nvidia::OCSP_MALFORMED,
    nvidia::OCSP_COUNT,
    nvidia::OCSP_RESPONDER,
    nvidia::OCSP_SIGNATURE,
    nvidia::OCSP_FRESHNESS,
    nvidia::OCSP_MISSING,
    nvidia::OCSP_AGE,
    nvidia::RIM_VERSION,
    nvidia::RIM_MISSING,
];

/// Whether the rule with this code is about the endorsements and not about the evidence: when every failed rule is, the same
/// evidence may pass with others.
#[must_use]
pub fn is_of_endorsements(name: &str) -> bool {
    // Of a manifest's own rules, only those that compare it with the report speak of the device.
    let of_manifest = |code: &Code| {
        code.name == name && ![rim::MEASUREMENT.name, rim::MEASUREMENT_MISSING.name].contains(&name)
    };
    ENDORSEMENTS.iter().any(|code| code.name == name) || rim::ALL.iter().any(of_manifest)
}

/// Rules whose wanted or observed value names a machine.
const OF_IDENTITY: [Code; 14] = [
    snp::CHIP_ID,
    snp::CHIP_NOT_ALLOWED,
    snp::CHIP_DENIED,
    tdx::PLATFORM_NOT_ALLOWED,
    tdx::PLATFORM_DENIED,
    nvidia::DEVICE_IDENTITY,
    nvidia::SWITCH_IDENTITY,
    nvidia::DEVICE_NOT_ALLOWED,
    nvidia::DEVICE_DENIED,
    nvidia::TOPOLOGY_GPUS,
    nvidia::TOPOLOGY_SWITCHES,
    azure::VM_ID,
    tpm::KEY,
    tpm::SIGNER,
];

/// Whether what the rule with this code wanted or observed names a chip, platform, device or virtual machine, which not every
/// record may.
#[must_use]
pub fn names_machine(name: &str) -> bool {
    OF_IDENTITY.iter().any(|code| code.name == name)
}

#[cfg(test)]
mod tests {
    use super::{OF_IDENTITY, all, azure, is_of_endorsements, meaning, names_machine, snp, tdx};
    use anchorhold_rats::Stage;

    #[test]
    fn what_a_genuine_statement_says_of_a_part_is_not_of_endorsements() {
        let about_parts: Vec<_> = all()
            .filter(|code| matches!(code.stage, Stage::Collateral | Stage::Rim))
            .filter(|code| !is_of_endorsements(code.name))
            .map(|code| code.name)
            .collect();
        let wanted = [
            "snp_certificate_revoked",
            "tdx_certificate_revoked",
            "nvidia_ocsp_unknown",
            "nvidia_ocsp_revoked",
            "nvidia_ocsp_hold",
            "rim_measurement_missing",
            "rim_measurement",
        ];
        assert_eq!(about_parts, wanted);
        for name in ["snp_report_signature", "tdx_tcb_status", "nvidia_nonce", "no_such_code", ""] {
            assert!(!is_of_endorsements(name), "{name}");
        }
        assert!(is_of_endorsements("snp_leaf_missing"));
    }

    #[test]
    fn rules_about_one_machine_are_known_by_their_codes() {
        for code in [snp::CHIP_ID, tdx::PLATFORM_DENIED, azure::VM_ID] {
            assert!(names_machine(code.name), "{}", code.name);
        }
        for name in [snp::MEASUREMENT.name, tdx::TCB_STATUS.name, "no_such_code", ""] {
            assert!(!names_machine(name), "{name}");
        }
        assert_eq!(all().filter(|code| names_machine(code.name)).count(), OF_IDENTITY.len());
    }

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
