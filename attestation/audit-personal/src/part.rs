//! What a personal part says, and its one form of a fixed length.

use anchorhold_audit_log::Hex;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The length of every part, so that a ciphertext does not tell a short label from a long one.
pub const PART_BYTES: usize = 90;
/// The longest label of a key, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;
const VERSION: u8 = 1;

/// What a person calls a key: 1 to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLabel(String);

/// Not the label of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a label: expected 1 to {MAX_LABEL_BYTES} printable ASCII characters")]
pub struct LabelError;

impl FromStr for KeyLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if plain && (1..=MAX_LABEL_BYTES).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LabelError)
        }
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The API key that a caller showed, by its public names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerKey {
    /// The first six bytes of its digest, as the file of keys and the command line name it.
    pub id: Hex<6>,
    /// What a person calls it.
    pub label: Option<KeyLabel>,
}

/// Who called. No text of a request is among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonalPart {
    /// The address from which the connection came; behind a proxy that passes connections on, the proxy's.
    pub address: Option<IpAddr>,
    /// The key that was shown.
    pub key: Option<CallerKey>,
}

impl PersonalPart {
    /// The part's bytes: version, address (kind and 16 bytes), key (whether there is one, 6 bytes, length and 64 bytes of its label). What
    /// is not used is zero.
    pub(crate) fn to_bytes(&self) -> [u8; PART_BYTES] {
        let mut out = Vec::with_capacity(PART_BYTES);
        out.push(VERSION);
        match self.address {
            None => out.extend([0; 17]),
            Some(IpAddr::V4(address)) => {
                out.push(4);
                out.extend(address.octets());
                out.extend([0; 12]);
            }
            Some(IpAddr::V6(address)) => {
                out.push(6);
                out.extend(address.octets());
            }
        }
        out.push(u8::from(self.key.is_some()));
        out.extend(self.key.as_ref().map_or([0; 6], |key| *key.id.as_bytes()));
        let label = self.key.as_ref().and_then(|key| key.label.as_ref()).map_or("", |label| label.0.as_str());
        // A label has at most 64 bytes.
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend(label.bytes());
        out.resize(PART_BYTES, 0);
        let mut bytes = [0; PART_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// Reads a part in its one form.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (kind, rest) = rest.split_first()?;
        let (address, rest) = rest.split_first_chunk::<16>()?;
        let address = match kind {
            0 => None,
            4 => Some(IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(*address))),
            _ => return None,
        };
        let (has_key, rest) = rest.split_first()?;
        let (id, rest) = rest.split_first_chunk::<6>()?;
        let (length, label) = rest.split_first()?;
        let label = std::str::from_utf8(label.get(..usize::from(*length))?).ok()?;
        let label = if label.is_empty() { None } else { Some(label.parse().ok()?) };
        let key = (*has_key == 1).then(|| CallerKey { id: Hex::new(*id), label });
        let part = Self { address, key };
        // One spelling: what is unused is zero, and nothing follows.
        (*version == VERSION && part.to_bytes() == *bytes).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<PersonalPart> {
        let key = |label: Option<&str>| {
            Some(CallerKey { id: Hex::new([0xab; 6]), label: label.map(|label| label.parse().unwrap()) })
        };
        let (v4, v6) = ("192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
        let addresses = [None, Some(v4), Some(v6)];
        let keys = [None, key(None), key(Some("front desk")), key(Some(&"x".repeat(64)))];
        addresses
            .iter()
            .flat_map(|at| keys.iter().map(|key| PersonalPart { address: *at, key: key.clone() }))
            .collect()
    }

    #[test]
    fn every_part_has_one_length_and_is_read_back() {
        for part in parts() {
            assert_eq!(PersonalPart::from_bytes(&part.to_bytes()), Some(part));
        }
    }

    #[test]
    fn refuses_what_no_part_is() {
        let good = parts().pop().unwrap().to_bytes();
        for (at, byte) in [(0, 2), (1, 5), (18, 2), (25, 65), (26, 0x1f)] {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(PersonalPart::from_bytes(&bytes), None, "byte {at}");
        }
        assert_eq!(PersonalPart::from_bytes(&good[..PART_BYTES - 1]), None);
        let mut unused = PersonalPart::default().to_bytes();
        assert!(PersonalPart::from_bytes(&unused).is_some());
        unused[PART_BYTES - 1] = 1;
        assert_eq!(PersonalPart::from_bytes(&unused), None);
        assert_eq!("".parse::<KeyLabel>(), Err(LabelError));
        assert_eq!("x".repeat(65).parse::<KeyLabel>(), Err(LabelError));
        assert_eq!("a\nb".parse::<KeyLabel>(), Err(LabelError));
    }
}
