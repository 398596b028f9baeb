//! What a guest measures of itself while it runs, where its processor has a register for that (TDX: RTMR3).
//!
//! An event is one line of text as a tagged event of the *TCG PC Client Platform Firmware Profile* 1.06 (section 10.2.4.2,
//! TCG_PCClientTaggedEvent), so any reader of measured boots shows it. Its digest is over all of its data, so the log proves the line.

use crate::Sha256Digest;
use ring::digest::{SHA384, digest};
use std::fmt;

/// EV_EVENT_TAG, the type under which a log has these events.
pub const RUNTIME_EVENT_TYPE: u32 = 6;
/// The tag of this project's events: `ANCH`.
const TAG: [u8; 4] = *b"ANCH";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuntimeEvent(String);

impl RuntimeEvent {
    /// The settings under which the guest's programs run: the digests of the keeper's file and of the gateway's.
    #[must_use]
    pub fn settings(keeper: &Sha256Digest, gateway: &Sha256Digest) -> Self {
        Self(format!("settings keeper=sha256:{keeper} gateway=sha256:{gateway}"))
    }

    /// A model whose weights are about to be decrypted: SHA-256 of its signed manifest, its version, its id.
    #[must_use]
    pub fn model(id: &str, version: u64, manifest: &Sha256Digest) -> Self {
        Self(format!("model manifest=sha256:{manifest} version={version} id={id}"))
    }

    /// The data of the event: tag, length and text.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        let text = self.0.as_bytes();
        // Ids and digests are far below 4 GiB.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        [&TAG[..], &length.to_le_bytes(), text].concat()
    }

    /// The SHA-384 digest with which a register is extended.
    #[must_use]
    pub fn digest(&self) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest(&SHA384, &self.data()).as_ref());
        out
    }
}

impl fmt::Display for RuntimeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_measured_changes_the_digest() {
        let (a, b) = (Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32]));
        let events = [
            RuntimeEvent::settings(&a, &b),
            RuntimeEvent::settings(&b, &a),
            RuntimeEvent::model("m", 1, &a),
            RuntimeEvent::model("m", 1, &b),
            RuntimeEvent::model("m", 2, &a),
            RuntimeEvent::model("n", 1, &a),
        ];
        let digests: std::collections::BTreeSet<_> = events.iter().map(RuntimeEvent::digest).collect();
        assert_eq!(digests.len(), events.len());
        let data = RuntimeEvent::model("m", 1, &a).data();
        assert_eq!(data[..8], [b'A', b'N', b'C', b'H', 101, 0, 0, 0]);
        assert_eq!(data.len(), 8 + 101);
    }
}
