//! A guest gives its leases back when it stops, so that the next boot need not wait for their end.

use crate::request::read_json;
use crate::{InstanceId, RequestError};
use anchorhold_audit_log::VerifierKey;
use anchorhold_audit_log::note::{Note, NoteError, Signer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest body that is read, in bytes: an origin, a key id, and room for one signature.
pub const MAX_LEASE_END_BYTES: usize = 1024;
/// No log has this name, because names have no spaces: such a note is no checkpoint.
const FIRST_LINE: &str = "anchorhold lease end v1";

/// Why a note ends no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEndError {
    /// Over [`MAX_LEASE_END_BYTES`], or not the documented JSON.
    Body(RequestError),
    /// Not a note, or not signed by the log's key.
    Note(NoteError),
    /// The signed text is not that of a lease's end.
    Text,
}

impl fmt::Display for LeaseEndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Note(error) => error.fmt(f),
            Self::Text => f.write_str("the note does not tell of a lease's end"),
        }
    }
}

impl std::error::Error for LeaseEndError {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    note: String,
}

/// The body by which the guest whose log `signer` signs says that it has wiped the key `kid` and takes nothing more
/// with it. It is a guest's last word about the key: whoever gets hold of the note can say it again.
///
/// # Errors
/// [`NoteError::Text`] when the key id cannot stand in a note.
pub fn sign_lease_end(signer: &Signer, kid: &str) -> Result<Vec<u8>, NoteError> {
    if kid.contains('\n') {
        return Err(NoteError::Text);
    }
    let note = signer.sign(&format!("{FIRST_LINE}\n{}\n{kid}\n", signer.origin()))?;
    let body = Body { note: String::from_utf8(note).map_err(|_| NoteError::Text)? };
    serde_json::to_vec(&body).map_err(|_| NoteError::Text)
}

/// A note that may tell of a lease's end, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEnd {
    note: Note,
    log_origin: String,
    kid: String,
    instance: InstanceId,
}

impl LeaseEnd {
    /// Reads the body of `POST /v1/lease/end`.
    ///
    /// # Errors
    /// [`LeaseEndError`].
    pub fn from_json(json: &[u8]) -> Result<Self, LeaseEndError> {
        let body: Body = read_json("lease end", json, MAX_LEASE_END_BYTES).map_err(LeaseEndError::Body)?;
        let note = Note::parse(body.note.as_bytes()).map_err(LeaseEndError::Note)?;
        let lines: Vec<&str> = note.unverified_text().split('\n').collect();
        let &[FIRST_LINE, log_origin, kid, ""] = lines.as_slice() else { return Err(LeaseEndError::Text) };
        let instance = log_origin.rsplit_once('/').and_then(|(_, id)| id.parse().ok());
        let instance = instance.ok_or(LeaseEndError::Text)?;
        let (log_origin, kid) = (log_origin.to_owned(), kid.to_owned());
        Ok(Self { note, log_origin, kid, instance })
    }

    /// The name of the guest's log.
    #[must_use]
    pub fn log_origin(&self) -> &str {
        &self.log_origin
    }

