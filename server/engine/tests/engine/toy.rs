//! A model that is arithmetic: what it answers depends on a sequence's own tokens only. It watches the contract of
//! `Generator` and `Embedder` and panics when its caller breaks it.

use anchorhold_engine::{
    Answer, BackendError, BlockId, CacheDomain, Constraint, Embedder, GenerationLimits, GenerationRequest,
    Generator, Moment, Row, Sampler, Sampling, SequenceId, Tenancy, Terms, TokenId, TooComplex, Wanted,
};
use std::collections::HashMap;

/// When every step is, in tests that know no time.
pub(crate) const START: Moment = Moment(0);
pub(crate) const VOCABULARY: usize = 16;
pub(crate) const CONTEXT: usize = 24;
/// Positions of a block.
pub(crate) const BLOCK: usize = 4;
pub(crate) const DIMENSIONS: usize = 3;
pub(crate) const EOS: TokenId = 0;

/// SplitMix64: random choices of the tests themselves.
pub(crate) struct Choices(pub u64);

impl Choices {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn tokens(&mut self, count: usize) -> Vec<TokenId> {
        (0..count).map(|_| self.below(VOCABULARY) as TokenId).collect()
    }
}

fn digest(tokens: &[TokenId]) -> u64 {
    tokens.iter().fold(7, |hash, token| Choices(hash ^ u64::from(*token)).next())
}

/// The logits after these tokens.
pub(crate) fn logits(tokens: &[TokenId]) -> Vec<f32> {
    let mut choices = Choices(digest(tokens));
    (0..VOCABULARY).map(|_| choices.below(6_000) as f32 / 1_000.0 - 3.0).collect()
}

/// The vector of these tokens.
pub(crate) fn vector(tokens: &[TokenId]) -> Vec<f32> {
    let mut choices = Choices(digest(tokens));
    (0..DIMENSIONS).map(|_| choices.below(2_000) as f32 / 1_000.0 - 1.0).collect()
}

/// What a request of one choice answers when it is alone in the world.
pub(crate) fn alone(request: &GenerationRequest) -> Vec<TokenId> {
    alone_under(request, None)
}

/// What it answers under a rule.
pub(crate) fn alone_under(request: &GenerationRequest, mut rule: Option<Rule>) -> Vec<TokenId> {
    let mut tokens = request.prompt.clone();
    let mut sampler = Sampler::new(request.sampling.clone(), &request.prompt);
    let most = match request.max_tokens {
        0 => CONTEXT - tokens.len(),
        most => most as usize,
    };
    let ends_at_eos = !request.ignore_eos || rule.is_some();
    let ends = [&request.stop_tokens[..], if ends_at_eos { &[EOS] } else { &[] }].concat();
    for generated in 0..most {
        let terms = Terms {
            forbidden: if generated < request.min_tokens as usize { &[&ends] } else { &[] },
            constraint: rule.as_mut().map(|rule| rule as &mut dyn Constraint),
            logprobs: None,
        };
        let token = sampler.draw(logits(&tokens), terms).unwrap().token;
        tokens.push(token);
        if ends.contains(&token) {
            break;
        }
    }
    tokens.split_off(request.prompt.len())
}

/// Odd and even tokens in turn, [`EOS`] only after six, and nothing else after ten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    pub(crate) came: usize,
    /// Gives up after so many tokens.
    pub(crate) gives_up: Option<usize>,
}

impl Constraint for Rule {
    fn restrict(&mut self, logits: &mut [f32]) -> Result<(), TooComplex> {
        if self.gives_up == Some(self.came) {
            return Err(TooComplex);
        }
        for (token, logit) in logits.iter_mut().enumerate() {
            let ends = token == EOS as usize;
            let may = if ends { self.came >= 6 } else { self.came < 10 && token % 2 == self.came % 2 };
            if !may {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, _: TokenId) -> Result<(), TooComplex> {
        self.came += 1;
        Ok(())
    }

    fn bytes(&self, _: usize) -> usize {
        size_of::<Self>()
    }

    fn fork(&self) -> Box<dyn Constraint> {
        assert_eq!(self.came, 0, "forked before anything came");
        Box::new(self.clone())
    }
}

/// Sampling by probability under this seed.
pub(crate) fn sampling(seed: u64) -> Sampling {
    Sampling { seed, ..Sampling::default() }
}

/// The tenant of this number, with a share of 1.
pub(crate) fn tenancy(tenant: u8) -> Tenancy {
    Tenancy { domain: CacheDomain([tenant; 16]), share: 1 }
}

pub(crate) fn request(sequence: u64, prompt: &[TokenId], max_tokens: u32) -> GenerationRequest {
    GenerationRequest {
        sequence: SequenceId(sequence),
        choices: 1,
        tenancy: tenancy(1),
        prompt: prompt.to_vec(),
        sampling: sampling(sequence),
        max_tokens,
        min_tokens: 0,
        ignore_eos: true,
        ends_by: Moment::NEVER,
        stop_tokens: Vec::new(),
        logprobs: None,
    }
}

/// What each choice of a request answers when it is asked alone.
pub(crate) fn choices(request: &GenerationRequest) -> Vec<GenerationRequest> {
    let choice = |number: u32| GenerationRequest {
        sequence: SequenceId(request.sequence.0 + u64::from(number)),
        choices: 1,
        sampling: request.sampling.of_choice(number),
        ..request.clone()
    };
    (0..request.choices.max(1)).map(choice).collect()
}

#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) limits: Option<GenerationLimits>,
    /// Positions of one block; 0 counts as [`BLOCK`].
    pub(crate) size: usize,
    /// The most positions of all blocks; as many as asked for when `None`.
    pub(crate) room: Option<usize>,
    /// What was written to each block since it was erased.
    pub(crate) blocks: HashMap<BlockId, Vec<Option<TokenId>>>,
    /// Blocks in the order in which they were erased; a test that has looked clears it.
    pub(crate) erased: Vec<BlockId>,
    /// Start and tokens of each row of each step.
    pub(crate) steps: Vec<Vec<(usize, usize)>>,
    /// The step that breaks, counted from 0.
    pub(crate) breaks_at: Option<usize>,
    /// Answers one row too few.
    pub(crate) loses_a_row: bool,
    /// The logit that every row gets in place of its first.
    pub(crate) poison: Option<f32>,
    /// Draws where it may, in place of answering with logits.
    pub(crate) draws: bool,
    /// How many tokens it drew.
    pub(crate) drawn: usize,
    /// The token that it answers to every row, asked or not.
    pub(crate) insists: Option<TokenId>,
}

impl Toy {
    /// Everything that a row's sequence has, read back from its blocks.
    fn read(&self, row: &Row<'_>) -> Vec<TokenId> {
        let positions = row.blocks.iter().flat_map(|block| &self.blocks[block]);
        let tokens = positions.take(row.start + row.tokens.len());
        tokens.map(|token| token.expect("a position that was never written")).collect()
    }

