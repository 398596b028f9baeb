//! Which sequences run in the next step: continuous batching with prompts read in chunks, over a cache of blocks.

use crate::admission::{all_known, field_of_unknown, wide};
use crate::cache::{BlockCache, CacheDomain, Lack, Released, Table};
use crate::fairness::{Turns, part, share};
use crate::{
    Answer, BackendError, BlockId, Constraint, DrawError, Drawn, FinishReason, Generator, Load, Logprobs,
    Moment, Row, Sampler, Sampling, SequenceId, SubmitError, Terms, TokenId, TooComplex, Wanted,
};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The limits of a [`GenerationScheduler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationLimits {
    /// The most tokens in one step, so that long prompts do not stall those who already read their answer.
    pub step_tokens: usize,
    /// The most sequences that run at once; at most `step_tokens`.
    pub running: usize,
    /// The positions of the cache, in whole blocks; at least one whole context, and no more than [`Generator::capacity`].
    pub cache_tokens: usize,
    /// Keep what was computed, so that a prompt of the same domain that begins alike is not computed again. Without it, everything
    /// about a sequence is erased when it ends.
    pub keep_prefixes: bool,
    /// The sequences that may wait, shared out: a domain may have its share of them beside the domains that have something to do and
    /// one more of share 1, so a domain alone has half with a share of 1. One request is taken when nothing of its domain waits.
    pub waiting: usize,
    /// The prompt tokens that may wait, shared out likewise; at least one whole context.
    pub waiting_tokens: usize,
}

impl Default for GenerationLimits {
    fn default() -> Self {
        Self {
            step_tokens: 256,
            running: 32,
            cache_tokens: 65_536,
            keep_prefixes: true,
            waiting: 512,
            waiting_tokens: 262_144,
        }
    }
}

/// For whom a sequence is generated. The server says, from who the caller is; nothing of a request's body decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tenancy {
    /// With whose sequences it may share what was computed.
    pub domain: CacheDomain,
    /// The domain's share of the work when others want it too; 0 counts as 1.
    pub share: u32,
}

/// What a scheduler has done, in numbers that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Positions that were found in the cache.
    pub found: u64,
    /// Positions that were computed.
    pub computed: u64,
    /// Sequences that were put back to make room for older ones.
    pub put_back: u64,
    /// Positions of prompts that were looked for when their sequence first ran.
    pub sought: u64,
    /// Those of them that were found then.
    pub met: u64,
}

/// One prompt, and how many sequences to generate after it.
#[derive(Clone, PartialEq)]
pub struct GenerationRequest {
    /// Names the first sequence in every [`StepOutput`]; each further choice has the next number. Unused by any live sequence.
    pub sequence: SequenceId,
    /// How many sequences; 0 counts as 1. They share the prompt's blocks, which are computed once, and are sampled each by
    /// [`Sampling::of_choice`].
    pub choices: u32,
    /// For whom.
    pub tenancy: Tenancy,
    /// What comes before.
    pub prompt: Vec<TokenId>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens to generate; 0 means what is left of the context.
    pub max_tokens: u32,
    /// Until so many are generated, no token comes that would end the sequence, unless the constraint leaves no other.
    pub min_tokens: u32,
    /// Go on past the model's end-of-sequence token. Under a constraint that token ends the sequence all the same.
    pub ignore_eos: bool,
    /// When to give up, if it has not ended before.
    pub ends_by: Moment,
    /// Tokens that end a sequence besides the model's own.
    pub stop_tokens: Vec<TokenId>,
    /// How many of the likeliest tokens are told at each place, besides the probability of the drawn one; `None` tells nothing.
    pub logprobs: Option<u8>,
}

impl fmt::Debug for GenerationRequest {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationRequest")
            .field("sequence", &self.sequence)
            .field("choices", &self.choices)
            .field("tenancy", &self.tenancy)
            .field("prompt", &self.prompt.len())
            .field("sampling", &self.sampling)
            .field("max_tokens", &self.max_tokens)
            .field("ends_by", &self.ends_by)
            .field("stop_tokens", &self.stop_tokens.len())
            .field("logprobs", &self.logprobs)
            .finish_non_exhaustive()
    }
}

/// What a step did to one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutput {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token that was drawn; the end-of-sequence token too. `None` when the sequence failed or is late.
    pub token: Option<TokenId>,
    /// What the model thought of the token, where the request asks for it.
    pub logprobs: Option<Logprobs>,
    /// Set once, in the sequence's last output.
    pub finish: Option<Finish>,
    /// How many tokens of its prompt were found in the cache when it first ran.
    pub found: usize,
}

/// How a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By the rules of the request.
    Done(FinishReason),
    /// The model failed.
    Failed(BackendError),
    /// Its time was over before its end; what was generated until then was given out.
    Late,
    /// Its constraint gave up.
    Unconstrained(TooComplex),
}

/// Decides what runs; owns the sequences from `submit` to their last output.
///
/// Whose turn it is to start, and whose prompt is read next, is decided by the work that each domain had, in proportion to its share;
/// within a domain, first come, first served. Each step carries one token of every sequence that generates, and with what is
/// left of the step's tokens goes on reading prompts.
///
/// A sequence starts when its tokens so far fit the free blocks; a domain whose running sequences hold more blocks than its share,
/// those that they share counted once, gives way then, if that makes room enough. When blocks run out later, the youngest sequence is put back and
/// computed again in its turn, from the tokens that it has: its answer is the same. The oldest is never put back and always gets on,
/// so everyone who waits is served at last. Of several choices after one prompt, the first starts alone; the others start when it has
/// read the prompt, and find the prompt's whole blocks.
///
/// Every sequence that was taken ends exactly once: in an output with `finish`, or in [`Self::cancel`]. Its blocks are free, or kept
/// for those of its domain that begin alike, at that moment.
#[derive(Debug)]
pub struct GenerationScheduler {
    limits: GenerationLimits,
    context: usize,
    vocabulary: usize,
    eos: Vec<TokenId>,
    cache: BlockCache,
    turns: Turns,
    /// In the order of their arrival.
    waiting: Vec<Sequence>,
    running: Vec<Sequence>,
    arrivals: u64,
    counters: Counters,
}

struct Sequence {
    id: SequenceId,
    tenancy: Tenancy,
    /// Its number among all that came.
    arrival: u64,
    /// The prompt and what was generated.
    tokens: Vec<TokenId>,
    /// Where its positions lie.
    table: Table,
    /// How many of `tokens` are computed.
    computed: usize,
    /// How many of the prompt's tokens were found when it first ran; `None` before.
    found: Option<usize>,
    /// How many of `tokens` are appended in the step under way.
    chunk: usize,
    /// The first choice after the same prompt, of every choice but that.
    first: Option<SequenceId>,
    generated: usize,
    max_tokens: usize,
    min_tokens: usize,
    /// Tokens that end it besides the model's own.
    stop_tokens: Arc<[TokenId]>,
    ignore_eos: bool,
    ends_by: Moment,
    sampler: Sampler,
    constraint: Option<Box<dyn Constraint>>,
    logprobs: Option<u8>,
    ended: bool,
}

impl fmt::Debug for Sequence {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence")
            .field("id", &self.id)
            .field("tenancy", &self.tenancy)
            .field("tokens", &self.tokens.len())
            .field("computed", &self.computed)
            .field("generated", &self.generated)
            .finish_non_exhaustive()
    }
}

impl GenerationScheduler {
    /// A scheduler for this generator, with nothing to do. Limits that cannot work are raised or lowered as their
    /// documentation says. `eos` are the tokens that end a sequence.
    #[must_use]
    pub fn new(limits: GenerationLimits, generator: &dyn Generator, eos: Vec<TokenId>) -> Self {
        let context = generator.context();
        let step_tokens = limits.step_tokens.max(1);
        let limits = GenerationLimits {
            step_tokens,
            running: limits.running.clamp(1, step_tokens),
            cache_tokens: limits.cache_tokens.min(generator.capacity()).max(context),
            waiting: limits.waiting.max(1),
            waiting_tokens: limits.waiting_tokens.max(context),
            ..limits
        };
        let size = generator.block().max(1);
        // Rounded up, so that one whole context fits.
        let blocks = u32::try_from(limits.cache_tokens.div_ceil(size)).unwrap_or(u32::MAX);
        Self {
            limits,
            context,
            vocabulary: generator.vocabulary(),
            eos,
            cache: BlockCache::new(blocks, size, limits.keep_prefixes),
            turns: Turns::default(),
            waiting: Vec::new(),
            running: Vec::new(),
            arrivals: 0,
            counters: Counters::default(),
        }
    }

    /// Takes a request; it runs in a later step, and each of its choices keeps to the constraint.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing of the request is kept.
    pub fn submit(
        &mut self,
        request: GenerationRequest,
        constraint: Option<Box<dyn Constraint>>,
    ) -> Result<(), SubmitError> {
        let choices = self.check(&request)?;
        let (prompt, most) = (request.prompt.len(), count(request.max_tokens));
        self.turns.arrive(request.tenancy.domain);
        let stop_tokens: Arc<[TokenId]> = request.stop_tokens.into();
        let first_arrival = self.arrivals + 1;
        for (choice, id) in choices {
            self.arrivals += 1;
            let sampling = request.sampling.of_choice(choice);
            self.waiting.push(Sequence {
                id,
                tenancy: request.tenancy,
                arrival: self.arrivals,
                table: match request.choices {
                    0 | 1 => Table::new(request.tenancy),
                    _ => self.cache.table_of_choices(request.tenancy, first_arrival),
                },
                computed: 0,
                found: None,
                chunk: 0,
                first: (choice > 0).then_some(request.sequence),
                generated: 0,
                max_tokens: if most == 0 { self.context - prompt } else { most },
                min_tokens: count(request.min_tokens),
                stop_tokens: Arc::clone(&stop_tokens),
                ignore_eos: request.ignore_eos,
                ends_by: request.ends_by,
                sampler: Sampler::new(sampling, &request.prompt),
                constraint: constraint.as_ref().map(|constraint| constraint.fork()),
                logprobs: request.logprobs,
                ended: false,
                tokens: request.prompt.clone(),
            });
        }
        Ok(())
    }

    /// The choices of a request that may be taken, by number and id.
    fn check(
        &self,
        request: &GenerationRequest,
    ) -> Result<impl Iterator<Item = (u32, SequenceId)> + use<>, SubmitError> {
        let prompt = request.prompt.len();
        if prompt == 0 {
            return Err(SubmitError::Empty);
        }
        let whole = prompt.saturating_add(count(request.max_tokens).max(1));
        if whole > self.context {
            return Err(SubmitError::TooLong { tokens: wide(whole), limit: wide(self.context) });
        }
        if let Some(field) = field_of_unknown(request, self.vocabulary) {
            return Err(SubmitError::UnknownToken(field));
        }
        let choices = request.choices.max(1);
        let ids = request.sequence.0..request.sequence.0.saturating_add(choices.into());
        if self.live().any(|sequence| ids.contains(&sequence.id.0)) {
            return Err(SubmitError::InUse);
        }
        if !self.may_wait(request.tenancy, count(choices), prompt) {
            return Err(SubmitError::Overloaded);
        }
        Ok((0..choices).zip(ids.map(SequenceId)))
    }

    /// Whether a domain's part of what waits holds so many sequences more, after one prompt of so many tokens.
    fn may_wait(&self, tenancy: Tenancy, choices: usize, prompt: usize) -> bool {
        let own = || self.waiting.iter().filter(|sequence| sequence.tenancy.domain == tenancy.domain);
        let sequences = own().count();
        // A prompt is read once, however many choices wait for it.
        let read = own().filter(|sequence| sequence.first.is_none());
        let tokens: usize = read.map(|sequence| sequence.tokens.len()).sum();
        let part = |limit| part(limit, tenancy, self.live().map(|sequence| sequence.tenancy));
        sequences == 0
            || (sequences.saturating_add(choices) <= part(self.limits.waiting)
                && tokens + prompt <= part(self.limits.waiting_tokens))
    }

    /// Forgets a sequence and frees its blocks at once. False when it is not alive, which is no error: it may have
    /// ended in the last step. No output about it follows.
    pub fn cancel(&mut self, sequence: SequenceId, generator: &mut dyn Generator) -> bool {
        let before = self.live().count();
        self.waiting.retain(|waiting| waiting.id != sequence);
        for running in self.running.iter_mut().filter(|running| running.id == sequence) {
            running.ended = true;
        }
        self.release_ended(generator);
        self.live().count() < before
    }

    /// Runs one step: ends who is late at `now`, starts who may start, runs the generator once, draws tokens, and frees who ended.
    ///
    /// An error of the generator ends the sequences of that step and no other.
    pub fn step(&mut self, now: Moment, generator: &mut dyn Generator) -> Vec<StepOutput> {
        let mut outputs = self.end_late(now, generator);
        self.start_waiting(generator);
        self.plan(generator);
        let asked = self.running.iter().filter_map(|one| Some((one.row()?, one.wanted())));
        let (rows, wanted): (Vec<Row<'_>>, Vec<Wanted>) = asked.unzip();
        if rows.is_empty() {
            return outputs;
        }
        let answers =
            generator.step_and_draw(&rows, &wanted).and_then(|answers| match answers.len() == wanted.len() {
                true => Ok(answers),
                false => Err(BackendError::new("wrong number of rows")),
            });
        let stepped = self.running.iter_mut().filter(|sequence| sequence.chunk > 0);
        match answers {
            Ok(answers) => {
                for (sequence, answer) in stepped.zip(answers) {
                    self.counters.computed += wide(sequence.chunk);
                    sequence.computed += sequence.chunk;
                    sequence.chunk = 0;
                    let (tokens, end) = (&sequence.tokens, sequence.computed);
                    self.cache.keep(&mut sequence.table, tokens, end, generator);
                    outputs.extend(sequence.advance(answer, self.vocabulary, &self.eos));
                }
            }
            Err(error) => outputs.extend(stepped.map(|sequence| sequence.fail(error))),
        }
        self.release_ended(generator);
        outputs
    }

    /// Whether a step would do nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Sequences that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait, those too that were put back.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was done so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What there is to do, and what is held.
    #[must_use]
    pub fn load(&self) -> Load {
        let Counters { sought, met: found, put_back, .. } = self.counters;
        let blocks = self.cache.count();
        Load {
            running: wide(self.running.len()),
            waiting: wide(self.waiting.len()),
            blocks: wide(blocks),
            blocks_held: wide(blocks - self.cache.available()),
            sought,
            found,
            put_back,
        }
    }

    /// Blocks that hold nothing, and blocks that hold only what may be found again.
    #[must_use]
    pub fn blocks(&self) -> (usize, usize) {
        (self.cache.free(), self.cache.available() - self.cache.free())
    }

    /// Where the positions of a sequence lie; `None` when it does not run.
    #[must_use]
    pub fn blocks_of(&self, sequence: SequenceId) -> Option<&[BlockId]> {
        let running = self.running.iter().find(|running| running.id == sequence);
        running.map(|running| running.table.blocks.as_slice())
    }

    fn live(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.iter().chain(&self.running)
    }

    /// Ends those whose time is over, whether they run or wait.
    fn end_late(&mut self, now: Moment, generator: &mut dyn Generator) -> Vec<StepOutput> {
        let all = self.waiting.iter_mut().chain(&mut self.running);
        let late = all.filter(|sequence| sequence.ends_by <= now);
        let outputs: Vec<_> = late.map(|sequence| sequence.end(Finish::Late)).collect();
        if !outputs.is_empty() {
            self.waiting.retain(|sequence| !sequence.ended);
            self.release_ended(generator);
        }
        outputs
    }

    /// Whether the first choice after the same prompt is still to read it.
    fn waits_for_prompt(&self, sequence: &Sequence) -> bool {
        sequence.first.is_some_and(|first| self.live().any(|one| one.id == first && one.generated == 0))
    }

    /// Starts those whose turn it is, until one does not fit: nobody overtakes it.
    fn start_waiting(&mut self, generator: &mut dyn Generator) {
        loop {
            let turn = |next: &Sequence| (self.turns.time(next.tenancy.domain), next.arrival);
            let ready = self.waiting.iter().filter(|next| !self.waits_for_prompt(next));
            let Some(next) = ready.min_by_key(|next| turn(next)) else { return };
            let (id, tenancy) = (next.id, next.tenancy);
            if self.running.len() >= self.limits.running && !self.make_place(tenancy, generator) {
                return;
            }
            let Some(at) = self.waiting.iter().position(|next| next.id == id) else { return };
            let spare = self.running.iter().map(|one| self.promised(one)).sum();
            let Some(next) = self.waiting.get_mut(at) else { return };
            let found = match self.cache.begin(&mut next.table, &next.tokens, spare) {
                Ok(found) => found,
                Err(lack) if self.make_room(tenancy, lack, generator) => continue,
                Err(_) => return,
            };
            next.computed = found;
            if next.found.is_none() {
                next.found = Some(found);
                self.counters.sought += wide(next.tokens.len());
                self.counters.met += wide(found);
            }
            self.counters.found += wide(found);
            let next = self.waiting.remove(at);
            // The next place is then another domain's, before a token of this one is computed.
            self.turns.charge(next.tenancy.domain, 1, next.tenancy.share);
            self.running.push(next);
        }
    }

    /// Blocks that one that runs is still to get for the tokens it has and one more, so that nobody is put back at once.
    fn promised(&self, one: &Sequence) -> usize {
        self.cache.blocks_for(one.tokens.len() + 1).saturating_sub(one.table.blocks.len())
    }

    /// Puts the youngest sequence back of those whose domain has more than its share of what runs, so that one of `tenancy` runs in its
    /// place.
    fn make_place(&mut self, tenancy: Tenancy, generator: &mut dyn Generator) -> bool {
        let running = self.running_of();
        let of = |domain| running.get(&domain).copied().unwrap_or(0);
        let wants = of(tenancy.domain) + 1;
        let gives_way = |one: &&Sequence| {
            let has = of(one.tenancy.domain);
            // Not the last of its domain, so that it gets on too.
            has > 1 && is_over_share((one.tenancy, has), (tenancy, wants))
        };
        let youngest = self.running.iter().filter(gives_way).map(|one| one.arrival).max();
        youngest.is_some_and(|arrival| {
            self.put_back(arrival, generator);
            true
        })
    }

    /// Puts the youngest sequences back of domains that hold more blocks than their share, as many as one of `tenancy` needs gone to begin;
    /// nobody, if it could not begin then.
    fn make_room(&mut self, tenancy: Tenancy, lack: Lack, generator: &mut dyn Generator) -> bool {
        let wants = self.cache.held(tenancy.domain).saturating_add(lack.more);
        let mut running = self.running_of();
        let mut held: HashMap<_, _> =
            running.keys().map(|domain| (*domain, self.cache.held(*domain))).collect();
        let mut by_age: Vec<&Sequence> = self.running.iter().collect();
        by_age.sort_unstable_by_key(|one| Reverse(one.arrival));
        let (mut released, mut gained, mut gone) = (Released::default(), 0, Vec::new());
        for one in by_age {
            let domain = one.tenancy.domain;
            let (Some(count), Some(held)) = (running.get_mut(&domain), held.get_mut(&domain)) else {
                continue;
            };
            // Not the last of its domain, so that it gets on too.
            if *count <= 1 || !is_over_share((one.tenancy, *held), (tenancy, wants)) {
                continue;
            }
            let blocks = released.add(&one.table, &self.cache);
            *count -= 1;
            *held = held.saturating_sub(wide(blocks));
            gained += blocks + self.promised(one);
            gone.push(one.arrival);
            if gained >= lack.blocks {
                for arrival in gone {
                    self.put_back(arrival, generator);
                }
                return true;
            }
        }
        false
    }

    /// How many sequences of each domain run.
    fn running_of(&self) -> HashMap<CacheDomain, u64> {
        let mut running = HashMap::new();
        for one in &self.running {
            *running.entry(one.tenancy.domain).or_default() += 1;
        }
        running
    }

    /// Shares the step's tokens out: one to each who generates, then to prompts by turn; and finds the blocks for them.
    fn plan(&mut self, generator: &mut dyn Generator) {
        let turn = |next: &Sequence| {
            let reads = next.tokens.len() - next.computed > 1;
            (reads, if reads { self.turns.time(next.tenancy.domain) } else { 0 }, next.arrival)
        };
        let mut order: Vec<_> = self.running.iter().map(|next| (turn(next), next.id)).collect();
        order.sort_unstable();
        let mut left = self.limits.step_tokens;
        for (_, id) in order {
            let Some(next) = self.running.iter().find(|next| next.id == id) else { continue };
            let wanted = left.min(next.tokens.len() - next.computed);
            if wanted == 0 {
                continue;
            }
            let arrival = next.arrival;
            let lacking = |scheduler: &Self| {
                let next = scheduler.running.iter().find(|next| next.id == id);
                next.map_or(0, |next| {
                    let needed = scheduler.cache.blocks_for(next.computed + wanted);
                    needed.saturating_sub(next.table.blocks.len() + scheduler.cache.available())
                })
            };
            while lacking(self) > 0 && self.put_back_younger_than(arrival, generator) {}
            let fits = self.cache.available();
            let Some(next) = self.running.iter_mut().find(|next| next.id == id) else { continue };
            let room = self.cache.positions(next.table.blocks.len() + fits);
            next.chunk = wanted.min(room.saturating_sub(next.computed));
            self.cache.extend(&mut next.table, next.computed + next.chunk, generator);
            left -= next.chunk;
            let (chunk, Tenancy { domain, share }) = (next.chunk, next.tenancy);
            self.turns.charge(domain, chunk, share);
        }
    }

    /// Puts the youngest sequence back, if it came after this one.
    fn put_back_younger_than(&mut self, arrival: u64, generator: &mut dyn Generator) -> bool {
        let youngest =
            self.running.iter().map(|one| one.arrival).max().filter(|youngest| *youngest > arrival);
        youngest.is_some_and(|youngest| {
            self.put_back(youngest, generator);
            true
        })
    }

    /// Lets the running sequence of this arrival wait again; what it has so far is its prompt then.
    fn put_back(&mut self, arrival: u64, generator: &mut dyn Generator) {
        let Some(at) = self.running.iter().position(|one| one.arrival == arrival) else { return };
        let mut sequence = self.running.remove(at);
        self.cache.release(&mut sequence.table, generator);
        (sequence.computed, sequence.chunk) = (0, 0);
        self.counters.put_back += 1;
        let place = self.waiting.partition_point(|waiting| waiting.arrival < arrival);
        self.waiting.insert(place, sequence);
    }

    fn release_ended(&mut self, generator: &mut dyn Generator) {
        for sequence in self.running.iter_mut().filter(|sequence| sequence.ended) {
            self.cache.release(&mut sequence.table, generator);
        }
        self.running.retain(|sequence| !sequence.ended);
        let live: Vec<CacheDomain> = self.live().map(|sequence| sequence.tenancy.domain).collect();
        self.turns.forget(|domain| live.contains(&domain));
    }
}

impl Sequence {
    /// What this step appends, if anything.
    fn row(&self) -> Option<Row<'_>> {
        let tokens = self.tokens.get(self.computed..self.computed + self.chunk)?;
        (!tokens.is_empty()).then_some(Row { tokens, start: self.computed, blocks: &self.table.blocks })
    }

    /// What it needs of this step's row.
    fn wanted(&self) -> Wanted {
        if self.computed + self.chunk < self.tokens.len() {
            return Wanted::Nothing;
        }
        let no_terms =
            self.constraint.is_none() && self.logprobs.is_none() && self.generated >= self.min_tokens;
        let draw = if no_terms { self.sampler.plain_draw() } else { None };
        draw.map_or(Wanted::Logits, Wanted::Token)
    }

    /// Takes the answer to this step's row; `None` while tokens are still to be read.
    fn advance(&mut self, answer: Answer, vocabulary: usize, eos: &[TokenId]) -> Option<StepOutput> {
        if self.computed < self.tokens.len() {
            return None;
        }
        // A form that is complete leaves nothing else to say.
        let ends_at_eos = !self.ignore_eos || self.constraint.is_some();
        let stop_tokens = Arc::clone(&self.stop_tokens);
        let ends: [&[TokenId]; 2] = [&stop_tokens, if ends_at_eos { eos } else { &[] }];
        let drawn = match answer {
            Answer::Nothing => Err(BackendError::new("a row without an answer").into()),
            Answer::Logits(logits) => self.draw(logits, vocabulary, &ends),
            Answer::Token(token) => self.take(token, vocabulary),
        };
        let Drawn { token, logprobs } = match drawn {
            Ok(drawn) => drawn,
            Err(DrawError::Backend(error)) => return Some(self.fail(error)),
            Err(DrawError::Constraint(error)) => return Some(self.end(Finish::Unconstrained(error))),
        };
        let is_end = ends.iter().any(|tokens| tokens.contains(&token));
        self.tokens.push(token);
        self.generated += 1;
        let reason = if is_end {
            Some(FinishReason::Stop)
        } else if self.generated >= self.max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        };
        self.ended = reason.is_some();
        let (sequence, found) = (self.id, self.found.unwrap_or(0));
        Some(StepOutput { sequence, token: Some(token), logprobs, finish: reason.map(Finish::Done), found })
    }

    /// Draws out of logits.
    fn draw(&mut self, logits: Vec<f32>, vocabulary: usize, ends: &[&[TokenId]]) -> Result<Drawn, DrawError> {
        if logits.len() != vocabulary {
            return Err(BackendError::new("wrong number of logits").into());
        }
        let terms = Terms {
            forbidden: if self.generated < self.min_tokens { ends } else { &[] },
            // Not `as_deref_mut`, whose reference would have to live as long as the box may.
            constraint: match &mut self.constraint {
                Some(constraint) => Some(constraint.as_mut()),
                None => None,
            },
            logprobs: self.logprobs,
        };
        self.sampler.draw(logits, terms)
    }

    /// Takes a token that was drawn where the logits are.
    fn take(&mut self, token: Result<TokenId, BackendError>, vocabulary: usize) -> Result<Drawn, DrawError> {
        // Else it would evade what only logits can be held to.
        if !matches!(self.wanted(), Wanted::Token(_)) {
            return Err(BackendError::new("a token where logits were wanted").into());
        }
        let token = token?;
        if !all_known(std::iter::once(token), vocabulary) {
            return Err(BackendError::new("a drawn token is not in the vocabulary").into());
        }
        self.sampler.count(token);
        Ok(Drawn { token, logprobs: None })
    }

    fn fail(&mut self, error: BackendError) -> StepOutput {
        self.end(Finish::Failed(error))
    }

    /// Ends without a token.
    fn end(&mut self, finish: Finish) -> StepOutput {
        self.ended = true;
        let (sequence, found) = (self.id, self.found.unwrap_or(0));
        StepOutput { sequence, token: None, logprobs: None, finish: Some(finish), found }
    }
}

/// Whether one domain has more for its share than another would that wants so much.
fn is_over_share((one, has): (Tenancy, u64), (other, wants): (Tenancy, u64)) -> bool {
    u128::from(has) * u128::from(share(other)) > u128::from(wants) * u128::from(share(one))
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
