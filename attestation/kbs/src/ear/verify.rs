//! Taking a token of a verifier that is trusted for it.

use super::{TRUSTEE_PROFILE, TrusteeEar};
use crate::TeePublicKey;
use anchorhold_evaluation::ear::{Error, Jwks, verify_json};
use anchorhold_rats::Timestamp;
use std::fmt;

/// How far the clock of the verifier may be ahead of that of whoever reads its token, in seconds.
const MAX_CLOCK_LEAD_S: i64 = 60;

/// Why a token was not taken. No error quotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// It is not signed by a key of the set.
    Signature(Error),
    /// Its claims are not those of the profile.
    Claims,
    /// Its claims are of another profile than [`TRUSTEE_PROFILE`].
    Profile,
    /// It is over.
    Expired,
    /// It is not valid yet, or was made later than now.
    NotYetValid,
    /// A part is not affirmed, or there is no part about the TEE.
    NotAffirming,
    /// It is for another key than this guest's.
    OtherKey,
    /// It is for another challenge than this one.
    OtherNonce,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Claims => f.write_str("the token's claims are not those of an attestation result"),
            Self::Profile => write!(f, "the token's profile is not {TRUSTEE_PROFILE}"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYetValid => f.write_str("the token is not valid yet"),
            Self::NotAffirming => f.write_str("the token does not affirm every part of the guest"),
            Self::OtherKey => f.write_str("the token is for another key"),
            Self::OtherNonce => f.write_str("the token is for another challenge"),
        }
    }
}

impl std::error::Error for TokenError {}

/// Which tokens are taken: those of these keys that affirm every part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    keys: Jwks,
    any_status: bool,
}

/// For [`crate::dangerous`].
pub(crate) fn allow_any_status(rules: TokenRules) -> TokenRules {
    TokenRules { any_status: true, ..rules }
}

impl TokenRules {
    /// Tokens that one of `keys` signed.
    #[must_use]
    pub const fn new(keys: Jwks) -> Self {
        Self { keys, any_status: false }
    }

    /// Takes `token` at the time `at`.
    ///
    /// Establishes that the holder of one of the keys evaluated a guest, affirmed every part of it, and that the result
    /// may be relied on at `at`. Presumes that the caller trusts that verifier and its policy, and that `at` is honest.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn accept(&self, token: &str, at: Timestamp) -> Result<AcceptedToken, TokenError> {
        let claims = verify_json(token, &self.keys).map_err(TokenError::Signature)?;
        let ear: TrusteeEar = serde_json::from_slice(&claims).map_err(|_| TokenError::Claims)?;
        if ear.eat_profile != TRUSTEE_PROFILE {
            return Err(TokenError::Profile);
        }
        let now = at.unix_seconds();
        if now >= ear.exp {
            return Err(TokenError::Expired);
        }
        if ear.iat.max(ear.nbf.unwrap_or(i64::MIN)) > now.saturating_add(MAX_CLOCK_LEAD_S) {
            return Err(TokenError::NotYetValid);
        }
        if !self.any_status && !ear.is_affirming() {
            return Err(TokenError::NotAffirming);
        }
        Ok(AcceptedToken { token: token.to_owned(), ear })
    }
}

/// A token that rules accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedToken {
    token: String,
    ear: TrusteeEar,
}

impl AcceptedToken {
    /// The token as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.token
    }

    /// Its claims.
    #[must_use]
    pub fn claims(&self) -> &TrusteeEar {
        &self.ear
    }

    /// Demands that the result is about the guest that holds `key` and answered `nonce`.
    ///
    /// # Errors
    /// [`TokenError::OtherKey`] or [`TokenError::OtherNonce`].
    pub(crate) fn demand(self, key: &TeePublicKey, nonce: &str) -> Result<Self, TokenError> {
        if self.ear.guest_key().as_ref() != Some(key) {
            return Err(TokenError::OtherKey);
        }
        let named = self.ear.runtime_data().and_then(|data| data.nonce.as_deref());
        if named == Some(nonce) { Ok(self) } else { Err(TokenError::OtherNonce) }
    }
}
