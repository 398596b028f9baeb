//! The broker's log in front of its own witnesses (c2sp.org/tlog-witness, the log's end). Their cosignatures show guests
//! and auditors that there is one history; their memory shows a broker that its state was set back.

use crate::broker::Broker;
use crate::ledger::{LedgerError, SignedHead};
use anchorhold_audit_log::cosignature::{Quorum, QuorumError, WitnessKey, cosignatures};
use anchorhold_audit_log::note::{Note, NoteError};
use anchorhold_audit_log::witness::{AddCheckpoint, with_signatures};
use anchorhold_audit_log::{Code, Event, EventType, Outcome, Stamp};
use anchorhold_channel::client::{Client, Limits, Pinned, Target};
use anchorhold_channel::tls;
use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The path below a witness's address.
pub const ADD_CHECKPOINT: &str = "/witness/add-checkpoint";
/// The longest settings file, in bytes.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;
/// The most witnesses.
const MAX_WITNESSES: usize = 16;
/// For one exchange with a witness.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Between attempts when too few witnesses answered.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a witness may answer with another size than ours in one submission.
const MAX_CONFLICTS: usize = 4;

/// The settings file: which witnesses there are and how many must have cosigned before an answer leaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    needed: usize,
    witness: Vec<WitnessSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessSettings {
    /// The verifier key, as its `init` or its operator prints it.
    key: String,
    /// `https://host[:port]`.
    url: String,
    /// The certificate that it must hold, PEM.
    certificate: PathBuf,
}

/// A witness of this broker's log.
struct Witness {
    key: WitnessKey,
    client: Client<Pinned>,
}

/// All of them.
pub struct Witnesses {
    all: Vec<Arc<Witness>>,
    quorum: Quorum,
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
        Self { all: Vec::new(), quorum: Quorum::new(Vec::new(), 0).expect("none of none is a quorum") }
    }

    /// Reads a settings file, TOML.
    ///
    /// # Errors
    /// What is wrong with it, or with a certificate that it names.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        anyhow::ensure!(text.len() <= MAX_SETTINGS_BYTES, "{}: too long", path.display());
        let settings: Settings = toml::from_str(&text).with_context(|| path.display().to_string())?;
        anyhow::ensure!(settings.witness.len() <= MAX_WITNESSES, "more than {MAX_WITNESSES} witnesses");
        anyhow::ensure!(settings.needed > 0, "needed: witnesses of which none is needed prove nothing");
        let all: Vec<_> = settings.witness.iter().map(Witness::from_settings).collect::<Result<_, _>>()?;
        let keys = all.iter().map(|witness| witness.key.clone()).collect();
        let quorum = Quorum::new(keys, settings.needed).map_err(|QuorumError| QuorumError)?;
        Ok(Self { all: all.into_iter().map(Arc::new).collect(), quorum })
    }

    /// What an answer waits for.
    #[must_use]
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }
}

impl Witness {
    fn from_settings(settings: &WitnessSettings) -> anyhow::Result<Self> {
        let key = WitnessKey::parse(&settings.key).map_err(|error| anyhow::anyhow!("key: {error}"))?;
        let pem = std::fs::read(&settings.certificate)
            .with_context(|| settings.certificate.display().to_string())?;
        let certificates = tls::certificates_from_pem(&pem)?;
        let [certificate] = certificates.as_slice() else {
            anyhow::bail!("{}: wanted one certificate", settings.certificate.display())
        };
        let target: Target = settings.url.parse().with_context(|| settings.url.clone())?;
        let limits = Limits {
            connect_timeout: TIMEOUT,
            request_timeout: TIMEOUT,
            max_body_bytes: MAX_ANSWER_BYTES,
            ..Limits::default()
        };
        Ok(Self { key, client: Client::pinned_certificate(target, certificate, limits)? })
    }
}

/// Why a witness did not cosign.
#[derive(Debug)]
pub enum AnchorError {
    /// It did not answer.
    Unreachable(anchorhold_channel::client::Error),
    /// It knows more of this log than the state does: the state is older than one that was in use.
    Behind {
        /// Entries of the state.
        state: u64,
        /// Entries that the witness has cosigned.
        witness: u64,
    },
    /// It refused: with 409 or 422 it knows another history of this log.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Its answer is no cosignature of its key over the checkpoint.
    Answer(NoteError),
    /// The broker's own state.
    Ledger(LedgerError),
    /// Fewer witnesses than needed cosigned; why the first of the others did not.
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many cosigned.
        observed: usize,
        /// The first that did not, and why.
        first: Box<(String, AnchorError)>,
    },
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::Behind { state, witness } => {
                write!(
                    f,
                    "the state is older than what the witness has seen: {state} entries, {witness} cosigned"
                )
            }
            Self::Refused { status } => write!(f, "refused with status {status}: it knows another history"),
            Self::Answer(error) => write!(f, "answer: {error}"),
            Self::Ledger(error) => error.fmt(f),
            Self::TooFew { needed, observed, first } => {
                let (name, why) = first.as_ref();
                write!(f, "{observed} of {needed} needed witnesses cosigned; {name}: {why}")
            }
        }
    }
}

impl std::error::Error for AnchorError {}

impl AnchorError {
    /// Whether the state, and not the witness or the way to it, is at fault.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        match self {
            Self::Behind { .. } | Self::Refused { status: 409 | 422 } => true,
            Self::TooFew { first, .. } => first.1.is_rollback(),
            _ => false,
        }
    }
}

