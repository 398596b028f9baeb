//! The personal part of audit entries, and the keys that open it.
//!
//! A guest seals who called, from where and with which key ([`PersonalPart`]) under a key of the caller's own ([`SubjectKey`]), which it
//! draws for one boot and one [`Period`] of 90 days. The log has the ciphertext and commits to it. The key is in the guest's memory, and in
//! one file of the [`Keyring`], encrypted to the privacy recipient that the operator names. Whoever destroys that file makes the personal
//! part unreadable, in every copy of the log, while every proof holds as before.
//!
//! Promised: a part is opened only in the entry that it was sealed for (boot, key and request are authenticated with it); a part has one
//! length, whatever it says; keys are wiped on drop and never printed; what is read of a keyring is bounded.
//!
//! *Not* promised: that nobody kept a copy of a key's file together with the recipient's private key. Until a key is destroyed, what is
//! sealed under it is personal data (GDPR, article 4(5)); so is a pseudonym while its key is there.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

mod keyring;
mod part;
mod pseudonym;
mod recipient;
mod subject;

pub use keyring::{KeyFile, KeyFileError, Keyring, KeyringError, MAX_KEY_FILE_BYTES, MAX_KEYS};
pub use part::{CallerKey, KeyLabel, LabelError, MAX_LABEL_BYTES, PART_BYTES, PersonalPart};
pub use pseudonym::PseudonymKey;
pub use recipient::{MAX_RECIPIENT_BYTES, RecipientError, RecipientKey};
pub use subject::{OpenError, OpenedKey, Period, SealError, Subject, SubjectError, SubjectKey};
