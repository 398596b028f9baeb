//! What the gateway asks of a worker, and what it hears of it. What is not here cannot be said.

use anchorhold_engine::{
    FinishReason, Load, Prompt, RequestId, Sampling, StopRules, Structure, Tenancy, TokenField, TokenId,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// From the gateway to a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Begin this request.
    Submit {
        /// Names it in every [`Event`] about it.
        id: RequestId,
        /// How long it may take, from when it comes until it ends, in milliseconds.
        within_ms: u32,
        /// What to do.
        kind: Box<WorkKind>,
    },
    /// The caller left: stop within one step and free what the request holds. No event follows.
    Cancel {
        /// The request.
        id: RequestId,
    },
}

/// What a request asks of a model.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum WorkKind {
    /// One vector for each input, in order.
    Embed {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The inputs.
        inputs: Vec<Prompt>,
    },
    /// Text after a prompt.
    Generate {
        /// For whom: the gateway says, from the caller's key.
        tenancy: Tenancy,
        /// What comes before.
        prompt: Prompt,
        /// How tokens are drawn.
        sampling: Sampling,
        /// When to end. A `max_tokens` of 0 means what is left of the context.
        stop: StopRules,
        /// How many texts, 1 to [`MAX_CHOICES`](crate::MAX_CHOICES). Each is sampled by [`Sampling::of_choice`].
        choices: u16,
        /// How many of the likeliest tokens are told at each place, up to [`MAX_LOGPROBS`](crate::MAX_LOGPROBS); `None` tells of no
        /// token.
        logprobs: Option<u8>,
        /// The form that each text must have.
        structure: Option<Box<Structure>>,
    },
    /// How well each document answers a query, in order.
    Rerank {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// What is looked for.
        query: String,
        /// What is scored.
        documents: Vec<String>,
    },
    /// Which tokens a prompt is. The model computes nothing for it.
    Tokenize {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The prompt.
        prompt: Prompt,
        /// Whether the tokens that the model wants around a text are among them.
        specials: Specials,
        /// Whether the bytes of each token are told too.
        spell: bool,
    },
    /// Which text tokens are. The model computes nothing for it.
    Detokenize {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The tokens.
        tokens: Vec<TokenId>,
    },
}

/// What becomes of the tokens that a model wants around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Specials {
    /// They are there, as in a prompt.
    Added,
    /// They are not.
    Omitted,
}

impl fmt::Debug for WorkKind {
    /// Without any text of the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed { tenancy, inputs } => {
                f.debug_struct("Embed").field("tenancy", tenancy).field("inputs", inputs).finish()
            }
            Self::Generate { tenancy, prompt, sampling, stop, choices, logprobs, structure } => f
                .debug_struct("Generate")
                .field("tenancy", tenancy)
                .field("prompt", prompt)
                .field("sampling", sampling)
                .field("stop", stop)
                .field("choices", choices)
                .field("logprobs", logprobs)
                .field("structure", structure)
                .finish(),
            Self::Rerank { tenancy, query, documents } => {
                write!(f, "Rerank({tenancy:?}, {} bytes, {} documents)", query.len(), documents.len())
            }
            Self::Tokenize { tenancy, prompt, specials, spell } => {
                write!(f, "Tokenize({tenancy:?}, {prompt:?}, {specials:?}, {spell})")
            }
            Self::Detokenize { tenancy, tokens } => write!(f, "Detokenize({tenancy:?}, {})", tokens.len()),
        }
    }
}

/// From a worker to the gateway.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Answer to an embedding request; ends it.
    Embedded {
        /// The request.
        id: RequestId,
        /// One vector for each input, in order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs.
        tokens_in: u64,
    },
    /// More text of a choice: whole characters only, nothing that may still become a stop text.
    Delta {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// The text; empty only where `told` is not.
        text: String,
        /// Tokens of the text that has left so far, each told once, where that was asked.
        told: Vec<ToldToken>,
    },
    /// A part of a call that a choice makes.
    Call {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// The part.
        part: CallPart,
    },
    /// A choice ended. The last of them ends the request.
    Finished {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// Why.
        reason: FinishReason,
        /// Tokens of the prompt, which all choices share.
        tokens_in: u64,
        /// How many of those were not computed: for the first choice, because the tenant had asked something that begins alike; for the
        /// others, because the first had computed them too.
        tokens_found: u64,
        /// Tokens that were generated.
        tokens_out: u64,
    },
    /// Answer to a rerank request; ends it.
    Ranked {
        /// The request.
        id: RequestId,
        /// One score for each document, in order.
        scores: Vec<f32>,
        /// Tokens of all pairs of the query and a document.
        tokens_in: u64,
    },
    /// What the model has to do and holds: once in a second at most, and only when it has changed.
    Load(Load),
    /// Answer to a question for tokens; ends it.
    Tokenized {
        /// The request.
        id: RequestId,
        /// The tokens, in order.
        tokens: Vec<TokenId>,
        /// The bytes of each, where that was asked.
        spelled: Option<Vec<Vec<u8>>>,
    },
    /// Answer to a question for a text; ends it.
    Detokenized {
        /// The request.
        id: RequestId,
        /// The text. Tokens that are no text, such as those that end one, have no part in it.
        text: String,
    },
    /// The request was refused or broke; ends it.
    Failed {
        /// The request.
        id: RequestId,
        /// Why.
        error: RequestError,
    },
}

