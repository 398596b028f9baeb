//! Keys as clients fetch them: key configurations of RFC 9458, section 3. They carry no trust; a client compares them with evidence.

use crate::header::{kem_bytes, kem_of};
use anchorhold_rats::WrappingKey;
use std::fmt;

/// The content type of key configurations.
pub const KEYS_MEDIA_TYPE: &str = "application/ohttp-keys";
/// The most configurations of a list.
pub const MAX_KEY_CONFIGS: usize = 16;
/// The longest list of configurations, in bytes.
pub const MAX_KEY_CONFIGS_BYTES: usize = 32 * 1024;

/// Both profiles tell keys apart by other means, so this id says nothing.
const KEY_ID: u8 = 0;
/// HKDF-SHA256 and AES-256-GCM.
const SUITE: [u8; 4] = [0x00, 0x01, 0x00, 0x02];
const MAX_SUITES_BYTES: usize = 16 * SUITE.len();

/// Why bytes were not read as key configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyConfigError {
    /// They are cut off, have bytes left over, or state a length that none has.
    Malformed,
    /// The KEM, or every suite of the key, is one that is not spoken here.
    Unsupported,
    /// There are more than [`MAX_KEY_CONFIGS`], or more than [`MAX_KEY_CONFIGS_BYTES`].
    TooLong,
}

impl fmt::Display for KeyConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a key configuration of RFC 9458",
            Self::Unsupported => "no X25519 or X-Wing key with HKDF-SHA256 and AES-256-GCM",
            Self::TooLong => "more than 16 key configurations or 32768 bytes",
        })
    }
}

impl std::error::Error for KeyConfigError {}

/// One configuration alone, as EHBP clients read it.
#[must_use]
pub fn write_key_config(key: &WrappingKey) -> Vec<u8> {
    let mut out = vec![KEY_ID];
    out.extend_from_slice(&kem_bytes(key.kem()));
    out.extend_from_slice(key.as_bytes());
    // One suite of four bytes.
    out.extend_from_slice(&[0, 4]);
    out.extend_from_slice(&SUITE);
    out
}

/// A list of configurations, every one preceded by its length (RFC 9458, section 3.2), the one to prefer first.
///
/// # Errors
/// [`KeyConfigError::TooLong`] for more than [`MAX_KEY_CONFIGS`] keys.
pub fn write_key_configs(keys: &[&WrappingKey]) -> Result<Vec<u8>, KeyConfigError> {
    if keys.len() > MAX_KEY_CONFIGS {
        return Err(KeyConfigError::TooLong);
    }
    let mut out = Vec::new();
    for key in keys {
        let config = write_key_config(key);
        let length = u16::try_from(config.len()).map_err(|_| KeyConfigError::TooLong)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&config);
    }
    Ok(out)
}

