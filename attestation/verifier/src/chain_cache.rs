//! Groups of signatures that were verified before: a chain of certificates, or Intel's collateral.

use anchorhold_rats::Sha256Digest;
use ring::digest;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The most groups of signatures that one cache remembers, 32 bytes for each of them.
pub const MAX_CACHED_CHAINS: usize = 65_536;

/// Remembers chains whose signatures were verified, so that further evidence of the same machine costs fewer signatures: one
/// instead of three for a report of SEV-SNP, two instead of nine for a quote of TDX, whose collateral is remembered beside
/// the chain of its PCK certificate.
///
/// Owned by the caller and given to `authenticate_with_cache` of [`snp`](crate::snp::authenticate_with_cache) or
/// [`tdx`](crate::tdx::authenticate_with_cache); there is no other one, and nothing fills it but those functions. It holds
/// digests and no verdicts: whether a signature is valid depends on the bytes of keys, messages and signatures,
/// which the digest covers, and not on time, policy or anchors. Everything else about a chain is judged each time.
///
/// An internal lock guards the digests and is held for one look-up or one insertion, never while a signature is
/// verified. When the cache is full the oldest group is forgotten, so a peer with many genuine chains
/// can cost others their place, which costs time and nothing else.
#[derive(Debug)]
pub struct ChainCache {
    capacity: usize,
    chains: Mutex<Chains>,
}

#[derive(Debug, Default)]
struct Chains {
    known: HashSet<Sha256Digest>,
    oldest_first: VecDeque<Sha256Digest>,
}

impl ChainCache {
    /// An empty cache for `capacity` groups, at most [`MAX_CACHED_CHAINS`]. With 0 it remembers nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.min(MAX_CACHED_CHAINS), chains: Mutex::default() }
    }

    /// How many groups it remembers: of TDX two for each machine.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|chains| chains.known.len())
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn holds(&self, chain: &Sha256Digest) -> bool {
        self.with(|chains| chains.known.contains(chain))
    }

    /// Remembers a group. Presumes that all of its signatures were verified.
    fn keep(&self, chain: Sha256Digest) {
        self.with(|chains| {
            if self.capacity == 0 || !chains.known.insert(chain) {
                return;
            }
            chains.oldest_first.push_back(chain);
            if chains.oldest_first.len() > self.capacity
                && let Some(oldest) = chains.oldest_first.pop_front()
            {
                chains.known.remove(&oldest);
            }
        });
    }

    /// A thread that panicked cannot have left the digests half changed in a way that trusts more, so its lock is taken.
    fn with<T>(&self, act: impl FnOnce(&mut Chains) -> T) -> T {
        act(&mut self.chains.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The signatures of one group, to be verified or known from before.
#[derive(Debug)]
pub(crate) struct Signatures<'c> {
    remembered: Option<(&'c ChainCache, Sha256Digest)>,
    known: bool,
}

impl<'c> Signatures<'c> {
    /// The group of these parts, which must be all that its signatures depend on: keys, algorithms, messages, signatures. The
    /// first part says what kind of group it is.
    pub(crate) fn of(cache: Option<&'c ChainCache>, parts: &[&[u8]]) -> Self {
        let remembered = cache.map(|cache| (cache, group_digest(parts)));
        let known = remembered.as_ref().is_some_and(|(cache, digest)| cache.holds(digest));
        Self { remembered, known }
    }

    /// Whether they were verified before, all of them.
    pub(crate) const fn are_known(&self) -> bool {
        self.known
    }

    /// Whether one of them is valid; `verify` is asked unless that is known.
    pub(crate) fn is_valid(&self, verify: impl FnOnce() -> bool) -> bool {
        self.known || verify()
    }

    /// How a signature of the group is shown, as the end of "signed by ...".
    pub(crate) const fn observed(&self, valid: bool) -> &'static str {
        match (valid, self.known) {
            (true, true) => "it is, as verified before",
            (true, false) => "it is",
            (false, _) => "it is not",
        }
    }

    /// Remembers the group. Presumes that [`is_valid`](Self::is_valid) was true of every signature in it.
    pub(crate) fn keep(self) {
        if let Some((cache, digest)) = self.remembered {
            cache.keep(digest);
        }
    }
}

/// What a group is remembered by: SHA-256 over its parts, each after its length (8 bytes, big-endian).
fn group_digest(parts: &[&[u8]]) -> Sha256Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; Sha256Digest::LEN];
    out.copy_from_slice(context.finish().as_ref());
    Sha256Digest::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Sha256Digest {
        Sha256Digest::new([byte; 32])
    }

    #[test]
    fn forgets_the_oldest_when_it_is_full() {
        let cache = ChainCache::new(2);
        assert!(cache.is_empty());
        for byte in [1, 2, 1, 3] {
            cache.keep(digest(byte));
        }
        assert_eq!(cache.len(), 2);
        assert!(!cache.is_empty());
        assert!(!cache.holds(&digest(1)) && cache.holds(&digest(2)) && cache.holds(&digest(3)));
    }

    #[test]
    fn keeps_to_its_limits() {
        let none = ChainCache::new(0);
        none.keep(digest(1));
        assert!(none.is_empty());
        assert_eq!(ChainCache::new(usize::MAX).capacity, MAX_CACHED_CHAINS);
    }

    #[test]
    fn the_boundaries_between_parts_count() {
        let whole = group_digest(&[b"ab", b"c", b"d"]);
        for other in [[&b"a"[..], b"bc", b"d"], [b"ab", b"", b"cd"], [b"d", b"c", b"ab"]] {
            assert_ne!(group_digest(&other), whole);
        }
        assert_ne!(group_digest(&[b"ab", b"c", b"d", b""]), whole);
    }

    #[test]
    fn a_group_is_known_only_after_it_was_kept() {
        let cache = ChainCache::new(2);
        let group = |part| Signatures::of(Some(&cache), &[b"kind", part]);
        assert!(!group(b"a").are_known() && group(b"a").is_valid(|| true) && !group(b"a").is_valid(|| false));
        group(b"a").keep();
        assert!(group(b"a").are_known() && group(b"a").is_valid(|| false));
        assert!(!group(b"b").are_known());
        let without = Signatures::of(None, &[b"kind", b"a"]);
        assert!(!without.are_known() && !without.is_valid(|| false));
        without.keep();
        assert_eq!(cache.len(), 1);
    }
}
