//! A language of bytes, a generator that recites, and an embedder that counts.

use anchorhold_engine::{
    BackendError, BlockId, Constraint, Conversation, Embedder, Generator, Row, Structure, TokenId, TooComplex,
};
use anchorhold_ipc::{StructureFault, ToolFault};
use anchorhold_model::{CallStream, CallSyntax};
use anchorhold_worker::{Calls, Compute, Decoder, Language, LanguageError, Model};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Positions of a block.
pub(crate) const BLOCK: usize = 16;

/// The token after the bytes.
pub(crate) const EOS: TokenId = 256;
pub(crate) const VOCABULARY: usize = 257;
/// What the generator recites: after `n` tokens comes byte `n` of this, round and round.
pub(crate) const SCRIPT: &str = "a naïve 🦀 says STOP and goes on. ";

/// What the model did, seen from outside.
#[derive(Default)]
pub(crate) struct Watch {
    /// Blocks that hold something.
    pub(crate) open: Mutex<HashSet<BlockId>>,
    pub(crate) encoded: AtomicUsize,
    pub(crate) dropped: AtomicBool,
    /// The next step fails.
    pub(crate) breaks: AtomicBool,
    /// Nothing is computed after the next step, which fails.
    pub(crate) ends: AtomicBool,
    /// Whoever holds it keeps the model from the end of a step.
    pub(crate) gate: Mutex<()>,
    /// The next step panics, and quotes what it works on.
    pub(crate) panics: AtomicBool,
}

/// The text that is recited after a prompt of `tokens_in` tokens, as bytes.
pub(crate) fn recital(tokens_in: usize, tokens_out: usize) -> Vec<u8> {
    SCRIPT.bytes().cycle().skip(tokens_in % SCRIPT.len()).take(tokens_out).collect()
}

struct Bytes(Arc<Watch>);

impl Language for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, LanguageError> {
        self.0.encoded.fetch_add(1, Ordering::SeqCst);
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn encode_bare(&self, text: &str) -> Result<Vec<TokenId>, LanguageError> {
        self.encode(text.trim_matches('|'))
    }

    fn encode_pairs(&self, first: &str, seconds: &[String]) -> Result<Vec<Vec<TokenId>>, LanguageError> {
        seconds.iter().map(|second| self.encode(&format!("{first}|{second}"))).collect()
    }

    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<TokenId>, LanguageError> {
        let lines = conversation.messages.iter().map(|message| match message.role.as_str() {
            "user" | "assistant" => Ok(format!("{}: {}\n", message.role, message.content)),
            _ => Err(LanguageError::Template),
        });
        self.encode(&lines.collect::<Result<String, _>>()?)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Characters(Vec::new()))
    }

    fn spell(&self, token: TokenId) -> Vec<u8> {
        u8::try_from(token).map_or(b"<eos>".to_vec(), |byte| vec![byte])
    }

    fn constraint(&self, structure: &Structure) -> Result<Box<dyn Constraint>, StructureFault> {
        match structure {
            Structure::Choice(texts) => Ok(Box::new(OneOf { texts: texts.clone(), said: Vec::new() })),
            Structure::JsonObject => Ok(Box::new(OneOf { texts: Vec::new(), said: Vec::new() })),
            Structure::Regex(_) => Err(StructureFault::Malformed),
            Structure::JsonSchema(_) => Err(StructureFault::Unsatisfiable),
        }
    }

    /// One tool is bound to what its description is.
    fn calls(&self, conversation: &Conversation) -> Result<Calls, ToolFault> {
        let names: Vec<String> = conversation.tools.iter().map(|tool| tool.name.clone()).collect();
        if names.iter().any(|name| name == "none") {
            return Err(ToolFault::NotOffered);
        }
        let bound = conversation.tools.iter().find(|tool| tool.strict).map(|tool| {
            let texts = vec![tool.json.clone()];
            Box::new(OneOf { texts, said: Vec::new() }) as Box<dyn Constraint>
        });
        let stream = CallStream::new(CallSyntax::Hermes, names, conversation.calling.once);
        Ok(Calls { stream, constraint: bound })
    }
}

/// One of some texts, byte by byte; of none, it gives up.
#[derive(Debug, Clone)]
struct OneOf {
    texts: Vec<String>,
    said: Vec<u8>,
}