/// Reads one configuration alone. EHBP says that more may follow and are ignored; its servers send one, and here anything after it is
/// refused.
///
/// # Errors
/// [`KeyConfigError`].
pub fn read_key_config(bytes: &[u8]) -> Result<WrappingKey, KeyConfigError> {
    let [_, high, low, rest @ ..] = bytes else { return Err(KeyConfigError::Malformed) };
    let kem = kem_of(u16::from_be_bytes([*high, *low])).ok_or(KeyConfigError::Unsupported)?;
    let (key, rest) = rest.split_at_checked(kem.public_key_bytes()).ok_or(KeyConfigError::Malformed)?;
    let (length, suites) = rest.split_first_chunk().ok_or(KeyConfigError::Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let whole = length == suites.len() && length.is_multiple_of(SUITE.len());
    if !whole || suites.is_empty() || length > MAX_SUITES_BYTES {
        return Err(KeyConfigError::Malformed);
    }
    if !suites.chunks_exact(SUITE.len()).any(|suite| suite == SUITE) {
        return Err(KeyConfigError::Unsupported);
    }
    WrappingKey::new(kem, key.to_vec()).map_err(|_| KeyConfigError::Malformed)
}

/// Reads a list of configurations. Those that are not spoken here are left out, as the RFC asks.
///
/// # Errors
/// [`KeyConfigError`]; [`Unsupported`](KeyConfigError::Unsupported) when none is left.
pub fn read_key_configs(mut bytes: &[u8]) -> Result<Vec<WrappingKey>, KeyConfigError> {
    if bytes.len() > MAX_KEY_CONFIGS_BYTES {
        return Err(KeyConfigError::TooLong);
    }
    let mut keys = Vec::new();
    let mut count = 0;
    while !bytes.is_empty() {
        count += 1;
        if count > MAX_KEY_CONFIGS {
            return Err(KeyConfigError::TooLong);
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(KeyConfigError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (config, rest) = rest.split_at_checked(length).ok_or(KeyConfigError::Malformed)?;
        bytes = rest;
        match read_key_config(config) {
            Ok(key) => keys.push(key),
            Err(KeyConfigError::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    if keys.is_empty() { Err(KeyConfigError::Unsupported) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::Kem;

    fn key(kem: Kem) -> WrappingKey {
        WrappingKey::new(kem, vec![7; kem.public_key_bytes()]).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let keys = Kem::ALL.map(key);
        assert_eq!(keys.each_ref().map(|key| read_key_config(&write_key_config(key)).unwrap()), keys);
        let list = write_key_configs(&keys.each_ref()).unwrap();
        assert_eq!(read_key_configs(&list).unwrap(), keys);
        assert_eq!(write_key_configs(&[&keys[0]; 17]), Err(KeyConfigError::TooLong));
    }

    #[test]
    fn refuses_what_is_cut_or_has_more() {
        let config = write_key_config(&key(Kem::X25519));
        assert_eq!(config.len(), 41);
        for end in 3..config.len() {
            assert_eq!(read_key_config(&config[..end]), Err(KeyConfigError::Malformed), "{end}");
        }
        assert_eq!(read_key_config(&[config.as_slice(), &[0]].concat()), Err(KeyConfigError::Malformed));
        let list = write_key_configs(&[&key(Kem::X25519)]).unwrap();
        for end in 1..list.len() {
            assert_eq!(read_key_configs(&list[..end]), Err(KeyConfigError::Malformed), "{end}");
        }
        assert_eq!(read_key_configs(&[list.as_slice(), &[0]].concat()), Err(KeyConfigError::Malformed));
    }

    #[test]
    fn refuses_what_is_not_spoken_and_leaves_it_out_of_a_list() {
        let good = write_key_config(&key(Kem::X25519));
        let (mut kem, mut suite) = (good.clone(), good.clone());
        kem[2] = 0x10;
        suite[40] = 0x01;
        let mut two_suites = good.clone();
        two_suites[36] = 8;
        two_suites.splice(37..37, [0, 1, 0, 1]);
        assert!(read_key_config(&two_suites).is_ok());
        let framed = |config: &[u8]| [&u16::try_from(config.len()).unwrap().to_be_bytes(), config].concat();
        for bad in [&kem, &suite] {
            assert_eq!(read_key_config(bad), Err(KeyConfigError::Unsupported));
            assert_eq!(read_key_configs(&framed(bad)), Err(KeyConfigError::Unsupported));
            assert_eq!(read_key_configs(&[framed(bad), framed(&good)].concat()).unwrap().len(), 1);
        }
        let mut none = good.clone();
        none.truncate(37);
        none[36] = 0;
        assert_eq!(read_key_config(&none), Err(KeyConfigError::Malformed));
    }

    #[test]
    fn refuses_too_many() {
        let one = write_key_configs(&[&key(Kem::X25519)]).unwrap();
        assert_eq!(read_key_configs(&one.repeat(16)).unwrap().len(), 16);
        assert_eq!(read_key_configs(&one.repeat(17)), Err(KeyConfigError::TooLong));
        assert_eq!(read_key_configs(&vec![0; MAX_KEY_CONFIGS_BYTES + 1]), Err(KeyConfigError::TooLong));
        assert_eq!(read_key_configs(&[]), Err(KeyConfigError::Unsupported));
    }
}
