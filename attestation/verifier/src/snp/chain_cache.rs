//! Chains whose two signatures were verified before.

use anchorhold_rats::Sha256Digest;
use ring::digest;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The most chains that one cache remembers, 32 bytes for each of them.
pub const MAX_CACHED_CHAINS: usize = 65_536;

/// Remembers chains whose signatures were verified, so that further reports of the same chip cost one signature instead
/// of three.
///
/// Owned by the caller and given to [`authenticate_with_cache`](super::authenticate_with_cache); there is no other one,
/// and nothing fills it but that function. It holds digests and no verdicts: whether a signature is valid depends
/// on the bytes of root, intermediate and leaf, which the digest covers, and not on time, policy or
/// anchors. Everything else about a chain is judged each time.
///
/// An internal lock guards the digests and is held for one look-up or one insertion, never while a signature is
/// verified. When the cache is full the oldest chain is forgotten, so a peer with many genuine chains
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
    /// An empty cache for `capacity` chains, at most [`MAX_CACHED_CHAINS`]. With 0 it remembers nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.min(MAX_CACHED_CHAINS), chains: Mutex::default() }
    }

    /// How many chains it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|chains| chains.known.len())
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn holds(&self, chain: &Sha256Digest) -> bool {
        self.with(|chains| chains.known.contains(chain))
    }

    /// Remembers a chain. Presumes that both of its signatures were verified.
    pub(super) fn keep(&self, chain: Sha256Digest) {
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

/// What a chain is remembered by: SHA-256 over root, intermediate and leaf, each after its length (8 bytes, big-endian).
pub(super) fn chain_digest(certificates: [&[u8]; 3]) -> Sha256Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for certificate in certificates {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
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
    fn the_boundaries_between_certificates_count() {
        let whole = chain_digest([b"ab", b"c", b"d"]);
        for other in [[&b"a"[..], b"bc", b"d"], [b"ab", b"", b"cd"], [b"d", b"c", b"ab"]] {
            assert_ne!(chain_digest(other), whole);
        }
    }
}