impl Constraint for OneOf {
    fn restrict(&mut self, logits: &mut [f32]) -> Result<(), TooComplex> {
        let begun = self.texts.iter().filter_map(|text| text.as_bytes().strip_prefix(&self.said[..]));
        let next: Vec<usize> =
            begun.map(|rest| rest.first().map_or(EOS as usize, |byte| (*byte).into())).collect();
        for (token, logit) in logits.iter_mut().enumerate() {
            if !next.contains(&token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if next.is_empty() { Err(TooComplex) } else { Ok(()) }
    }

    fn accept(&mut self, token: TokenId) -> Result<(), TooComplex> {
        self.said.extend(u8::try_from(token));
        Ok(())
    }

    fn bytes(&self, forks: usize) -> usize {
        self.texts.iter().map(String::len).sum::<usize>() * forks
    }

    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

/// Bytes that are not yet a character.
struct Characters(Vec<u8>);

impl Decoder for Characters {
    fn push(&mut self, token: TokenId) -> String {
        self.0.extend(u8::try_from(token));
        match String::from_utf8(std::mem::take(&mut self.0)) {
            Ok(text) => text,
            Err(error) => {
                self.0 = error.into_bytes();
                String::new()
            }
        }
    }

    fn finish(self: Box<Self>) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

struct Reciter {
    watch: Arc<Watch>,
    context: usize,
    eos_after: Option<usize>,
}

impl Generator for Reciter {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn context(&self) -> usize {
        self.context
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        let mut answers = Vec::new();
        for row in rows {
            self.watch.open.lock().unwrap().extend(row.blocks);
            let length = row.start + row.tokens.len();
            let mut logits = vec![0.0; VOCABULARY];
            let next = match self.eos_after {
                Some(after) if length >= after => EOS as usize,
                _ => usize::from(SCRIPT.as_bytes()[length % SCRIPT.len()]),
            };
            logits[next] = 1.0;
            answers.push(logits);
        }
        assert!(!self.watch.panics.load(Ordering::SeqCst), "the prompt is {SCRIPT}");
        if self.watch.ends.load(Ordering::SeqCst) {
            return Err(BackendError::last("ended on purpose"));
        }
        match self.watch.breaks.swap(false, Ordering::SeqCst) {
            true => Err(BackendError::new("broken on purpose")),
            false => Ok(answers),
        }
    }

    fn block(&self) -> usize {
        BLOCK
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        let mut open = self.watch.open.lock().unwrap();
        blocks.iter().for_each(|block| {
            open.remove(block);
        });
    }
}

impl Drop for Reciter {
    fn drop(&mut self) {
        self.watch.dropped.store(true, Ordering::SeqCst);
    }
}

/// Answers with the count and the sum of an input's tokens, filled up to `dimensions`.
struct Counter {
    watch: Arc<Watch>,
    context: usize,
    dimensions: usize,
}

/// The vector of an input.
pub(crate) fn count(input: &[TokenId], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    vector[0] = u16::try_from(input.len()).unwrap().into();
    vector[1] = u16::try_from(input.iter().sum::<TokenId>()).unwrap().into();
    vector
}

impl Embedder for Counter {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn context(&self) -> usize {
        self.context
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        drop(self.watch.gate.lock().unwrap());
        match self.watch.breaks.swap(false, Ordering::SeqCst) {
            true => Err(BackendError::new("broken on purpose")),
            false => Ok(inputs.iter().map(|input| count(input, self.dimensions)).collect()),
        }
    }
}

/// A model that recites, and what it does.
pub(crate) fn reciter(context: usize, eos_after: Option<usize>) -> (Model, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    let generator = Reciter { watch: Arc::clone(&watch), context, eos_after };
    let compute = Compute::Generator { generator: Box::new(generator), eos: vec![EOS] };
    (Model { language: Arc::new(Bytes(Arc::clone(&watch))), compute }, watch)
}

/// A model that counts, and what it does.
pub(crate) fn counter(context: usize, dimensions: usize) -> (Model, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    let embedder = Counter { watch: Arc::clone(&watch), context, dimensions };
    let compute = Compute::Embedder { embedder: Box::new(embedder), vocabulary: VOCABULARY };
    (Model { language: Arc::new(Bytes(Arc::clone(&watch))), compute }, watch)
}

/// A model that scores a pair by the sum of its tokens, and what it does.
pub(crate) fn scorer(context: usize) -> (Model, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    let scorer = Box::new(Summer { watch: Arc::clone(&watch), context });
    let compute = Compute::Scorer { scorer, vocabulary: VOCABULARY };
    (Model { language: Arc::new(Bytes(Arc::clone(&watch))), compute }, watch)
}

struct Summer {
    watch: Arc<Watch>,
    context: usize,
}

/// The score of an input.
pub(crate) fn sum(input: &[TokenId]) -> f32 {
    u16::try_from(input.iter().sum::<TokenId>()).unwrap().into()
}

impl Embedder for Summer {
    fn dimensions(&self) -> usize {
        1
    }

    fn context(&self) -> usize {
        self.context
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        match self.watch.breaks.swap(false, Ordering::SeqCst) {
            true => Err(BackendError::new("broken on purpose")),
            false => Ok(inputs.iter().map(|input| vec![sum(input)]).collect()),
        }
    }
}
