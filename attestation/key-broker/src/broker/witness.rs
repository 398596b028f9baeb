//! The broker as a witness of its guests' logs (c2sp.org/tlog-witness): it keeps the head of each and cosigns what follows
//! from it. A guest whose disk was set back or that was cloned cannot go on, and what its log signed twice is kept.

use super::{Answer, Broker, BrokerError};
use crate::ledger::Writing;
use crate::state::{self, WitnessedRow};
use crate::store::StoreError;
use anchorhold_audit_log::witness::{AddCheckpoint, SIZE_CONTENT_TYPE, WitnessRefusal, Witnessed, judge};
use anchorhold_audit_log::{Code, Event, EventType, LogState, Origin, Outcome, VerifierKey};

/// What became of a checkpoint.
enum Taken {
    Cosign(Witnessed),
    Refuse(WitnessRefusal),
}

impl Broker {
    /// Answers `POST /witness/add-checkpoint`. The head is durable before the cosignature leaves. Only a contradiction is
    /// logged, the first of each log: guests anchor every second.
    #[must_use]
    pub fn add_checkpoint(&self, body: &[u8]) -> Answer {
        let request = match AddCheckpoint::from_bytes(body) {
            Ok(request) => request,
            Err(refusal) => return refused(refusal),
        };
        let event = self.operator_event(EventType::LogAnchorFail, Outcome::Denied);
        let taken = self.ledger.commit(move |writing| take(writing, &request, event));
        match taken {
            Ok((Taken::Cosign(witnessed), _)) => {
                let time_s = u64::try_from(self.around.now().unix_seconds()).unwrap_or(0);
                let line = self.cosigner.cosign(&witnessed.checkpoint().to_text(), time_s);
                Answer { content_type: "text/plain; charset=utf-8", ..Answer::json(200, line.into_bytes()) }
            }
            Ok((Taken::Refuse(refusal), _)) => refused(refusal),
            Err(error) => {
                self.report(&error.to_string());
                text(503, "the witness's state is out of reach; try again\n")
            }
        }
    }

    /// Witnesses the log of this key from now on, as another broker's log is. One that is witnessed already stays as it is.
    ///
    /// # Errors
    /// [`BrokerError`]; [`BrokerError::LogKey`] when a log of this name has another key.
    pub fn witness_log(&self, key: &VerifierKey) -> Result<(), BrokerError> {
        let mut event = self.operator_event(EventType::LogRegister, Outcome::Success);
        let origin = Origin::new(key.name()).map_err(|_| BrokerError::LogKey)?;
        event.log = Some(LogState::of(origin));
        let key = key.clone();
        let (known, _) = self.ledger.commit(move |writing| {
            let known = state::witnessed(&*writing.tables(), key.name())?;
            if known.is_none() {
                writing.append(&event)?;
                state::put_witnessed(writing.tables(), key.name(), &WitnessedRow::new(&key))?;
            }
            Ok(known.is_none_or(|known| known.key == key.to_string()))
        })?;
        if known { Ok(()) } else { Err(BrokerError::LogKey) }
    }
}

/// Looks at the stored head and stores the new one, in one transaction.
fn take(writing: &mut Writing<'_>, request: &AddCheckpoint, mut event: Event) -> Result<Taken, StoreError> {
    let Some(mut row) = state::witnessed(&*writing.tables(), request.origin())? else {
        return Ok(Taken::Refuse(WitnessRefusal::UnknownLog));
    };
    let key = VerifierKey::parse(&row.key).map_err(|_| StoreError::Corrupt("witnessed log"))?;
    match judge(request, &key, &row.head()) {
        Ok(witnessed) => {
            let head = witnessed.checkpoint().head;
            row.checkpoint = String::from_utf8(witnessed.note().to_vec())
                .map_err(|_| StoreError::Corrupt("checkpoint"))?;
            (row.size, row.root) = (head.size, head.root);
            row.closed = witnessed.checkpoint().is_closing();
            state::put_witnessed(writing.tables(), request.origin(), &row)?;
            Ok(Taken::Cosign(witnessed))
        }
        Err(refusal) => {
            if refusal.suggests_equivocation() && row.contradiction.is_none() {
                event.code = Code::from_static("log_contradiction");
                event.log = Origin::new(request.origin()).ok().map(|origin| LogState {
                    root: Some(row.root),
                    size: Some(row.size),
                    ..LogState::of(origin)
                });
                writing.append(&event)?;
                row.contradiction = Some(String::from_utf8_lossy(request.note()).into_owned());
                state::put_witnessed(writing.tables(), request.origin(), &row)?;
            }
            Ok(Taken::Refuse(refusal))
        }
    }
}

fn text(status: u16, body: &str) -> Answer {
    Answer { content_type: "text/plain; charset=utf-8", ..Answer::json(status, body.into()) }
}

fn refused(refusal: WitnessRefusal) -> Answer {
    match refusal.size() {
        Some(size) => Answer {
            content_type: SIZE_CONTENT_TYPE,
            ..Answer::json(refusal.status(), format!("{size}\n").into_bytes())
        },
        None => text(refusal.status(), &format!("{refusal}\n")),
    }
}
