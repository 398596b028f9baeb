//! Byte strings of a fixed length as lower-case hexadecimal.

/// The bytes of exactly `2 N` lower-case digits.
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], ()> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != N {
        return Err(());
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(out)
}

/// The bytes of 1 to `max_bytes` pairs of lower-case digits.
pub(crate) fn decode_any(text: &str, max_bytes: usize) -> Result<Vec<u8>, ()> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() || pairs.len() > max_bytes {
        return Err(());
    }
    pairs.iter().map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// The lower-case digits of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digit(c: u8) -> Result<u8, ()> {
    match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_form_and_one_length() {
        assert_eq!(decode::<2>("00ff"), Ok([0, 255]));
        assert_eq!(encode(&[0, 255]), "00ff");
        for text in ["", "00f", "00FF", "00ff00", "0x00", "00fg", "é0ff"] {
            assert_eq!(decode::<2>(text), Err(()), "{text}");
        }
        assert_eq!(decode_any("00ff", 2), Ok(vec![0, 255]));
        for text in ["", "00f", "0F", "00ff00"] {
            assert_eq!(decode_any(text, 2), Err(()), "{text}");
        }
    }
}
