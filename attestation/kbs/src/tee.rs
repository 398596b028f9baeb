//! The kinds of guests that the protocol names.

use serde::{Deserialize, Serialize};

/// What a guest says that it runs in: the names that this crate has evidence formats for. Others of the protocol (`sgx`,
/// `cca`, `csv`, `se`, `tpm`, `hygondcu`, `nvidia-dpu`, and the samples, which prove nothing) are refused when a guest
/// introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// SEV-SNP below Azure's paravisor.
    AzSnpVtpm,
    /// TDX below Azure's paravisor.
    AzTdxVtpm,
}

impl Tee {
    /// The name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
        }
    }

    /// A number that stands for the kind in what is authenticated.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Snp => 1,
            Self::Tdx => 2,
            Self::AzSnpVtpm => 3,
            Self::AzTdxVtpm => 4,
        }
    }

    pub(crate) const ALL: [Self; 4] = [Self::Snp, Self::Tdx, Self::AzSnpVtpm, Self::AzTdxVtpm];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_serde_writes_and_numbers_differ() {
        for (at, tee) in Tee::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_string(&tee).unwrap(), format!("\"{}\"", tee.name()));
            assert_eq!(usize::from(tee.number()), at + 1);
        }
        for other in ["sample", "SNP", "sgx", "nvidia", ""] {
            assert!(serde_json::from_str::<Tee>(&format!("\"{other}\"")).is_err(), "{other}");
        }
    }
}
