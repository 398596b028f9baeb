//! What can go wrong between a log and its witnesses.

use anchorhold_audit_log::note::NoteError;
use std::path::PathBuf;

/// Why a checkpoint was not cosigned. `E` is what kept the log from proving its own growth.
#[derive(Debug, thiserror::Error)]
pub enum CosignError<E> {
    /// It did not answer.
    #[error("{0}")]
    Unreachable(anchorhold_channel::client::Error),
    /// It knows more of this log than the log itself does: what there is of it is older than what was in use.
    #[error("the log is older than what the witness has seen: {log} entries, {witness} cosigned")]
    Behind {
        /// Entries of the log.
        log: u64,
        /// Entries that the witness has cosigned.
        witness: u64,
    },
    /// It refused: with 409 or 422 it knows another history of this log.
    #[error("refused with status {status}{}", if matches!(status, 409 | 422) { ": it knows another history" } else { "" })]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Its answer is no cosignature of its key over the checkpoint.
    #[error("answer: {0}")]
    Answer(NoteError),
    /// It says another time than it is, so what it signs brackets nothing.
    #[error("it says a time that is {apart_s} s from ours")]
    Time {
        /// By how many seconds it is off.
        apart_s: u64,
    },
    /// The log's own part.
    #[error("{0}")]
    Prove(E),
    /// Fewer witnesses than needed cosigned.
    #[error("{observed} of {needed} needed witnesses cosigned; {}: {}", first.0, first.1)]
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many cosigned.
        observed: usize,
        /// The first that did not, and why.
        first: Box<(String, Self)>,
    },
}

impl<E> CosignError<E> {
    /// Whether the log, and not the witness or the way to it, is at fault.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        match self {
            Self::Behind { .. } | Self::Refused { status: 409 | 422 } => true,
            Self::TooFew { first, .. } => first.1.is_rollback(),
            _ => false,
        }
    }
}

/// What is wrong with the settings of witnesses.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// More than the limit.
    #[error("more than {} witnesses", super::MAX_WITNESSES)]
    TooMany,
    /// None is needed, so none proves anything.
    #[error("needed: witnesses of which none is needed prove nothing")]
    NoneNeeded,
    /// More are needed than there are, or one stands there twice.
    #[error("needed: there are not as many different witnesses")]
    Quorum,
    /// Not a witness's key.
    #[error("witness key: {0}")]
    Key(NoteError),
    /// Not an `https` address.
    #[error("witness url: {0}")]
    Url(String),
    /// A certificate that cannot be read or is not one.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
