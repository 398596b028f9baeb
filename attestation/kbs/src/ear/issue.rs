//! Tokens of this server: an attestation result for everybody, and a pass for its own resources.

use super::{
    AnnotatedEvidence, CPU, RuntimeDataClaims, TRUSTEE_PROFILE, TrusteeEar, TrusteeSubmodule, VerifierId,
};
use crate::{Problem, TeePublicKey};
use anchorhold_evaluation::Evaluation;
use anchorhold_evaluation::ear::{Ear, Error, Jwks, Signer, TrustVector, VerifyingKey, verify_json};
use anchorhold_rats::{ReportData, Sha256Digest, Timestamp, hex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// For how long a token is good, in seconds; Trustee's default. The end of the evidence's own validity cuts it short.
pub const TOKEN_LIFETIME_S: i64 = 300;
const ISSUER: &str = "anchorhold-key-broker";

/// The key with which a server signs its tokens.
pub struct TokenIssuer {
    signer: Signer,
    kid: String,
    keys: Jwks,
}

/// What a token is issued for.
#[derive(Debug)]
pub struct IssuedFor<'a> {
    /// The evaluation, in which nothing failed.
    pub evaluation: &'a Evaluation,
    /// How many devices were evaluated.
    pub devices: usize,
    /// The nonce as the guest had it.
    pub nonce: &'a str,
    /// The guest's key.
    pub key: &'a TeePublicKey,
    /// What the evidence committed to.
    pub report_data: ReportData,
    /// The initialisation data's digest, where there was one and the evidence holds it.
    pub init_data: Option<&'a [u8]>,
    /// What it is good for at the server that issues it.
    pub pass: Pass,
}

/// The claims of this server's tokens.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(flatten)]
    ear: TrusteeEar,
    anchorhold: Pass,
}

/// What a token is good for at the server that issued it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The policy by which the guest was judged.
    pub policy_digest: Sha256Digest,
    /// Everything that the judgement rests on: the policy, and all that was revoked beside it. When it is another, the guest
    /// must attest again.
    pub basis: Sha256Digest,
    /// The grants that took the guest, by name.
    pub grants: Vec<String>,
}

/// A guest that a token of this server vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSession {
    key: TeePublicKey,
    pass: Pass,
}

impl TokenSession {
    /// The guest's key, to which resources are encrypted.
    #[must_use]
    pub fn key(&self) -> &TeePublicKey {
        &self.key
    }

    /// What the token is good for here.
    #[must_use]
    pub fn pass(&self) -> &Pass {
        &self.pass
    }
}

impl TokenIssuer {
    /// Issues with the private key `pkcs8`: PKCS#8 DER, P-256, which every reader of Trustee's tokens takes.
    ///
    /// # Errors
    /// [`Error::Key`] when it is another key.
    pub fn new(pkcs8: &[u8]) -> Result<Self, Error> {
        let signer = Signer::from_pkcs8(pkcs8)?;
        if signer.algorithm() != anchorhold_evaluation::ear::Algorithm::Es256 {
            return Err(Error::Key);
        }
        let key = VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec());
        Ok(Self { kid: key.thumbprint(), keys: Jwks::of(key), signer })
    }

    /// The set of the public key, for whoever relies on the tokens.
    #[must_use]
    pub fn keys(&self) -> &Jwks {
        &self.keys
    }

    /// Issues a token at the time `at`.
    ///
    /// Presumes that the caller judged evidence for exactly this nonce and key and that every rule passed.
    ///
    /// # Errors
    /// [`Error::Sign`] when ring does not sign.
    ///
    /// # Panics
    /// Never: the claims are texts and numbers.
    pub fn issue(&self, issued_for: IssuedFor<'_>, at: Timestamp) -> Result<String, Error> {
        let claims = Claims { ear: claims(&issued_for, at), anchorhold: issued_for.pass };
        let json = serde_json::to_vec(&claims).expect("texts and numbers are JSON");
        self.signer.sign_json(Some(&self.kid), &json)
    }

    /// Takes a token that this server issued, at the time `at`.
    ///
    /// # Errors
    /// [`Problem::Token`].
    pub fn read(&self, token: &str, at: Timestamp) -> Result<TokenSession, Problem> {
        let json = verify_json(token, &self.keys).map_err(|_| Problem::Token)?;
        let Claims { ear, anchorhold } = serde_json::from_slice(&json).map_err(|_| Problem::Token)?;
        let now = at.unix_seconds();
        let current = (ear.iat..ear.exp).contains(&now) && ear.exp - ear.iat <= TOKEN_LIFETIME_S;
        if ear.eat_profile != TRUSTEE_PROFILE || ear.iss.as_deref() != Some(ISSUER) || !current {
            return Err(Problem::Token);
        }
        let key = ear.guest_key().ok_or(Problem::Token)?;
        Ok(TokenSession { key, pass: anchorhold })
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenIssuer")
    }
}

fn claims(issued_for: &IssuedFor<'_>, at: Timestamp) -> TrusteeEar {
    let evaluation = issued_for.evaluation;
    let policy_id = format!("urn:sha256:{}", issued_for.pass.policy_digest);
    let ear = Ear::of(evaluation, None, Some(&policy_id));
    let mut submods = BTreeMap::new();
    for (name, part) in &ear.submods {
        let numbered = match name.as_str() {
            "gpu" => issued_for.devices,
            _ => 1,
        };
        for number in 0..numbered {
            let submodule = TrusteeSubmodule {
                status: part.status,
                trust_vector: vector(&part.trust_vector),
                policy_id: Some(policy_id.clone()),
                evidence: None,
            };
            submods.insert(format!("{name}{number}"), submodule);
        }
    }
    if let Some(cpu) = submods.get_mut(CPU) {
        cpu.evidence = Some(AnnotatedEvidence {
            report_data: Some(issued_for.report_data.to_string()),
            init_data: issued_for.init_data.map(hex),
            runtime_data_claims: Some(RuntimeDataClaims {
                nonce: Some(issued_for.nonce.to_owned()),
                key: Some(issued_for.key.into()),
            }),
            measurement: evaluation.measurement.map(|measurement| measurement.to_string()),
        });
    }
    let end = at.plus_seconds(TOKEN_LIFETIME_S);
    TrusteeEar {
        eat_profile: TRUSTEE_PROFILE.to_owned(),
        iss: Some(ISSUER.to_owned()),
        iat: at.unix_seconds(),
        nbf: None,
        exp: evaluation.expires.map_or(end, |expires| expires.min(end)).unix_seconds(),
        verifier_id: VerifierId { developer: ear.verifier_id.developer, build: ear.verifier_id.build },
        submods,
    }
}

/// The vector with AR4SI's names. Claims that are not made are 0, which says nothing, as Trustee writes them.
fn vector(vector: &TrustVector) -> BTreeMap<String, i8> {
    [
        ("instance-identity", vector.instance_identity),
        ("configuration", vector.configuration),
        ("executables", vector.executables),
        ("file-system", None),
        ("hardware", vector.hardware),
        ("runtime-opaque", vector.runtime_opaque),
        ("storage-opaque", None),
        ("sourced-data", None),
    ]
    .into_iter()
    .map(|(name, claim)| (name.to_owned(), claim.unwrap_or(0)))
    .collect()
}
