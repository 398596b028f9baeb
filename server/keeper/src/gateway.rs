//! The keeper's end of the line to the gateway.

use crate::audit::Recorder;
use crate::clock::Clock;
use crate::personal::Personal;
use crate::receipts::Receipts;
use crate::run::Happening;
use crate::shelf::Shelf;
use anchorhold_audit_log::{
    Actor, ActorKind, AuthMethod, Code, Event, EventType, Hash, Outcome, Receipt, Request, RequestId, Route,
    TenantId,
};
use anchorhold_channel::authenticator::AuthenticatorKey;
use anchorhold_ipc::{
    Appended, AuditEvent, CallerAuth, FromGateway, Line, LineReader, LineWriter, RefusedCaller,
    RequestOutcome, RequestRecord, ToGateway,
};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Child;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// Says things to the gateway, from any thread.
#[derive(Clone)]
pub(crate) struct Voice(Arc<Mutex<LineWriter<ToGateway>>>);

impl Voice {
    /// Sends a message; false when the gateway is gone, which the reading side reports too.
    pub(crate) fn say(&self, message: &ToGateway, descriptor: Option<&OwnedFd>) -> bool {
        let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(message, &descriptors).is_ok()
    }
}

/// The gateway's process and line.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) voice: Voice,
    reader: LineReader<FromGateway>,
}

impl Gateway {
    pub(crate) fn new(child: Child, socket: OwnedFd) -> Self {
        let (writer, reader) = Line::new(socket).split();
        Self { child, voice: Voice(Arc::new(Mutex::new(writer))), reader }
    }

    /// Waits for the next message; only before [`listen`](Self::listen).
    pub(crate) fn receive(&mut self) -> anyhow::Result<FromGateway> {
        Ok(self.reader.receive()?.0)
    }

    /// Reads on a thread of its own: audit entries go to the log at once, the rest becomes happenings.
    pub(crate) fn listen(
        self,
        mut desk: Desk,
        happenings: Sender<Happening>,
    ) -> anyhow::Result<(Child, Voice)> {
        let Self { child, voice, mut reader } = self;
        std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
            while let Ok((message, _)) = reader.receive() {
                let sent = match message {
                    FromGateway::Record { ticket, event } => {
                        desk.record(ticket, event);
                        Ok(())
                    }
                    FromGateway::Authenticate { ticket, transcript_hash } => {
                        desk.authenticate(ticket, &transcript_hash);
                        Ok(())
                    }
                    FromGateway::ReadLog { ticket, part } => {
                        desk.shelf.read(ticket, part);
                        Ok(())
                    }
                    other => happenings.send(Happening::Gateway(other)),
                };
                if sent.is_err() {
                    return;
                }
            }
            // When nobody listens any more, the keeper is ending already.
            let _ = happenings.send(Happening::GatewayGone);
        })?;
        Ok((child, voice))
    }
}

/// Turns what the gateway reports into entries.
pub(crate) struct Desk {
    pub(crate) recorder: Recorder,
    pub(crate) voice: Voice,
    pub(crate) clock: Clock,
    pub(crate) authenticator_key: Arc<AuthenticatorKey>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) shelf: Shelf,
    /// Where it is kept whom entries are about; `None` where it is not.
    pub(crate) personal: Option<Personal>,
}

impl Desk {
    /// Signs for the connection that the gateway names by its transcript. Everything that can be signed so says "authenticator" and
    /// is about one connection of the gateway's.
    fn authenticate(&self, ticket: u64, transcript_hash: &[u8]) {
        let signature = self.authenticator_key.sign(transcript_hash);
        // A gateway that is gone needs no answer.
        let _ = self.voice.say(&ToGateway::Authenticated { ticket, signature }, None);
    }

    fn record(&mut self, ticket: u64, event: AuditEvent) {
        let (voice, receipts) = (self.voice.clone(), Arc::clone(&self.receipts));
        let said = match &event {
            AuditEvent::Request(record) => self.receipts.about(record, self.clock.stamp()),
            AuditEvent::AuthFailure(_) => None,
        };
        let answer = move |index: Option<u64>| {
            let receipt = index.zip(said).and_then(|(index, said)| receipts.sign(said, index));
            // A gateway that is gone needs no answer.
            let _ = voice.say(&ToGateway::Appended(Appended { ticket, index, receipt }), None);
        };
        match self.entry(event) {
            Some(entry) => self.recorder.record_then(entry, answer),
            None => answer(None),
        }
    }

