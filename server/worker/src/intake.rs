//! Reads requests and turns text into tokens, beside the steps and not between them: one thread reads, another works.

use crate::clock::Clock;
use crate::desk::{Arrived, Cancelled, Desk};
use crate::forms::{FormBudget, FormPermit};
use crate::panics::AbortOnPanic;
use crate::{Calls, Language, LanguageError};
use anchorhold_engine::{
    Constraint, MAX_CHOICES, MAX_LOGPROBS, ModelKind, Moment, Prompt, RequestId, Sampling, StopRules,
    Tenancy, TokenId,
};
use anchorhold_ipc::{Event, LineReader, RejectReason, RequestError, StructureFault, Work, WorkKind};
use anchorhold_model::CallStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Text with more bytes than this for each token of the context is refused before it is tokenized. Far more than any
/// token is long on average, so it only bounds the time that hostile text takes.
const MAX_BYTES_PER_TOKEN: usize = 256;

/// What the intake tells the steps.
pub(crate) enum Command {
    /// Begin this request.
    Submit { id: RequestId, ends_by: Moment, job: Job },
    /// The caller left.
    Cancel { id: RequestId },
    /// The line ended; nothing follows.
    End,
}

/// A request in tokens.
pub(crate) enum Job {
    /// Of texts, or of pairs of them.
    Embed {
        tenancy: Tenancy,
        inputs: Vec<Vec<TokenId>>,
    },
    Generate(Box<Generate>),
}

/// A generation in tokens.
pub(crate) struct Generate {
    pub(crate) tenancy: Tenancy,
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) sampling: Sampling,
    pub(crate) stop: StopRules,
    pub(crate) choices: u16,
    pub(crate) logprobs: Option<u8>,
    pub(crate) form: Option<Form>,
    /// Tells calls from text, where tools may be called.
    pub(crate) calls: Option<CallStream>,
}

/// A form that is compiled, and the leave to keep it.
pub(crate) struct Form {
    pub(crate) constraint: Box<dyn Constraint>,
    pub(crate) permit: FormPermit,
}

/// What became of a request here.
enum Prepared {
    /// The steps have it next.
    Job(Job),
    /// It has ended: it asks for nothing that the model computes, or for what cannot be.
    Answer(Event),
}

pub(crate) struct Intake {
    pub(crate) desk: Desk,
    pub(crate) forms: Arc<FormBudget>,
    pub(crate) language: Arc<dyn Language>,
    pub(crate) clock: Clock,
    pub(crate) kind: ModelKind,
    pub(crate) context: usize,
    /// How many token ids there are.
    pub(crate) vocabulary: usize,
    pub(crate) commands: SyncSender<Command>,
    pub(crate) events: SyncSender<Option<Event>>,
}

impl Intake {
    /// Reads until the line ends or breaks, or nobody takes commands any more.
    pub(crate) fn read(&self, mut line: LineReader<Work>) {
        let _guard = AbortOnPanic;
        // Descriptors have no place on this line; those that come are closed here.
        while let Ok((work, _)) = line.receive() {
            let taken = match work {
                Work::Cancel { id } => match self.desk.cancel(id) {
                    Cancelled::Here => true,
                    Cancelled::Elsewhere => self.commands.send(Command::Cancel { id }).is_ok(),
                },
                Work::Submit { id, within_ms, kind } => {
                    let arrived = Arrived { id, ends_by: self.clock.after(within_ms), kind: *kind };
                    self.desk.put(arrived) || self.fail(id, RequestError::Overloaded)
                }
            };
            if !taken {
                break;
            }
        }
        // Whatever ended it: nobody is written to any more, who may not read.
        line.shut_down();
        self.desk.end();
        // Steps that ended by themselves do not listen any more.
        let _ = self.commands.send(Command::End);
    }

    /// Works on what was read, until nothing follows.
    pub(crate) fn work(&self) {
        let _guard = AbortOnPanic;
        while let Some(Arrived { id, ends_by, kind }) = self.desk.take() {
            let prepared = if ends_by <= self.clock.now() {
                Prepared::Answer(Event::Failed { id, error: RequestError::Late })
            } else {
                self.prepare(id, kind)
            };
            let taken = self.desk.hand_on(|| match prepared {
                Prepared::Job(job) => self.commands.send(Command::Submit { id, ends_by, job }).is_ok(),
                Prepared::Answer(event) => self.events.send(Some(event)).is_ok(),
            });
            if taken == Some(false) {
                return;
            }
        }
    }

    fn fail(&self, id: RequestId, error: RequestError) -> bool {
        self.events.send(Some(Event::Failed { id, error })).is_ok()
    }

    fn prepare(&self, id: RequestId, work: WorkKind) -> Prepared {
        let prepared = match work {
            WorkKind::Tokenize { prompt, specials, spell, .. } => {
                self.tokenize(id, prompt, (specials, spell)).map(Prepared::Answer)
            }
            WorkKind::Detokenize { tokens, .. } => self.detokenize(id, &tokens).map(Prepared::Answer),
            work => self.job(work).map(Prepared::Job),
        };
        prepared.unwrap_or_else(|error| Prepared::Answer(Event::Failed { id, error }))
    }

