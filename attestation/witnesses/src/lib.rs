//! A log in front of its witnesses, over HTTPS: the log's end of c2sp.org/tlog-witness.
//!
//! [`Witnesses::cosign`] brings a checkpoint to every witness at once, with the proof that it follows from what each cosigned last, and
//! gives it back with the cosignatures of as many as are needed. Witnesses are pinned by certificate for the way and by key for what they
//! sign. A witness that knows more of the log than the log itself, or another history, is an error whatever the others say.
//!
//! Guests and key brokers both use it. No retries: when to ask again is for them to say. No clock either: with theirs
//! ([`Witnesses::with_clock`]), a witness that says another time is not counted.

mod error;
mod settings;

pub use error::{CosignError, SettingsError};
pub use settings::{MAX_WITNESSES, Settings, WitnessSettings};

use anchorhold_audit_log::Hash;
use anchorhold_audit_log::cosignature::{Quorum, QuorumError, WitnessKey, cosignatures};
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::note::{Note, NoteError};
use anchorhold_audit_log::witness::{AddCheckpoint, with_signatures};
use anchorhold_channel::client::{Client, Pinned};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// The path below a witness's address.
pub const ADD_CHECKPOINT: &str = "/witness/add-checkpoint";
/// How often a witness may answer with another size than ours in one submission.
const MAX_CONFLICTS: usize = 4;

/// By how much a witness's clock and the log's may differ.
const MAX_APART_S: u64 = 300;

/// Seconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A witness of this log, and what it last cosigned.
struct Witness {
    key: WitnessKey,
    client: Client<Pinned>,
    known: u64,
}

/// The witnesses of one log.
pub struct Witnesses {
    all: Vec<Witness>,
    quorum: Quorum,
    clock: Option<Clock>,
}

impl fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Witnesses({} of {})", self.quorum.needed(), self.all.len())
    }
}

impl Witnesses {
    /// No witness, and none asked for.
    ///
    /// # Panics
    /// Never: none of none is a quorum.
    #[must_use]
    pub fn none() -> Self {
        Self {
            all: Vec::new(),
            quorum: Quorum::new(Vec::new(), 0).expect("none of none is a quorum"),
            clock: None,
        }
    }

    /// Reads the certificates that the settings name.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let all = settings.clients()?;
        let all: Vec<_> = all.into_iter().map(|(key, client)| Witness { key, client, known: 0 }).collect();
        let keys = all.iter().map(|witness| witness.key.clone()).collect();
        let quorum = Quorum::new(keys, settings.needed).map_err(|QuorumError| SettingsError::Quorum)?;
        Ok(Self { all, quorum, clock: None })
    }

    /// Counts only those who agree with this clock within 5 minutes.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Who they are and how many must have cosigned.
    #[must_use]
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.all.len()
    }

    /// The smallest size that one of them is known to have cosigned: proofs from there on are asked for. Zero without witnesses.
    #[must_use]
    pub fn least_known(&self) -> u64 {
        self.all.iter().map(|witness| witness.known).min().unwrap_or(0)
    }

    /// Has the checkpoint in `note`, of `head`, cosigned; gives back the note with the cosignatures that came. `prove` gives the
    /// consistency proof from an old size to the head's.
    ///
    /// # Errors
    /// [`CosignError::TooFew`]; one witness that knows more or another history is an error by itself.
    pub async fn cosign<E>(
        &mut self,
        head: TreeHead,
        note: &[u8],
        prove: impl Fn(u64) -> Result<Vec<Hash>, E>,
    ) -> Result<Vec<u8>, CosignError<E>> {
        let asked = self.all.iter_mut().map(|witness| witness.submit(head.size, note, &prove));
        let outcomes = futures_util::future::join_all(asked).await;
        let now_s = self.clock.as_ref().map(|clock| clock());
        let mut cosigned = note.to_vec();
        let mut observed = 0;
        let mut first = None;
        for (witness, outcome) in self.all.iter().zip(outcomes) {
            let in_time =
                outcome.and_then(|(lines, time_s)| match now_s.map(|now_s| now_s.abs_diff(time_s)) {
                    Some(apart_s) if apart_s > MAX_APART_S => Err(CosignError::Time { apart_s }),
                    _ => Ok(lines),
                });
            match in_time {
                Ok(lines) => {
                    cosigned = with_signatures(&cosigned, &lines).map_err(CosignError::Answer)?;
                    observed += 1;
                }
                Err(error) if error.is_rollback() => return Err(error),
                Err(error) => {
                    first.get_or_insert((witness.key.name().to_owned(), error));
                }
            }
        }
        let needed = self.quorum.needed();
        match first {
            Some(first) if observed < needed => {
                Err(CosignError::TooFew { needed, observed, first: Box::new(first) })
            }
            _ => Ok(cosigned),
        }
    }
}

impl Witness {
    /// This witness's cosignature of the checkpoint in `note`, as signature lines, and its time.
    async fn submit<E>(
        &mut self,
        size: u64,
        note: &[u8],
        prove: &impl Fn(u64) -> Result<Vec<Hash>, E>,
    ) -> Result<(Vec<u8>, u64), CosignError<E>> {
        let mut known = self.known.min(size);
        for _ in 0..MAX_CONFLICTS {
            let proof = match known {
                0 => Vec::new(),
                known => prove(known).map_err(CosignError::Prove)?,
            };
            let request = AddCheckpoint::new(known, proof, note.to_vec())
                .map_err(|refusal| CosignError::Refused { status: refusal.status() })?;
            let answer = self.client.post_json(ADD_CHECKPOINT, &[], Bytes::from(request.to_bytes())).await;
            let answer = answer.map_err(CosignError::Unreachable)?;
            match answer.status.as_u16() {
                200 => {
                    let lines = self.checked(note, &answer.body).map_err(CosignError::Answer)?;
                    self.known = size;
                    return Ok(lines);
                }
                409 => {
                    let told = std::str::from_utf8(&answer.body).ok();
                    let told = told.and_then(|text| text.trim_end().parse::<u64>().ok());
                    let told = told.ok_or(CosignError::Refused { status: 409 })?;
                    if told > size {
                        return Err(CosignError::Behind { log: size, witness: told });
                    }
                    if told == known {
                        // The same size with another root.
                        return Err(CosignError::Refused { status: 409 });
                    }
                    known = told;
                }
                status => return Err(CosignError::Refused { status }),
            }
        }
        Err(CosignError::Refused { status: 409 })
    }

    /// The lines of an answer that are this witness's, verified, and their time. A witness may add lines of other keys; only its own go
    /// on.
    fn checked(&self, note: &[u8], lines: &[u8]) -> Result<(Vec<u8>, u64), NoteError> {
        let note = with_signatures(note, lines)?;
        let note = Note::parse(&note)?;
        let found = cosignatures(&note, std::slice::from_ref(&self.key))?;
        let [cosignature] = found.as_slice() else { return Err(NoteError::NotSigned) };
        let text = std::str::from_utf8(lines).map_err(|_| NoteError::Encoding)?;
        let own = format!("\u{2014} {} ", self.key.name());
        let own: String = text.split_inclusive('\n').filter(|line| line.starts_with(&own)).collect();
        Ok((own.into_bytes(), cosignature.time_s))
    }
}
