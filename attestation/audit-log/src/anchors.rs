//! Cosigned checkpoints that a log keeps along its way. Each says when its witnesses had seen how much of the log, so that a reader can tell
//! between which of their times an entry was written, and need not believe the clock of whoever wrote it.
//!
//! They are as far apart as heartbeats. When there are [`MAX_ANCHORS`], every second one goes, and from then on they are twice as far
//! apart: a log of any length has between half as many and as many, evenly spread. At a minute, that is 17 hours before the first go;
//! after a month they are about an hour apart.

use crate::HEARTBEAT_S;

/// The most anchors of a log, or of a bundle.
pub const MAX_ANCHORS: usize = 1024;
/// The longest note that is kept, in bytes: some twenty cosignatures. A longer one is not kept.
pub const MAX_ANCHOR_BYTES: usize = 4 * 1024;
/// The longest file of them, in bytes; no byte of a note takes more than two in it.
pub const MAX_ANCHORS_FILE_BYTES: usize = MAX_ANCHORS * (2 * MAX_ANCHOR_BYTES + 4);

const PERIOD_NS: u64 = HEARTBEAT_S as u64 * 1_000_000_000;
/// How much sooner one may be kept than it is due, so that what comes every minute is not kept every other minute.
const EARLY_NS: u64 = 5_000_000_000;

/// Those of a log that is being written.
#[derive(Debug)]
pub(crate) struct Anchors {
    notes: Vec<String>,
    size: u64,
    kept_ns: Option<u64>,
    period_ns: u64,
}

impl Default for Anchors {
    fn default() -> Self {
        Self { notes: Vec::new(), size: 0, kept_ns: None, period_ns: PERIOD_NS }
    }
}

impl Anchors {
    /// Keeps the note of a checkpoint of `size`, if the last one lies a period back. Says whether it did.
    pub(crate) fn take(&mut self, note: &[u8], size: u64, mono_ns: u64) -> bool {
        let is_due = self
            .kept_ns
            .is_none_or(|kept_ns| mono_ns.saturating_sub(kept_ns).saturating_add(EARLY_NS) >= self.period_ns);
        let Some(note) = std::str::from_utf8(note).ok().filter(|note| note.len() <= MAX_ANCHOR_BYTES) else {
            return false;
        };
        if !is_due || size <= self.size {
            return false;
        }
        if self.notes.len() >= MAX_ANCHORS {
            let mut stays = false;
            self.notes.retain(|_| {
                stays = !stays;
                stays
            });
            self.period_ns = self.period_ns.saturating_mul(2);
        }
        self.notes.push(note.to_owned());
        (self.size, self.kept_ns) = (size, Some(mono_ns));
        true
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Texts are always JSON.
        serde_json::to_vec(&self.notes).unwrap_or_default()
    }
}

/// The file of these notes: a JSON list of texts. `None` when there are too many, or one is too long or no text.
#[must_use]
pub fn to_file(notes: &[Vec<u8>]) -> Option<Vec<u8>> {
    if notes.len() > MAX_ANCHORS || notes.iter().any(|note| note.len() > MAX_ANCHOR_BYTES) {
        return None;
    }
    let texts: Option<Vec<&str>> = notes.iter().map(|note| std::str::from_utf8(note).ok()).collect();
    serde_json::to_vec(&texts?).ok()
}

/// Reads such a file in its one spelling. The notes are not looked at; `None` when it is none or over a limit.
#[must_use]
pub fn from_file(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let notes: Vec<String> =
        serde_json::from_slice(bytes).ok().filter(|_| bytes.len() <= MAX_ANCHORS_FILE_BYTES)?;
    let notes: Vec<Vec<u8>> = notes.into_iter().map(String::into_bytes).collect();
    (to_file(&notes)? == bytes).then_some(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    #[test]
    fn one_a_minute_is_kept_whatever_comes_between() {
        let mut anchors = Anchors::default();
        assert!(anchors.take(b"first", 1, 7));
        for second in 1..55 {
            assert!(!anchors.take(b"between", 1 + second, 7 + second * 1_000_000_000), "{second}");
        }
        assert!(anchors.take(b"second", 99, 7 + 58_000_000_000), "almost a minute");
        assert!(!anchors.take(b"again", 99, 7 + 5 * MINUTE_NS), "nothing is new in it");
        assert!(!anchors.take(&vec![b'x'; MAX_ANCHOR_BYTES + 1], 100, 7 + 5 * MINUTE_NS));
        assert!(!anchors.take(&[0xff], 100, 7 + 5 * MINUTE_NS));
        assert_eq!(from_file(&anchors.to_bytes()).unwrap(), [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn a_checkpoint_with_twenty_cosignatures_is_kept() {
        let signer =
            crate::Signer::from_seed(crate::Origin::new(&"x".repeat(200)).unwrap(), &[1; 32]).unwrap();
        let checkpoint = crate::Checkpoint::new(signer.origin().as_str(), crate::merkle::TreeHead::empty());
        let mut note = checkpoint.sign(&signer).unwrap();
        for byte in 0..20 {
            let name = format!("witness-{byte}.transparency.example/of-logs");
            let witness = crate::cosignature::Cosigner::from_seed(&name, &[byte; 32]).unwrap();
            note.extend_from_slice(witness.cosign(&checkpoint.to_text(), 1_790_000_000).as_bytes());
        }
        assert!(Anchors::default().take(&note, 1, 0), "{} bytes", note.len());
        let longest = vec![b'x'; MAX_ANCHOR_BYTES];
        assert!(Anchors::default().take(&longest, 1, 0));
    }

    #[test]
    fn a_month_has_as_many_as_may_be_evenly_spread() {
        let mut anchors = Anchors::default();
        let minutes = 30 * 24 * 60;
        for minute in 1..=minutes {
            anchors.take(minute.to_string().as_bytes(), minute, minute * MINUTE_NS);
        }
        let kept: Vec<u64> = anchors.notes.iter().map(|note| note.parse().unwrap()).collect();
        assert!((MAX_ANCHORS / 2..=MAX_ANCHORS).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[0], 1);
        let apart = kept.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.max() <= Some(2 * minutes / kept.len() as u64 + 2));
        assert!(anchors.to_bytes().len() <= MAX_ANCHORS_FILE_BYTES);
    }

    #[test]
    fn refuses_what_is_no_such_file() {
        let long = format!("[\"{}\"]", "x".repeat(MAX_ANCHOR_BYTES + 1));
        let many = serde_json::to_string(&vec!["x"; MAX_ANCHORS + 1]).unwrap();
        for bytes in ["", "[", "{}", "[1]", "[ \"a\"]", "[\"a\"]\n", "[\"\\u0061\"]", &long, &many] {
            assert_eq!(from_file(bytes.as_bytes()), None, "{}", bytes.get(..20).unwrap_or(bytes));
        }
        assert_eq!(from_file(b"[]"), Some(Vec::new()));
        let most = vec![vec![b'\n'; MAX_ANCHOR_BYTES]; MAX_ANCHORS];
        assert_eq!(from_file(&to_file(&most).unwrap()), Some(most));
        assert_eq!(to_file(&[vec![0xff]]), None);
    }
}
