//! OpenSSF model signatures: a Sigstore bundle whose statement lists the files of a model with their digests.
//!
//! Format: <https://github.com/sigstore/model-transparency>, `docs/model_signing_format.md`, statement version 1.0. What is
//! checked here is a signature by one key that the owner names. Certificates, transparency logs and timestamps in the
//! bundle are not looked at: they say who a key belongs to, and here the owner has said it.

mod bundle;
mod signer;
mod statement;

use std::collections::HashMap;

use crate::card::CardFile;
use crate::error::Error;
use crate::merkle::Hash;
use crate::names::WeightsName;
use crate::role::Role;
use crate::rules::ModelSignatureRule;
pub use signer::SignerKey;

/// The largest signature file, in bytes.
pub const MAX_MODEL_SIGNATURE_LEN: usize = 1 << 20;
/// The most files that a statement may list.
pub const MAX_RESOURCES: usize = 4096;

/// A model signature that verifies under its signer's key. Whether it is of a certain package's files is checked where
/// a package is sealed and opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSignature {
    bundle: Vec<u8>,
    signer: SignerKey,
    model_name: String,
    resources: HashMap<String, Hash>,
}

impl ModelSignature {
    /// Verifies the bytes of a signature file.
    ///
    /// Establishes that the holder of `signer` signed a model signing statement whose digests are consistent. Presumes that
    /// the caller got `signer` from a trusted place. Says nothing of certificates or logs in the bundle.
    ///
    /// # Errors
    /// [`Error::ModelSignature`], naming the rule.
    pub fn verify(bundle: &[u8], signer: &SignerKey) -> Result<Self, Error> {
        if bundle.len() > MAX_MODEL_SIGNATURE_LEN {
            return Err(ModelSignatureRule::TooLong.into());
        }
        let payload = bundle::verify(bundle, signer)?;
        let statement = statement::read(&payload)?;
        Ok(Self {
            bundle: bundle.to_vec(),
            signer: signer.clone(),
            model_name: statement.model_name,
            resources: statement.resources,
        })
    }

    /// The bytes of the signature file.
    #[must_use]
    pub fn bundle(&self) -> &[u8] {
        &self.bundle
    }

    /// The key that verifies it.
    #[must_use]
    pub const fn signer(&self) -> &SignerKey {
        &self.signer
    }

    /// What the signer calls the model.
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    /// The number of signed files.
    #[must_use]
    pub fn resource_count(&self) -> usize {
        self.resources.len()
    }

    /// Demands that these are the signed files of a model: each is signed, and none that a package could hold is missing.
    pub(crate) fn check_files(&self, files: &[CardFile]) -> Result<(), ModelSignatureRule> {
        for file in files {
            match self.resources.get(file.name()) {
                None => return Err(ModelSignatureRule::Unsigned),
                Some(digest) if digest != file.sha256() => return Err(ModelSignatureRule::Digest),
                Some(_) => {}
            }
        }
        let of_a_model = |name: &str| {
            Role::NAMED.iter().any(|role| role.file_name() == Some(name))
                || WeightsName::parse(name).is_some()
        };
        let signed = self.resources.keys().filter(|name| of_a_model(name)).count();
        if signed != files.len() {
            return Err(ModelSignatureRule::Incomplete);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "model_signature_tests.rs"]
mod tests;