    fn write(&mut self, row: &Row<'_>) {
        let size = self.block();
        let end = row.start + row.tokens.len();
        assert!(end <= CONTEXT, "a sequence over the context");
        assert_eq!(row.blocks.len(), end.div_ceil(size), "not as many blocks as its positions take");
        for (at, token) in (row.start..end).zip(row.tokens) {
            let block = self.blocks.entry(row.blocks[at / size]).or_insert_with(|| vec![None; size]);
            assert_eq!(block[at % size].replace(*token), None, "written twice");
        }
    }
}

impl Generator for Toy {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn block(&self) -> usize {
        if self.size == 0 { BLOCK } else { self.size }
    }

    fn capacity(&self) -> usize {
        self.room.unwrap_or(usize::MAX)
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        for row in rows {
            assert!(!row.tokens.is_empty(), "an empty row");
            self.write(row);
        }
        if let Some(limits) = self.limits {
            let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
            assert!(tokens <= limits.step_tokens, "{tokens} tokens in a step");
            assert!(rows.len() <= limits.running, "{} rows", rows.len());
            let most = limits.cache_tokens.max(CONTEXT).div_ceil(self.block());
            assert!(self.blocks.keys().all(|block| block.index() < most), "more blocks than there are");
        }
        self.steps.push(rows.iter().map(|row| (row.start, row.tokens.len())).collect());
        if self.breaks_at == Some(self.steps.len() - 1) {
            return Err(BackendError::new("broken on purpose"));
        }
        let mut answers: Vec<_> = rows.iter().map(|row| logits(&self.read(row))).collect();
        if self.loses_a_row {
            answers.pop();
        }
        if let Some(poison) = self.poison {
            answers.iter_mut().for_each(|answer| answer[0] = poison);
        }
        Ok(answers)
    }

    fn step_and_draw(&mut self, rows: &[Row<'_>], wanted: &[Wanted]) -> Result<Vec<Answer>, BackendError> {
        assert_eq!(rows.len(), wanted.len());
        let logits = self.step(rows)?;
        let answer = |(logits, wanted): (Vec<f32>, &Wanted)| match (self.insists, wanted) {
            (Some(token), _) => Answer::Token(Ok(token)),
            (None, Wanted::Nothing) if self.draws => Answer::Nothing,
            (None, Wanted::Token(draw)) if self.draws => {
                self.drawn += 1;
                Answer::Token(draw.token(&logits))
            }
            _ => Answer::Logits(logits),
        };
        Ok(logits.into_iter().zip(wanted).map(answer).collect())
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            // Nothing may have been written: a sequence can be put back before its step.
            self.blocks.remove(block);
            self.erased.push(*block);
        }
    }
}

#[derive(Default)]
pub(crate) struct ToyEmbedder {
    pub(crate) batch_tokens: usize,
    pub(crate) batch_inputs: usize,
    pub(crate) batches: Vec<usize>,
    pub(crate) breaks_at: Option<usize>,
    pub(crate) poison: Option<f32>,
}

impl Embedder for ToyEmbedder {
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        assert!(!inputs.is_empty() && inputs.len() <= self.batch_inputs, "{} inputs", inputs.len());
        let tokens: usize = inputs.iter().map(|input| input.len()).sum();
        assert!(tokens <= self.batch_tokens.max(CONTEXT), "{tokens} tokens in a batch");
        self.batches.push(inputs.len());
        if self.breaks_at == Some(self.batches.len() - 1) {
            return Err(BackendError::new("broken on purpose"));
        }
        let mut vectors: Vec<_> = inputs.iter().map(|input| vector(input)).collect();
        if let Some(poison) = self.poison {
            vectors[0][0] = poison;
        }
        Ok(vectors)
    }
}
