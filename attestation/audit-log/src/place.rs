//! Where a log lies, and what opens it.

use crate::ReadingKey;
use std::path::Path;

/// The directory of a log, with the key to its entries where they are encrypted. A path alone is a log whose entries are not.
#[derive(Debug, Clone, Copy)]
pub struct LogPlace<'a> {
    pub(crate) path: &'a Path,
    pub(crate) key: Option<&'a ReadingKey>,
}

impl<'a> LogPlace<'a> {
    /// A log whose entries open with `key`.
    #[must_use]
    pub fn encrypted<P: AsRef<Path> + ?Sized>(path: &'a P, key: &'a ReadingKey) -> Self {
        Self { path: path.as_ref(), key: Some(key) }
    }
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for LogPlace<'a> {
    fn from(path: &'a P) -> Self {
        Self { path: path.as_ref(), key: None }
    }
}
