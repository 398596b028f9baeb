//! Writes PEM (RFC 7468) as Intel's service does: lines of 64 characters, each ended by a line feed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const LINE: usize = 64;

/// Certificates one after another.
pub(super) fn certificates(chain: &[&[u8]]) -> String {
    let mut out = String::new();
    for certificate in chain {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut line = 0;
        for character in STANDARD.encode(certificate).chars() {
            if line == LINE {
                out.push('\n');
                line = 0;
            }
            out.push(character);
            line += 1;
        }
        out.push_str("\n-----END CERTIFICATE-----\n");
    }
    out
}