    /// The entry for a report; `None` when it breaks the form that the log demands, and then nothing may be served.
    fn entry(&mut self, event: AuditEvent) -> Option<Event> {
        match event {
            AuditEvent::Request(record) => self.request(&record),
            AuditEvent::AuthFailure(caller) => self.refused(&caller),
        }
    }

    fn refused(&mut self, caller: &RefusedCaller) -> Option<Event> {
        let at = self.clock.stamp();
        let mut entry = Event::new(EventType::AuthFailure, Outcome::Denied, at);
        entry.code = Code::from_static(caller.reason.code());
        let rid = RequestId::new(&caller.rid).ok()?;
        let mut pseud = None;
        if let (Some(personal), Some(address)) = (&mut self.personal, caller.address) {
            match personal.keep_refused(address, &rid, at) {
                Ok(kept) => (pseud, entry.sealed) = (Some(kept.pseudonym), Some(kept.sealed)),
                Err(error) => personal.warn_of_loss(&error),
            }
        }
        entry.actor = Some(Actor { auth: Some(AuthMethod::None), pseud, ..Actor::new(ActorKind::Client) });
        entry.request = Some(Request {
            finish: None,
            ms: caller.millis,
            receipt: None,
            rid,
            route: route(caller.route),
            status: Some(caller.status),
            stream: false,
            tin: 0,
            tout: 0,
            ttft_ms: None,
        });
        Some(entry)
    }

    fn request(&mut self, record: &RequestRecord) -> Option<Event> {
        let (kind, outcome) = match record.outcome {
            RequestOutcome::Complete if record.route == anchorhold_ipc::Route::Audit => {
                (EventType::LogRead, Outcome::Success)
            }
            RequestOutcome::Complete => (EventType::InferComplete, Outcome::Success),
            RequestOutcome::Rejected => (EventType::InferReject, Outcome::Denied),
            RequestOutcome::Cancelled => (EventType::InferCancel, Outcome::Cancelled),
            RequestOutcome::Error => (EventType::InferError, Outcome::Error),
        };
        let at = self.clock.stamp();
        let mut entry = Event::new(kind, outcome, at);
        let (tenant, rid) = (TenantId::new(&record.tenant).ok()?, RequestId::new(&record.rid).ok()?);
        let mut pseud = None;
        if let Some(personal) = &mut self.personal {
            match personal.keep((&tenant, &record.caller), &rid, at) {
                Ok(kept) => (pseud, entry.sealed) = (Some(kept.pseudonym), Some(kept.sealed)),
                Err(error) => {
                    personal.warn_of_loss(&error);
                    entry.code = Code::from_static("personal_not_kept");
                }
            }
        }
        if let Some(reason) = record.reason {
            entry.code = Code::from_static(reason.code());
        }
        entry.actor = Some(Actor {
            auth: Some(match record.auth {
                CallerAuth::Key => AuthMethod::ApiKey,
                CallerAuth::Token => AuthMethod::Token,
                CallerAuth::Certificate => AuthMethod::Certificate,
            }),
            kind: ActorKind::Client,
            pseud,
            tenant: Some(tenant),
        });
        entry.model = crate::run::named(&record.model);
        entry.request = Some(Request {
            finish: None,
            ms: record.millis,
            receipt: record
                .commitments
                .map(|(request, response)| Receipt::new(Hash::new(request), Hash::new(response))),
            rid,
            route: route(record.route),
            status: Some(record.status),
            stream: record.stream,
            tin: record.tokens_in,
            tout: record.tokens_out,
            ttft_ms: None,
        });
        Some(entry)
    }
}

fn route(route: anchorhold_ipc::Route) -> Route {
    match route {
        anchorhold_ipc::Route::ChatCompletions => Route::ChatCompletions,
        anchorhold_ipc::Route::Completions => Route::Completions,
        anchorhold_ipc::Route::Embeddings => Route::Embeddings,
        anchorhold_ipc::Route::Rerank => Route::Rerank,
        anchorhold_ipc::Route::Tokenize => Route::Tokenize,
        anchorhold_ipc::Route::Responses => Route::Responses,
        anchorhold_ipc::Route::Models => Route::Models,
        anchorhold_ipc::Route::Audit => Route::Audit,
        anchorhold_ipc::Route::Other => Route::Other,
    }
}
