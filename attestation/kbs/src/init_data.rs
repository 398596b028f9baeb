//! Measured configuration of a guest (`kbs/docs/initdata.md`, version 0.1.0), and where its digest must be.

use crate::HashAlgorithm;
use anchorhold_verifier::{Claims, TeeClaims};
use ring::digest::{self, digest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The longest initialisation data, in bytes; a policy for a container runtime may be in it.
pub const MAX_INIT_DATA_BYTES: usize = 256 * 1024;
const VERSION: &str = "0.1.0";
const TOML: &str = "toml";
/// The PCR of a virtual TPM that is extended with the digest.
const PCR: u8 = 8;

/// Why initialisation data was not read. No error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitDataError {
    /// Over [`MAX_INIT_DATA_BYTES`].
    TooLong,
    /// Another encoding than TOML, which is the only one that Trustee takes.
    Format,
    /// Not TOML with exactly `version`, `algorithm` and a table `data` of texts.
    Malformed,
    /// Another version than 0.1.0.
    Version,
    /// Another hash function than SHA-256, SHA-384 or SHA-512.
    Algorithm,
}

impl fmt::Display for InitDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "over the limit of {MAX_INIT_DATA_BYTES} bytes"),
            Self::Format => f.write_str("the format is not toml"),
            Self::Malformed => f.write_str("not version, algorithm and a table of texts, in TOML"),
            Self::Version => write!(f, "the version is not {VERSION}"),
            Self::Algorithm => f.write_str("the algorithm is not sha256, sha384 or sha512"),
        }
    }
}

impl std::error::Error for InitDataError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    algorithm: String,
    /// Only its shape is looked at: what counts is the digest of the whole.
    #[expect(dead_code, reason = "read so that only tables of texts pass")]
    data: BTreeMap<String, String>,
}

/// Initialisation data that was read; it says nothing until it [is bound](Self::is_bound_to) to evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitData {
    digest: Vec<u8>,
}

impl InitData {
    /// Reads a document.
    ///
    /// # Errors
    /// [`InitDataError`].
    pub fn read(format: &str, body: &str) -> Result<Self, InitDataError> {
        if format != TOML {
            return Err(InitDataError::Format);
        }
        if body.len() > MAX_INIT_DATA_BYTES {
            return Err(InitDataError::TooLong);
        }
        let document: Document = toml::from_str(body).map_err(|_| InitDataError::Malformed)?;
        if document.version != VERSION {
            return Err(InitDataError::Version);
        }
        let algorithm = HashAlgorithm::named(&document.algorithm).ok_or(InitDataError::Algorithm)?;
        Ok(Self { digest: algorithm.digest(body.as_bytes()).as_ref().to_vec() })
    }

    /// The digest of the document by the function that it names.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// Whether authentic claims hold the digest where the guest's host puts it at launch: HOST_DATA of SNP (32 bytes),
    /// MRCONFIGID of TDX (48 bytes), each cut or filled with zeros as the specification says; below a paravisor, PCR 8
    /// extended once with a digest of 32 bytes, and no other place.
    #[must_use]
    pub fn is_bound_to(&self, claims: &Claims) -> bool {
        if let Some(vtpm) = &claims.paravisor {
            let extended = [&[0; 32][..], &self.digest].concat();
            let wanted = digest(&digest::SHA256, &extended);
            return self.digest.len() == 32
                && vtpm.pcrs().get(&PCR).is_some_and(|pcr| pcr == wanted.as_ref());
        }
        match &claims.tee {
            TeeClaims::Snp(report) => report.report().host_data == self.fitted::<32>(),
            TeeClaims::Tdx(quote) => quote.body().mr_config_id == self.fitted::<48>(),
        }
    }

    fn fitted<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        out.iter_mut().zip(&self.digest).for_each(|(to, from)| *to = *from);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "algorithm = \"sha384\"\nversion = \"0.1.0\"\n[data]\n\"aa.toml\" = '''x = 1'''\n";

    #[test]
    fn the_digest_is_over_the_text_as_it_came() {
        for (name, algorithm) in
            [("sha256", &digest::SHA256), ("sha384", &digest::SHA384), ("sha512", &digest::SHA512)]
        {
            let body = GOOD.replace("sha384", name);
            let read = InitData::read("toml", &body).unwrap();
            assert_eq!(read.digest(), digest(algorithm, body.as_bytes()).as_ref(), "{name}");
        }
        let short = InitData { digest: vec![1; 32] };
        assert_eq!(short.fitted::<48>(), <[u8; 48]>::try_from([vec![1; 32], vec![0; 16]].concat()).unwrap());
        assert_eq!(InitData { digest: vec![1; 48] }.fitted::<32>(), [1; 32]);
    }

    #[test]
    fn refuses_what_the_specification_has_not() {
        let refused = |format: &str, body: &str| InitData::read(format, body).unwrap_err();
        for format in ["json", "yaml", "TOML", ""] {
            assert_eq!(refused(format, GOOD), InitDataError::Format, "{format}");
        }
        for (from, to, error) in [
            ("0.1.0", "0.2.0", InitDataError::Version),
            ("sha384", "sm3", InitDataError::Algorithm),
            ("sha384", "sha-384", InitDataError::Algorithm),
            ("[data]", "more = 1\n[data]", InitDataError::Malformed),
            ("'''x = 1'''", "1", InitDataError::Malformed),
            ("[data]", "[other]", InitDataError::Malformed),
            ("version", "algorithm", InitDataError::Malformed),
        ] {
            assert_eq!(refused("toml", &GOOD.replace(from, to)), error, "{to}");
        }
        let long = format!("{GOOD}{}", "#".repeat(MAX_INIT_DATA_BYTES));
        assert_eq!(refused("toml", &long), InitDataError::TooLong);
    }
}