    fn job(&self, work: WorkKind) -> Result<Job, RequestError> {
        match (work, self.kind) {
            (WorkKind::Embed { tenancy, inputs }, ModelKind::Embedding) => {
                let inputs = inputs.into_iter().map(|input| self.tokens(input));
                Ok(Job::Embed { tenancy, inputs: inputs.collect::<Result<_, _>>()? })
            }
            (
                WorkKind::Generate { tenancy, prompt, sampling, stop, choices, logprobs, structure },
                ModelKind::Chat,
            ) => {
                if choices > MAX_CHOICES || logprobs.is_some_and(|count| count > MAX_LOGPROBS) {
                    return Err(RequestError::Rejected(RejectReason::TooMany));
                }
                let calls = self.calls(&prompt)?;
                let prompt = self.tokens(prompt)?;
                let (calls, bound) = calls.map(|calls| (calls.stream, calls.constraint)).unzip();
                let constraint = match (structure, bound.flatten()) {
                    (Some(_), Some(_)) => return Err(structure_fault(StructureFault::Malformed)),
                    (Some(structure), None) => {
                        Some(self.language.constraint(&structure).map_err(structure_fault)?)
                    }
                    (None, bound) => bound,
                };
                let form = constraint.map(|constraint| self.form(constraint, tenancy, choices));
                let form = form.transpose()?;
                let generate = Generate { tenancy, prompt, sampling, stop, choices, logprobs, form, calls };
                Ok(Job::Generate(Box::new(generate)))
            }
            (WorkKind::Rerank { tenancy, query, documents }, ModelKind::Rerank) => {
                Ok(Job::Embed { tenancy, inputs: self.pairs(&query, &documents)? })
            }
            _ => Err(RequestError::Rejected(RejectReason::WrongKind)),
        }
    }

    /// A compiled form, with the leave to keep it for so many choices.
    fn form(
        &self,
        constraint: Box<dyn Constraint>,
        tenancy: Tenancy,
        choices: u16,
    ) -> Result<Form, RequestError> {
        let bytes = constraint.bytes(choices.max(1).into());
        let permit = self.forms.take(tenancy, bytes).ok_or(RequestError::Overloaded)?;
        Ok(Form { constraint, permit })
    }

    /// The query stands in each pair, so one that fits no pair is refused before it is copied into all of them.
    fn pairs(&self, query: &str, documents: &[String]) -> Result<Vec<Vec<TokenId>>, RequestError> {
        for text in documents.iter().map(String::as_str).chain([query]) {
            self.check_length(text.len())?;
        }
        let tokens = self.language.encode(query).map_err(refusal)?.len();
        if tokens > self.context {
            let wide = |count| u64::try_from(count).unwrap_or(u64::MAX);
            let (tokens, limit) = (wide(tokens), wide(self.context));
            return Err(RequestError::Rejected(RejectReason::ContextLength { tokens, limit }));
        }
        self.language.encode_pairs(query, documents).map_err(refusal)
    }

    /// How the answer is read, where the prompt offers tools.
    fn calls(&self, prompt: &Prompt) -> Result<Option<Calls>, RequestError> {
        match prompt {
            Prompt::Chat(conversation) if !conversation.tools.is_empty() => {
                self.check_length(conversation.len())?;
                let calls = self.language.calls(conversation);
                calls.map(Some).map_err(|fault| RequestError::Rejected(RejectReason::Tools(fault)))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn tokens(&self, prompt: Prompt) -> Result<Vec<TokenId>, RequestError> {
        let encoded = match prompt {
            Prompt::Tokens(tokens) => return Ok(tokens),
            Prompt::Text(text) => {
                self.check_length(text.len())?;
                self.language.encode(&text)
            }
            Prompt::Chat(conversation) => {
                self.check_length(conversation.len())?;
                self.language.encode_chat(&conversation)
            }
        };
        encoded.map_err(refusal)
    }

    pub(crate) fn check_length(&self, bytes: usize) -> Result<(), RequestError> {
        if bytes <= self.context.saturating_mul(MAX_BYTES_PER_TOKEN) {
            return Ok(());
        }
        // At least this many tokens; how many exactly is not worth the time to find out.
        let tokens = u64::try_from(bytes / MAX_BYTES_PER_TOKEN + 1).unwrap_or(u64::MAX);
        let limit = u64::try_from(self.context).unwrap_or(u64::MAX);
        Err(RequestError::Rejected(RejectReason::ContextLength { tokens, limit }))
    }
}

pub(crate) fn refusal(error: LanguageError) -> RequestError {
    match error {
        LanguageError::Template => RequestError::Rejected(RejectReason::Template),
        LanguageError::Tokenizer => RequestError::Internal,
    }
}

fn structure_fault(fault: StructureFault) -> RequestError {
    RequestError::Rejected(RejectReason::Structure(fault))
}
