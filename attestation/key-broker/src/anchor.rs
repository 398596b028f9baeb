//! The broker's log in front of its own witnesses. Their cosignatures show guests and auditors that there is one history; their
//! memory shows a broker that its state was set back.

use crate::broker::Broker;
use crate::ledger::{LedgerError, SignedHead};
use anchorhold_audit_log::{Code, Event, EventType, Outcome, Stamp};
use anchorhold_witnesses::{CosignError, Settings, Witnesses};
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest settings file, in bytes.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;
/// Between attempts when too few witnesses answered.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why the witnesses did not cosign.
pub type AnchorError = CosignError<LedgerError>;

/// Reads a settings file, TOML: how many witnesses are needed, and for each its key, address and certificate.
///
/// # Errors
/// What is wrong with it, or with a certificate that it names.
pub fn witnesses_from_file(path: &Path) -> anyhow::Result<Witnesses> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    anyhow::ensure!(text.len() <= MAX_SETTINGS_BYTES, "{}: too long", path.display());
    let settings: Settings = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Witnesses::new(&settings).with_context(|| path.display().to_string())
}

/// Keeps the log in front of its witnesses.
#[derive(Debug)]
pub struct Anchor {
    broker: Arc<Broker>,
    witnesses: Witnesses,
}

impl Anchor {
    /// For `broker`.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, witnesses: Witnesses) -> Self {
        Self { broker, witnesses }
    }

    /// Has the newest head cosigned.
    ///
    /// # Errors
    /// [`AnchorError::TooFew`]; one witness that knows more or another history is an error by itself, whatever the others say.
    pub async fn cosign(&mut self) -> Result<(), AnchorError> {
        let head = self.broker.ledger().latest();
        let size = head.head.size;
        let prove = |known| self.broker.ledger().prove_consistency(known, size);
        let note = self.witnesses.cosign(head.head, &head.note, prove).await?;
        self.broker.cosigned().publish(SignedHead { head: head.head, note });
        Ok(())
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
