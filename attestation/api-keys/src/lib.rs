//! API keys: their form, what they open, and the file in which only their digests stand.
//!
//! Call [`Secret::generate`] for a new key and [`KeyFile`] for the file of digests that the command line edits and the gateway
//! reads. Promised: a key is 256 random bits, printed nowhere by this crate but through [`Secret::expose`], and what is written
//! is its SHA-256, which is enough to recognise it and useless to whoever reads the file. A plain hash suffices because nobody
//! can guess 256 random bits; a slow one would only slow down every request.
//!
//! The crate is *not* the judge of a request: whose turn it is, and whether the clock has passed a key's time, is the gateway's
//! to say. It reads no clock and no file.

mod entry;
mod file;
mod scope;
mod secret;
mod tenant;

pub use entry::{Key, KeyError, Label, LabelError, MAX_LABEL_CHARS};
pub use file::{FileError, KeyFile, MAX_FILE_BYTES, MAX_KEYS};
pub use scope::{Scope, ScopeError, Scopes};
pub use secret::{NoRandomness, Secret, has_form};
pub use tenant::{TenantName, TenantNameError};