impl fmt::Debug for Event {
    /// Without any text, and without the numbers that were computed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { id, vectors, tokens_in } => {
                write!(f, "Embedded({id:?}, {} vectors, {tokens_in} in)", vectors.len())
            }
            Self::Delta { id, choice, text, told } => {
                write!(f, "Delta({id:?}, {choice}, {} bytes, {} told)", text.len(), told.len())
            }
            Self::Call { id, choice, part } => write!(f, "Call({id:?}, {choice}, {part:?})"),
            Self::Finished { id, choice, reason, tokens_in, tokens_found, tokens_out } => write!(
                f,
                "Finished({id:?}, {choice}, {reason:?}, {tokens_in} in, {tokens_found} found, {tokens_out} out)"
            ),
            Self::Ranked { id, scores, tokens_in } => {
                write!(f, "Ranked({id:?}, {} scores, {tokens_in} in)", scores.len())
            }
            Self::Load(load) => load.fmt(f),
            Self::Tokenized { id, tokens, .. } => write!(f, "Tokenized({id:?}, {})", tokens.len()),
            Self::Detokenized { id, text } => write!(f, "Detokenized({id:?}, {} bytes)", text.len()),
            Self::Failed { id, error } => write!(f, "Failed({id:?}, {error:?})"),
        }
    }
}

/// A part of a call of a tool, as it comes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallPart {
    /// A call of the tool of this name, one of those offered, begins.
    Begin(String),
    /// More of the arguments of the call that began last. All of them together are a JSON object, unless the choice ended within.
    Arguments(String),
}

impl fmt::Debug for CallPart {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(_) => f.write_str("Begin"),
            Self::Arguments(text) => write!(f, "Arguments({} bytes)", text.len()),
        }
    }
}

/// A token of an answer, and what the model thought of it and of others in its place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ToldToken {
    /// The token.
    pub token: SpelledToken,
    /// The likeliest in its place, likeliest first.
    pub top: Vec<SpelledToken>,
}

/// A token's text and the natural logarithm of its probability, by the model's own logits.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SpelledToken {
    /// Its bytes, which need not be whole characters.
    pub bytes: Vec<u8>,
    /// At most 0.
    pub logprob: f32,
}

impl fmt::Debug for ToldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToldToken({:?}, {:?})", self.token, self.top)
    }
}

impl fmt::Debug for SpelledToken {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpelledToken({} bytes, {})", self.bytes.len(), self.logprob)
    }
}

/// Why a worker did not answer a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestError {
    /// What was asked can never be answered by this model.
    Rejected(RejectReason),
    /// Too much waits already; try again later.
    Overloaded,
    /// Its time was over before its end.
    Late,
    /// The model failed; the request may be tried again.
    Internal,
}

/// Why a request can never be answered by this model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// Prompt, or prompt and requested output, are longer than the model's context.
    ContextLength {
        /// Tokens that were asked for.
        tokens: u64,
        /// Tokens that fit.
        limit: u64,
    },
    /// A token id outside the vocabulary.
    UnknownToken(TokenField),
    /// The prompt has no tokens.
    EmptyPrompt,
    /// The model is of another kind.
    WrongKind,
    /// The model's chat template refused the conversation, or the model has none.
    Template,
    /// More choices, or more tokens to be told of, than one request may have.
    TooMany,
    /// The answer to so many inputs does not fit one message.
    TooManyInputs {
        /// How many of them fit.
        limit: u64,
    },
    /// The answer does not fit one message.
    AnswerTooLong {
        /// How many bytes fit.
        limit: u64,
    },
    /// The form that the answer must have.
    Structure(StructureFault),
    /// The tools that may be called.
    Tools(ToolFault),
}

/// What is wrong with the tools that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolFault {
    /// The model's chat template shows it no tools, or it writes calls in a way that is not known here.
    NotOffered,
    /// The form of their arguments.
    Structure(StructureFault),
}

/// What is wrong with the form that an answer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StructureFault {
    /// Not a schema, a regular expression or a list of texts, or one with parts that are not offered.
    Malformed,
    /// No text has this form.
    Unsatisfiable,
    /// It takes more work than a request may ask for.
    TooComplex,
    /// The model's tokenizer does not tell which text a token is.
    NotOffered,
}