    /// Establishes that the holder of `key`, which must be that of [`log_origin`](Self::log_origin), has given back what its instance
    /// holds of the key that is named.
    ///
    /// # Errors
    /// [`LeaseEndError::Note`].
    pub fn verify(&self, key: &VerifierKey) -> Result<(InstanceId, &str), LeaseEndError> {
        if key.name() != self.log_origin {
            return Err(LeaseEndError::Note(NoteError::NotSigned));
        }
        self.note.verify(std::slice::from_ref(key)).map_err(LeaseEndError::Note)?;
        Ok((self.instance, &self.kid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "00112233445566778899aabbccddeeff";

    fn signer(name: &str, seed: u8) -> Signer {
        Signer::from_seed(name.parse().unwrap(), &[seed; 32]).unwrap()
    }

    fn guest() -> Signer {
        signer(&format!("acme/{INSTANCE}"), 1)
    }

    fn read(note: &str) -> Result<LeaseEnd, LeaseEndError> {
        LeaseEnd::from_json(serde_json::json!({ "note": note }).to_string().as_bytes())
    }

    fn note(kid: &str) -> String {
        let body: Body = serde_json::from_slice(&sign_lease_end(&guest(), kid).unwrap()).unwrap();
        body.note
    }

    #[test]
    fn a_guest_ends_the_lease_that_it_names() {
        let end = LeaseEnd::from_json(&sign_lease_end(&guest(), "k1").unwrap()).unwrap();
        assert_eq!(end.log_origin(), format!("acme/{INSTANCE}"));
        let (instance, kid) = end.verify(guest().key()).unwrap();
        assert_eq!((instance.to_string().as_str(), kid), (INSTANCE, "k1"));
    }

    #[test]
    fn refuses_other_keys_altered_names_and_other_notes() {
        let verify = |note: &str, key: &VerifierKey| read(note).and_then(|end| end.verify(key).map(|_| ()));
        let note = note("k1");
        assert_eq!(verify(&note, guest().key()), Ok(()));
        let other = signer(&format!("acme/{INSTANCE}"), 2);
        assert_eq!(verify(&note, other.key()), Err(LeaseEndError::Note(NoteError::NotSigned)));
        let elsewhere = signer("acme/other", 1);
        assert_eq!(verify(&note, elsewhere.key()), Err(LeaseEndError::Note(NoteError::NotSigned)));
        let bad = Err(LeaseEndError::Note(NoteError::BadSignature));
        assert_eq!(verify(&note.replace("\nk1\n", "\nk2\n"), guest().key()), bad);
        let moved = note.replacen("ddeeff\n", "ddee00\n", 1);
        let of_moved = signer(moved.lines().nth(1).unwrap(), 1);
        assert_eq!(verify(&moved, of_moved.key()), Err(LeaseEndError::Note(NoteError::NotSigned)));
        // A checkpoint of the same log is no end of a lease.
        let checkpoint = guest().sign(&format!("acme/{INSTANCE}\n5\nAAAA\n")).unwrap();
        assert_eq!(read(std::str::from_utf8(&checkpoint).unwrap()), Err(LeaseEndError::Text));
    }

    #[test]
    fn refuses_what_is_no_such_note() {
        for text in [
            format!("{FIRST_LINE}\nacme/{INSTANCE}\n"),
            format!("{FIRST_LINE}\nacme/{INSTANCE}\nk1\nk2\n"),
            format!("{FIRST_LINE}\n{INSTANCE}\nk1\n"),
            format!("{FIRST_LINE}\nacme/{}\nk1\n", &INSTANCE[1..]),
            format!("{FIRST_LINE}\nacme/{}\nk1\n", INSTANCE.to_uppercase()),
            format!("anchorhold lease end v2\nacme/{INSTANCE}\nk1\n"),
        ] {
            let note = guest().sign(&text).unwrap();
            assert_eq!(read(std::str::from_utf8(&note).unwrap()), Err(LeaseEndError::Text), "{text}");
        }
        assert_eq!(read("{}"), Err(LeaseEndError::Note(NoteError::Shape)));
        assert_eq!(sign_lease_end(&guest(), "k1\nk2"), Err(NoteError::Text));
        assert!(LeaseEndError::Text.to_string().contains("lease's end"));
    }

    #[test]
    fn refuses_other_json_and_more_than_the_limit() {
        let mut body = sign_lease_end(&guest(), "k1").unwrap();
        body.resize(MAX_LEASE_END_BYTES, b' ');
        assert!(LeaseEnd::from_json(&body).is_ok());
        body.push(b' ');
        let long = LeaseEnd::from_json(&body).unwrap_err();
        assert_eq!(long.to_string(), "lease end is 1025 bytes, the limit is 1024");
        for bad in [&b"{}"[..], b"{\"note\":\"\",\"more\":1}", b"{\"note\":1}", b"[]", b"x"] {
            let refused = LeaseEnd::from_json(bad);
            assert!(
                matches!(refused, Err(LeaseEndError::Body(RequestError::Malformed { .. }))),
                "{refused:?}"
            );
        }
    }
}
