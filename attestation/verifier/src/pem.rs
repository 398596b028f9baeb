//! A strict reader of PEM certificates (RFC 7468, section 3, "strict" form without explanatory text).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why text is not a list of PEM certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// More certificates than the caller allows.
    Count {
        /// The most that are allowed.
        limit: usize,
    },
    /// Text outside certificates, or a certificate that does not end.
    Frame,
    /// A certificate that is not canonical base64.
    Base64,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { limit } => write!(f, "more than {limit} certificates"),
            Self::Frame => f.write_str("text that is not PEM certificates"),
            Self::Base64 => f.write_str("a certificate that is not canonical base64"),
        }
    }
}

impl std::error::Error for Error {}

/// The DER of each certificate in `text`, at most `limit`, in order. Lines may end in LF or CRLF, and blank lines and NUL
/// bytes may follow the last certificate, since Intel's quotes end in one.
///
/// # Errors
/// [`Error`] for anything else.
pub fn read(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    let mut rest = text.trim_end_matches(['\0', '\n', '\r']);
    while !rest.is_empty() {
        if found.len() == limit {
            return Err(Error::Count { limit });
        }
        let body = rest.trim_start_matches(['\n', '\r']).strip_prefix(BEGIN).ok_or(Error::Frame)?;
        let (base64, after) = body.split_once(END).ok_or(Error::Frame)?;
        let joined: String = base64.lines().collect();
        found.push(STANDARD.decode(joined).map_err(|_| Error::Base64)?);
        rest = after.trim_start_matches(['\n', '\r']);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_certificates_and_nothing_else() {
        let one = format!("{BEGIN}\nAQID\n{END}\n");
        let crlf = format!("{BEGIN}\r\nAQ\r\nID\r\n{END}\r\n\0");
        assert_eq!(read(&format!("{one}{crlf}"), 2), Ok(vec![vec![1, 2, 3]; 2]));
        assert_eq!(read("", 2), Ok(vec![]));
        assert_eq!(read(&format!("{one}{one}"), 1), Err(Error::Count { limit: 1 }));
        for bad in [format!("subject=x\n{one}"), format!("{one}more"), format!("{BEGIN}\nAQID\n")] {
            assert_eq!(read(&bad, 2), Err(Error::Frame), "{bad}");
        }
        for bad in ["AQI", "AQJ=", "AQ ID", "@@@@"] {
            assert_eq!(read(&format!("{BEGIN}\n{bad}\n{END}\n"), 2), Err(Error::Base64), "{bad}");
        }
    }
}