/// Keeps the log in front of its witnesses.
#[derive(Debug)]
pub struct Anchor {
    broker: Arc<Broker>,
    witnesses: Witnesses,
    /// What each witness last cosigned, by name: where the next proof starts.
    sizes: BTreeMap<String, u64>,
}

impl Anchor {
    /// For `broker`.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, witnesses: Witnesses) -> Self {
        Self { broker, witnesses, sizes: BTreeMap::new() }
    }

    /// Has the newest head cosigned.
    ///
    /// # Errors
    /// [`AnchorError::TooFew`]; one witness that knows more or another history is an error by itself, whatever the others say.
    pub async fn cosign(&mut self) -> Result<(), AnchorError> {
        let head = self.broker.ledger().latest();
        let mut tasks = JoinSet::new();
        for witness in &self.witnesses.all {
            let known = self.sizes.get(witness.key.name()).copied().unwrap_or(0);
            let (broker, head, witness) = (Arc::clone(&self.broker), Arc::clone(&head), Arc::clone(witness));
            tasks.spawn(async move {
                let outcome = submit(&broker, &witness, &head, known).await;
                (witness.key.name().to_owned(), outcome)
            });
        }
        let mut note = head.note.clone();
        let mut observed = 0;
        let mut first = None;
        while let Some(joined) = tasks.join_next().await {
            let Ok((name, outcome)) = joined else { continue };
            match outcome {
                Ok(lines) => {
                    self.sizes.insert(name, head.head.size);
                    note = with_signatures(&note, &lines).map_err(AnchorError::Answer)?;
                    observed += 1;
                }
                Err(error) if error.is_rollback() => return Err(error),
                Err(error) => {
                    first.get_or_insert((name, error));
                }
            }
        }
        let needed = self.witnesses.quorum.needed();
        match first {
            Some(first) if observed < needed => {
                Err(AnchorError::TooFew { needed, observed, first: Box::new(first) })
            }
            _ => {
                self.broker.cosigned().publish(SignedHead { head: head.head, note });
                Ok(())
            }
        }
    }

    /// Cosigns each new head, for as long as the broker serves. Failures are told to the operator and logged, once until it
    /// works again.
    pub async fn run(mut self, clock: Arc<dyn Fn() -> Stamp + Send + Sync>) {
        let mut heads = self.broker.ledger().heads();
        let mut pause = FIRST_PAUSE;
        let mut failing = false;
        loop {
            let newest = heads.borrow_and_update().head.size;
            if newest <= self.broker.cosigned().size() {
                if heads.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.cosign().await {
                Ok(()) => (pause, failing) = (FIRST_PAUSE, false),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        self.tell(&error, clock()).await;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn tell(&self, error: &AnchorError, at: Stamp) {
        self.broker.report(&format!("witnesses: {error}"));
        let mut event = Event::new(EventType::LogAnchorFail, Outcome::Failure, at);
        event.code =
            Code::from_static(if error.is_rollback() { "state_rolled_back" } else { "witness_missing" });
        let broker = Arc::clone(&self.broker);
        let logged = tokio::task::spawn_blocking(move || broker.ledger().append(event)).await;
        if let Ok(Err(error)) = logged {
            self.broker.report(&error.to_string());
        }
    }
}

/// One witness's cosignature of `head`, as signature lines. `known` is what it is thought to know.
async fn submit(
    broker: &Broker,
    witness: &Witness,
    head: &SignedHead,
    known: u64,
) -> Result<Vec<u8>, AnchorError> {
    let size = head.head.size;
    let mut known = known.min(size);
    for _ in 0..MAX_CONFLICTS {
        let proof = match known {
            0 => Vec::new(),
            known => broker.ledger().prove_consistency(known, size).map_err(AnchorError::Ledger)?,
        };
        let request = AddCheckpoint::new(known, proof, head.note.clone())
            .map_err(|refusal| AnchorError::Refused { status: refusal.status() })?;
        let body = Bytes::from(request.to_bytes());
        let answer = witness.client.post_json(ADD_CHECKPOINT, &[], body).await;
        let answer = answer.map_err(AnchorError::Unreachable)?;
        match answer.status.as_u16() {
            200 => return checked(witness, head, &answer.body),
            409 => {
                let told =
                    std::str::from_utf8(&answer.body).ok().and_then(|text| text.trim_end().parse().ok());
                let told: u64 = told.ok_or(AnchorError::Refused { status: 409 })?;
                if told > size {
                    return Err(AnchorError::Behind { state: size, witness: told });
                }
                if told == known {
                    // The same size with another root.
                    return Err(AnchorError::Refused { status: 409 });
                }
                known = told;
            }
            status => return Err(AnchorError::Refused { status }),
        }
    }
    Err(AnchorError::Refused { status: 409 })
}

/// The lines of an answer that are this witness's, verified.
fn checked(witness: &Witness, head: &SignedHead, lines: &[u8]) -> Result<Vec<u8>, AnchorError> {
    let note = with_signatures(&head.note, lines).map_err(AnchorError::Answer)?;
    let note = Note::parse(&note).map_err(AnchorError::Answer)?;
    let found = cosignatures(&note, std::slice::from_ref(&witness.key)).map_err(AnchorError::Answer)?;
    if found.is_empty() {
        return Err(AnchorError::Answer(NoteError::NotSigned));
    }
    // A witness may add lines of other keys; only its own go on.
    let text = std::str::from_utf8(lines).map_err(|_| AnchorError::Answer(NoteError::Encoding))?;
    let own = format!("\u{2014} {} ", witness.key.name());
    let own: String = text.split_inclusive('\n').filter(|line| line.starts_with(&own)).collect();
    Ok(own.into_bytes())
}
