//! Signed notes and checkpoints of logs.

use crate::accepted::Error;
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::{Checkpoint, VerifierKey};
use serde::Serialize;

/// What a note is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NoteVerification {
    /// Whether the key signed its text.
    pub signed: bool,
    /// Whether the text is a checkpoint too, in its one written form.
    pub checkpoint: bool,
}

/// Judges a signed note (C2SP signed-note) for one verifier key, and its text as a checkpoint (C2SP tlog-checkpoint).
///
/// # Errors
/// [`Error::Key`] when `key` is no verifier key; a note that is refused is an outcome.
pub fn judge_note(note: &[u8], key: &str) -> Result<NoteVerification, Error> {
    let key = VerifierKey::parse(key).map_err(|_| Error::Key)?;
    let parsed = Note::parse(note);
    let Some(verified) = parsed.as_ref().ok().and_then(|note| note.verify(std::slice::from_ref(&key)).ok())
    else {
        return Ok(NoteVerification { signed: false, checkpoint: false });
    };
    let text = verified.text();
    let checkpoint = Checkpoint::from_text(text).is_ok_and(|checkpoint| checkpoint.to_text() == text);
    Ok(NoteVerification { signed: true, checkpoint })
}
