//! Writes PEM (RFC 7468) as Intel's service does: lines of 64 characters, each ended by a line feed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const LINE: usize = 64;

/// PEM of these certificates (DER), one after another.
#[must_use]
pub fn certificates_pem<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> String {
    chain
        .into_iter()
        .map(|der| format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", body(der)))
        .collect()
}

/// The lines between the marks.
pub(super) fn body(der: &[u8]) -> String {
    let mut out = String::new();
    for (place, character) in STANDARD.encode(der).chars().enumerate() {
        if place > 0 && place.is_multiple_of(LINE) {
            out.push('\n');
        }
        out.push(character);
    }
    out.push('\n');
    out
}
