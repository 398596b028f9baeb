//! Where the broker's state lies: a few tables of bytes that change in transactions. What the bytes mean is in
//! [`state`](crate::state) and [`ledger`](crate::ledger), written once for every store.
//!
//! A store is trusted to keep what it acknowledged, not to keep secrets: those are wrapped before they come here.

pub mod embedded;
pub mod postgres;

use std::fmt;

/// The tables. Keys are ordered as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Counters, the log's head and the latest checkpoint, by name.
    Meta,
    /// Wrapped secrets of the broker itself, by kind.
    Secrets,
    /// The policy in force.
    Policy,
    /// Terms and wrapped key of each model version.
    Models,
    /// Used nonces. A nonce begins with its expiry, so they lie in the order in which they expire.
    Nonces,
    /// Leases, by instance and grant.
    Leases,
    /// When each lease ends, by grant and instance.
    LeaseEnds,
    /// What was revoked beside the policy, by kind and name.
    Revoked,
    /// The entries of the broker's log, by index.
    Entries,
    /// The hashes of the log's complete subtrees, by level and index.
    Nodes,
    /// The logs that the broker witnesses, by origin.
    Witnessed,
    /// Resources of the KBS role, by name.
    Resources,
    /// Their wrapped keys, by name.
    ResourceKeys,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Secrets,
        Self::Policy,
        Self::Models,
        Self::Nonces,
        Self::Leases,
        Self::LeaseEnds,
        Self::Revoked,
        Self::Entries,
        Self::Nodes,
        Self::Witnessed,
        Self::Resources,
        Self::ResourceKeys,
    ];

    /// The name in a store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Secrets => "secrets",
            Self::Policy => "policy",
            Self::Models => "models",
            Self::Nonces => "nonces",
            Self::Leases => "leases",
            Self::LeaseEnds => "lease_ends",
            Self::Revoked => "revoked",
            Self::Entries => "entries",
            Self::Nodes => "nodes",
            Self::Witnessed => "witnessed",
            Self::Resources => "resources",
            Self::ResourceKeys => "resource_keys",
        }
    }
}

/// Why a store did not do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// The store cannot be reached or is busy. Nothing has changed; the same may work later.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// The store failed while a change was made durable. Whether it is, is not known.
    Uncertain(Box<dyn std::error::Error + Send + Sync>),
    /// What is stored is not what this version writes.
    Corrupt(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "store: {error}"),
            Self::Uncertain(error) => write!(f, "store, while a change was made durable: {error}"),
            Self::Corrupt(what) => write!(f, "the stored {what} is not what this version writes"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) | Self::Uncertain(error) => Some(error.as_ref()),
            Self::Corrupt(_) => None,
        }
    }
}

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A range of keys: from the first up to, not including, the second.
pub type Keys<'a> = std::ops::Range<&'a [u8]>;

/// A consistent look at the tables.
pub trait View {
    /// The value under a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// A view that can be changed.
pub trait Change: View {
    /// Puts a value under a key, in place of any there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Takes the rows of these keys away and gives back how many there were.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete(&mut self, table: Table, keys: Keys<'_>) -> Result<u64, StoreError>;
}

/// What a look at a store does; it keeps its results itself.
pub type Look<'a> = &'a mut dyn FnMut(&dyn View) -> Result<(), StoreError>;
/// What a change of a store does.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Change) -> Result<(), StoreError>;

/// A state store.
pub trait Store: Send + Sync + fmt::Debug {
    /// Runs `look` on the tables as they are after every change that was acknowledged before.
    ///
    /// # Errors
    /// [`StoreError`], or the error of `look`.
    fn read(&self, look: Look<'_>) -> Result<(), StoreError>;

    /// Runs `work` once, alone among all changes, also those of other processes. When this returns `Ok`, all of its changes are
    /// durable; when it returns an error other than [`StoreError::Uncertain`], none of them has happened.
    ///
    /// # Errors
    /// [`StoreError`], or the error of `work`.
    fn write(&self, work: Work<'_>) -> Result<(), StoreError>;
}

/// Reads a value out of a store.
///
/// # Errors
/// [`StoreError`].
pub fn look_up<T>(
    store: &dyn Store,
    mut look: impl FnMut(&dyn View) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut found = None;
    store.read(&mut |view| {
        found = Some(look(view)?);
        Ok(())
    })?;
    found.ok_or(StoreError::Corrupt("answer of the store"))
}

/// The first key after all that begin with `prefix`; `None` when there is none.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    let byte = end.last_mut()?;
    *byte += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_after_all_of_it_and_before_the_next() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(after_prefix(&[]), None);
    }
}
