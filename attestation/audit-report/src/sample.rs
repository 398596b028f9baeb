//! A sample that nobody could pick: drawn by the log's root hash and a word that the auditor chooses after the log was closed.
//!
//! Each entry has the score SHA-256("anchorhold-audit-sample-v1" || 0x00 || root || index as 8 bytes, big-endian || word); the entries with
//! the lowest scores are the sample. Whoever holds the log cannot know the word while writing, and the auditor cannot change the root, so
//! neither chooses; anybody with the bundle draws the same again.

use anchorhold_audit_log::Hash;
use std::collections::BinaryHeap;

/// The most entries of one sample.
pub const MAX_SAMPLE: usize = 10_000;
const DOMAIN: &[u8] = b"anchorhold-audit-sample-v1\0";

/// Draws while entries stream by; memory is that of the sample.
#[derive(Debug)]
pub struct Sample {
    root: Hash,
    word: Vec<u8>,
    wanted: usize,
    lowest: BinaryHeap<([u8; 32], u64)>,
    population: u64,
}

impl Sample {
    /// A sample of up to `wanted` entries (at most [`MAX_SAMPLE`]) of the log with this root hash.
    #[must_use]
    pub fn new(root: Hash, word: &str, wanted: usize) -> Self {
        let wanted = wanted.min(MAX_SAMPLE);
        Self { root, word: word.as_bytes().to_vec(), wanted, lowest: BinaryHeap::new(), population: 0 }
    }

    /// Lets the entry with this index into the draw.
    pub fn offer(&mut self, index: u64) {
        self.population += 1;
        let bytes = [DOMAIN, self.root.as_bytes(), &index.to_be_bytes(), &self.word].concat();
        self.lowest.push((*Hash::of(&bytes).as_bytes(), index));
        if self.lowest.len() > self.wanted {
            self.lowest.pop();
        }
    }

    /// How many entries were in the draw.
    #[must_use]
    pub const fn population(&self) -> u64 {
        self.population
    }

    /// The indexes drawn, ascending.
    #[must_use]
    pub fn drawn(self) -> Vec<u64> {
        let mut indexes: Vec<u64> = self.lowest.into_iter().map(|(_, index)| index).collect();
        indexes.sort_unstable();
        indexes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(root: u8, word: &str, wanted: usize) -> Vec<u64> {
        let mut sample = Sample::new(Hash::new([root; 32]), word, wanted);
        (0..1000).for_each(|index| sample.offer(index));
        assert_eq!(sample.population(), 1000);
        sample.drawn()
    }

    #[test]
    fn a_draw_repeats_and_hangs_on_root_and_word() {
        let drawn = draw(1, "kestrel", 25);
        assert_eq!(drawn.len(), 25);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(drawn, draw(1, "kestrel", 25));
        assert_ne!(drawn, draw(2, "kestrel", 25));
        assert_ne!(drawn, draw(1, "merlin", 25));
        let larger = draw(1, "kestrel", 50);
        assert!(drawn.iter().all(|index| larger.contains(index)), "a larger sample holds the smaller");
    }

    #[test]
    fn a_small_population_is_drawn_whole() {
        assert_eq!(draw(1, "", MAX_SAMPLE + 1).len(), 1000);
        assert!(draw(1, "", 0).is_empty());
    }

    /// So that another implementation can be held to it.
    #[test]
    fn the_score_is_the_documented_one() {
        let mut sample = Sample::new(Hash::new([7; 32]), "word", 1);
        sample.offer(3);
        let bytes = [DOMAIN, &[7; 32], &[0, 0, 0, 0, 0, 0, 0, 3], b"word"].concat();
        assert_eq!(sample.lowest.peek().unwrap().0, *Hash::of(&bytes).as_bytes());
    }
}
