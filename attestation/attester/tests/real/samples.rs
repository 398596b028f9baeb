//! Where the real samples are, and a reader of bytes in order.

use std::path::{Path, PathBuf};

/// The folder of the samples; `None` where this machine has none, which only a run under CI may not have.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "the real samples are missing");
    eprintln!("skipped: the real samples are not on this machine");
    None
}

/// Takes bytes from the front.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count);
        self.0 = rest;
        front
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let length = self.u32() as usize;
        self.take(length)
    }
}

/// Tags and contents of the values that stand one after another in DER, without judging them.
pub(crate) fn children(contents: &[u8]) -> Vec<(u8, &[u8])> {
    let mut bytes = Bytes(contents);
    let mut out = Vec::new();
    while !bytes.0.is_empty() {
        let (tag, first) = (bytes.take(1)[0], bytes.take(1)[0]);
        let length = match first {
            0x81 => bytes.take(1)[0].into(),
            0x82 => u16::from_be_bytes(bytes.array()).into(),
            short => short.into(),
        };
        out.push((tag, bytes.take(length)));
    }
    out
}

/// DER of the certificates in a PEM text.
pub(crate) fn pem_certificates(text: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let decode = |part: &str| {
        let body: String = part.split("-----END").next().unwrap().split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    };
    text.split("-----BEGIN CERTIFICATE-----").skip(1).map(decode).collect()
}
