//! The weaker modes, in one place, so that one search finds every use.

use crate::client::{self, AwaitingChallenge};
use crate::{Tee, TeeKey, TeeKeyError, TokenRules};

/// Lets `rules` take tokens whose parts are not affirmed, as those of simulated guests are. Whoever takes them relies on the
/// server's own refusals alone.
#[must_use]
pub fn any_status(rules: TokenRules) -> TokenRules {
    crate::ear::allow_any_status(rules)
}

/// Begins an exchange with a private key (PKCS#8 DER, P-256) that others may hold: to record an exchange and to replay it.
/// Whoever holds that key reads what is released to this guest.
///
/// # Errors
/// [`TeeKeyError`] when it is no such key.
pub fn begin_with_known_key(
    tee: Tee,
    rules: TokenRules,
    pkcs8: &[u8],
) -> Result<(Vec<u8>, AwaitingChallenge), TeeKeyError> {
    Ok(client::begin_with(tee, rules, TeeKey::from_pkcs8(pkcs8)?))
}
