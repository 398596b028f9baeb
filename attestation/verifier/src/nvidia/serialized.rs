//! Evidence as NVIDIA's tools write it (`nvattest collect-evidence`): a JSON list with report, PEM chain and nonce of each
//! device, the first two in base64.

use crate::pem;
use anchorhold_rats::{Der, GpuEvidence, MAX_CERTIFICATES, Nonce, base64_bytes};
use serde::Deserialize;
use std::fmt;

/// The longest text that is read, in bytes; a board of eight GPUs and four switches takes about 140 000.
pub const MAX_SERIALIZED_BYTES: usize = 1024 * 1024;
/// The most devices that are read.
pub const MAX_DEVICES: usize = 16;

/// Why text is not evidence of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerializedError {
    /// Longer than [`MAX_SERIALIZED_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not the JSON list; line and column of where reading stopped.
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// More than [`MAX_DEVICES`].
    Count {
        /// How many came.
        observed: usize,
    },
    /// A chain that is not PEM certificates.
    Chain(pem::Error),
}

impl fmt::Display for SerializedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "device evidence is {observed_bytes} bytes, the limit is {MAX_SERIALIZED_BYTES}")
            }
            Self::Malformed { line, column } => {
                write!(f, "device evidence is not the expected JSON (line {line}, column {column})")
            }
            Self::Count { observed } => write!(f, "{observed} devices, the limit is {MAX_DEVICES}"),
            Self::Chain(error) => write!(f, "the chain of a device is {error}"),
        }
    }
}

impl std::error::Error for SerializedError {}

/// One element of the list. Other keys, such as `arch`, say nothing that the signed report does not say.
#[derive(Deserialize)]
struct Element {
    #[serde(with = "base64_bytes")]
    certificate: Vec<u8>,
    #[serde(with = "base64_bytes")]
    evidence: Vec<u8>,
    nonce: Nonce,
}

/// The evidence of each device and the nonce that its file states, in order.
///
/// Establishes nothing: the stated nonce is a hint for people, the one that counts is in the signed report.
///
/// # Errors
/// [`SerializedError`]; no error quotes the input.
pub fn read_serialized(json: &[u8]) -> Result<Vec<(GpuEvidence, Nonce)>, SerializedError> {
    if json.len() > MAX_SERIALIZED_BYTES {
        return Err(SerializedError::TooLong { observed_bytes: json.len() });
    }
    let list: Vec<Element> = serde_json::from_slice(json)
        .map_err(|error| SerializedError::Malformed { line: error.line(), column: error.column() })?;
    if list.len() > MAX_DEVICES {
        return Err(SerializedError::Count { observed: list.len() });
    }
    let device = |element: Element| {
        let text = std::str::from_utf8(&element.certificate).map_err(|_| pem::Error::Frame)?;
        let certificates = pem::read(text, MAX_CERTIFICATES)?.into_iter().map(Der).collect();
        Ok((GpuEvidence { report: element.evidence, certificates }, element.nonce))
    };
    list.into_iter().map(device).collect::<Result<_, _>>().map_err(SerializedError::Chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list_and_nothing_else() {
        let nonce = "00".repeat(32);
        let one = format!(r#"{{"arch":"HOPPER","certificate":"","evidence":"AQID","nonce":"{nonce}"}}"#);
        let read = read_serialized(format!("[{one},{one}]").as_bytes()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].0, GpuEvidence { report: vec![1, 2, 3], certificates: vec![] });
        for bad in ["", "{}", "[{}]", &one, &format!("[{}]", one.replace("AQID", "AQI")), "[1]"] {
            assert!(
                matches!(read_serialized(bad.as_bytes()), Err(SerializedError::Malformed { .. })),
                "{bad}"
            );
        }
        let twice = one.replace(r#""certificate":"""#, r#""certificate":"","certificate":"""#);
        assert!(read_serialized(format!("[{twice}]").as_bytes()).is_err());
        let chain = one.replace(r#""certificate":"""#, r#""certificate":"AQID""#);
        let refused = read_serialized(format!("[{chain}]").as_bytes());
        assert_eq!(refused, Err(SerializedError::Chain(pem::Error::Frame)));
        let most = format!("[{}]", vec![one.as_str(); MAX_DEVICES].join(","));
        assert_eq!(read_serialized(most.as_bytes()).unwrap().len(), MAX_DEVICES);
        let many = format!("[{}]", vec![one; MAX_DEVICES + 1].join(","));
        assert_eq!(
            read_serialized(many.as_bytes()),
            Err(SerializedError::Count { observed: MAX_DEVICES + 1 })
        );
        let longest = [b"[]".as_slice(), &vec![b' '; MAX_SERIALIZED_BYTES - 2]].concat();
        assert_eq!(read_serialized(&longest), Ok(Vec::new()));
        let long = [longest, vec![b' ']].concat();
        assert!(matches!(read_serialized(&long), Err(SerializedError::TooLong { .. })));
    }
}
