//! What a command needs to ask a server of which it knows the key: that key, and an API key of its own.

use crate::exit::Failure;
use crate::files;
use anchorhold_channel::tls::{certificates_from_pem, tls_key_of};
use anchorhold_rats::Sha256Digest;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use std::path::Path;

/// The longest key file, in bytes.
const MAX_KEY_BYTES: usize = 1024;
/// The longest certificate file, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The header that shows an API key.
pub(super) type Authorization = [(HeaderName, HeaderValue); 1];

/// The server's TLS key, as it is named or out of its certificate.
pub(super) fn tls_key(
    named: Option<&Sha256Digest>,
    certificate: Option<&Path>,
) -> Result<Sha256Digest, Failure> {
    match (named, certificate) {
        (Some(key), _) => Ok(*key),
        (None, Some(path)) => {
            let pem = files::read(path, MAX_CERTIFICATE_BYTES)?;
            let certificates = certificates_from_pem(&pem).map_err(Failure::other)?;
            let none = || Failure::other(format!("{}: no certificate", path.display()));
            tls_key_of(certificates.first().ok_or_else(none)?).map_err(Failure::other)
        }
        (None, None) => Err(Failure::usage("wanted --certificate or --tls-key")),
    }
}

/// Reads an API key out of a file that nobody else may read.
pub(super) fn authorization(path: &Path) -> Result<Authorization, Failure> {
    let key = files::read_private(path, MAX_KEY_BYTES)?;
    let no_key = || Failure::other(format!("{}: not an API key", path.display()));
    let key = std::str::from_utf8(&key).map_err(|_| no_key())?.trim();
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| no_key())?;
    value.set_sensitive(true);
    Ok([(AUTHORIZATION, value)])
}

/// The server does not know the key.
pub(super) fn unknown_key() -> Failure {
    let failure = Failure::other("the server does not know the key");
    failure.hint("--key-file must hold an API key that is in the gateway's settings")
}
