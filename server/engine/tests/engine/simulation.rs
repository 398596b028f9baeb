//! Thousands of random histories against a model that watches its contract.

use crate::toy::{
    BLOCK, CONTEXT, Choices, EOS, Rule, START, Toy, ToyEmbedder, VOCABULARY, alone_under, choices, sampling,
    tenancy, vector,
};
use anchorhold_engine::{
    BlockId, CacheDomain, Constraint, EmbeddingBatcher, EmbeddingLimits, Finish, FinishReason,
    GenerationLimits, GenerationRequest, GenerationScheduler, Moment, RequestId, Sampling, SequenceId,
    SubmitError, Tenancy, TokenId,
};
use std::collections::{HashMap, HashSet};

const SEEDS: u64 = 10_000;
const TENANTS: usize = 3;
/// Of one request.
const MOST_CHOICES: u64 = 3;

/// One history: what was asked, and what became of it.
struct History {
    choices: Choices,
    scheduler: GenerationScheduler,
    toy: Toy,
    limits: GenerationLimits,
    asked: HashMap<SequenceId, GenerationRequest>,
    answered: HashMap<SequenceId, Vec<TokenId>>,
    ended: HashMap<SequenceId, Finish>,
    cancelled: HashSet<SequenceId>,
    /// Those that keep to a rule.
    ruled: HashSet<SequenceId>,
    overloaded: usize,
    now: Moment,
    late: usize,
    /// Whose positions each block holds, since it was last erased.
    domains: HashMap<BlockId, CacheDomain>,
    /// Blocks that held one domain's positions and then another's.
    moved: usize,
}

impl History {
    fn begin(seed: u64) -> Self {
        let mut choices = Choices(seed);
        let step_tokens = 1 + choices.below(12);
        let limits = GenerationLimits {
            step_tokens,
            running: (1 + choices.below(6)).min(step_tokens),
            cache_tokens: choices.below(90),
            keep_prefixes: choices.below(4) > 0,
            waiting: 1 + choices.below(6),
            waiting_tokens: choices.below(60),
        };
        let breaks_at = seed.is_multiple_of(4).then(|| choices.below(40));
        let size = 1 + choices.below(2 * BLOCK);
        let toy =
            Toy { limits: Some(limits), breaks_at, size, draws: seed.is_multiple_of(3), ..Toy::default() };
        Self {
            scheduler: GenerationScheduler::new(limits, &toy, vec![EOS]),
            choices,
            toy,
            limits,
            asked: HashMap::new(),
            answered: HashMap::new(),
            ended: HashMap::new(),
            cancelled: HashSet::new(),
            ruled: HashSet::new(),
            overloaded: 0,
            now: START,
            late: 0,
            domains: HashMap::new(),
            moved: 0,
        }
    }

    /// A prompt that begins like one that was asked before, more often than not; of whichever tenant.
    fn prompt(&mut self, length: usize) -> Vec<TokenId> {
        let mut prompt = self.choices.tokens(length);
        let mut earlier: Vec<_> = self.asked.values().collect();
        earlier.sort_unstable_by_key(|request| request.sequence);
        if !earlier.is_empty() && self.choices.below(3) > 0 {
            let other = earlier[self.choices.below(earlier.len())];
            let common = self.choices.below(length.min(other.prompt.len()) + 1);
            prompt[..common].copy_from_slice(&other.prompt[..common]);
        }
        prompt
    }

    fn submit(&mut self, id: u64) {
        let length = self.choices.below(CONTEXT + 3);
        let tenant = self.choices.below(TENANTS) as u8;
        let patience = self.choices.below(300) as u64;
        let request = GenerationRequest {
            sequence: SequenceId(id * MOST_CHOICES),
            choices: self.choices.below(MOST_CHOICES as usize + 1) as u32,
            tenancy: Tenancy { share: u32::from(tenant), ..tenancy(tenant) },
            prompt: self.prompt(length),
            sampling: Sampling {
                temperature: self.choices.below(3) as f32 * 0.7,
                top_k: self.choices.below(5) as u32,
                frequency_penalty: self.choices.below(2) as f32,
                ..sampling(self.choices.next())
            },
            max_tokens: self.choices.below(9) as u32,
            min_tokens: self.choices.below(3) as u32,
            ignore_eos: self.choices.below(2) == 0,
            ends_by: if patience < 30 { Moment(self.now.0 + patience) } else { Moment::NEVER },
            stop_tokens: self.choices.tokens(if id.is_multiple_of(3) { 2 } else { 0 }),
            logprobs: None,
        };
        let ruled = self.choices.below(3) == 0;
        let tenancy = request.tenancy;
        let waited = self.waiting_of(tenancy);
        let constraint = || Box::new(Rule::default()) as Box<dyn Constraint>;
        let whole = length + (request.max_tokens as usize).max(1);
        match self.scheduler.submit(request.clone(), ruled.then(constraint)) {
            Ok(()) => {
                assert!(length > 0 && whole <= CONTEXT);
                for choice in choices(&request) {
                    self.ruled.extend(ruled.then_some(choice.sequence));
                    self.asked.insert(choice.sequence, choice);
                }
            }
            Err(SubmitError::Empty) => assert_eq!(length, 0),
            Err(SubmitError::TooLong { tokens, limit }) => {
                assert_eq!((tokens, limit), (whole as u64, CONTEXT as u64));
                assert!(whole > CONTEXT);
            }
            Err(SubmitError::Overloaded) => {
                assert!(waited > 0, "the first of a domain to wait is always taken");
                self.overloaded += 1;
            }
            Err(other) => panic!("{other}"),
        }
        // Those that were put back wait too.
        let share = tenancy.share.max(1) as usize;
        let most = (self.limits.waiting * share / (share + 1)).max(MOST_CHOICES as usize);
        assert!(self.waiting_of(tenancy) <= most + self.limits.running, "more than its part");
    }

    /// Sequences of a domain that wait.
    fn waiting_of(&self, tenancy: Tenancy) -> usize {
        let of = |request: &&GenerationRequest| {
            let id = &request.sequence;
            let ended = self.ended.contains_key(id) || self.cancelled.contains(id);
            request.tenancy.domain == tenancy.domain && !ended && self.scheduler.blocks_of(*id).is_none()
        };
        self.asked.values().filter(of).count()
    }

    fn cancel_one(&mut self) {
        let mut ids: Vec<_> = self.asked.keys().copied().collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.choices.below(ids.len())];
        let live = !self.ended.contains_key(&id) && !self.cancelled.contains(&id);
        assert_eq!(self.scheduler.cancel(id, &mut self.toy), live);
        assert!(self.scheduler.blocks_of(id).is_none(), "freed at once");
        if live {
            self.cancelled.insert(id);
        }
        self.check_blocks();
    }

    /// No block is lost, held by two that may not share, or read by another domain than wrote it.
    fn check_blocks(&mut self) {
        for block in std::mem::take(&mut self.toy.erased) {
            let of = self.domains.remove(&block);
            self.moved += usize::from(of.is_some());
        }
        let mut held = HashSet::new();
        for (id, request) in &self.asked {
            for block in self.scheduler.blocks_of(*id).unwrap_or_default() {
                held.insert(*block);
                let domain = *self.domains.entry(*block).or_insert(request.tenancy.domain);
                assert_eq!(domain, request.tenancy.domain, "a block of two domains");
            }
        }
        let (free, kept) = self.scheduler.blocks();
        let size = if self.toy.size == 0 { BLOCK } else { self.toy.size };
        let all = self.limits.cache_tokens.max(CONTEXT).div_ceil(size);
        assert_eq!(free + kept + held.len(), all, "a block is lost, or counted twice");
        assert_eq!(self.toy.blocks.len(), kept + held.len(), "a free block holds something");
        assert!(self.limits.keep_prefixes || kept == 0);
    }

    fn step(&mut self) {
        let idle = self.scheduler.is_idle();
        let steps = self.toy.steps.len();
        self.now.0 += 1;
        let mut late = 0;
        for output in self.scheduler.step(self.now, &mut self.toy) {
            let id = output.sequence;
            let over = self.asked[&id].ends_by <= self.now;
            assert_eq!(output.finish == Some(Finish::Late), over, "late, and only then");
            assert!(!over || output.token.is_none());
            late += usize::from(over);
            assert!(self.asked.contains_key(&id) && !self.cancelled.contains(&id));
            assert!(!self.ended.contains_key(&id), "ended twice, or went on after its end");
            self.answered.entry(id).or_default().extend(output.token);
            if let Some(finish) = output.finish {
                assert!(self.scheduler.blocks_of(id).is_none(), "freed with its last output");
                self.ended.insert(id, finish);
            }
        }
        let gets_on = self.toy.steps.len() - steps;
        assert!(
            gets_on == usize::from(!idle) || (gets_on == 0 && late > 0),
            "every step gets on, unless idle"
        );
        self.late += late;
        self.check_blocks();
    }

    fn check_end(mut self) -> Self {
        // Each step gets the oldest on, by a token or a chunk.
        let bound = 2 * self.asked.len() * CONTEXT + 1;
        for _ in 0..bound {
            self.step();
        }
        assert!(self.scheduler.is_idle(), "everyone is served in bounded steps");
        for (id, request) in &self.asked {
            let answered = self.answered.remove(id).unwrap_or_default();
            let rule = self.ruled.contains(id).then(Rule::default);
            let is_ruled = rule.is_some();
            let wanted = alone_under(request, rule);
            match (self.ended.get(id), self.cancelled.contains(id)) {
                (Some(Finish::Done(reason)), false) => {
                    assert_eq!(answered, wanted, "the same alone and in company");
                    let last = answered.last().copied().unwrap();
                    let stopped = request.stop_tokens.contains(&last)
                        || (last == EOS && (!request.ignore_eos || is_ruled));
                    assert_eq!(*reason == FinishReason::Stop, stopped);
                }
                (Some(Finish::Failed(error)), false) => {
                    assert!(self.toy.breaks_at.is_some());
                    assert_eq!(error.code(), "broken on purpose");
                    assert!(wanted.starts_with(&answered));
                }
                (Some(Finish::Late), false) => {
                    assert!(wanted.starts_with(&answered) && answered != wanted);
                }
                (None, true) => assert!(wanted.starts_with(&answered)),
                other => panic!("request {id:?} ended as {other:?}"),
            }
        }
        self
    }
}

#[test]
fn generation_keeps_its_promises_in_every_history() {
    let (mut finished, mut failed, mut cancelled, mut overloaded) = (0, 0, 0, 0);
    let (mut found, mut put_back, mut moved, mut late, mut drawn) = (0, 0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut history = History::begin(seed);
        for id in 0..60 {
            match history.choices.below(10) {
                0..4 => history.submit(id),
                4 => history.cancel_one(),
                _ => history.step(),
            }
        }
        let history = history.check_end();
        let failures = history.ended.values().filter(|end| !matches!(end, Finish::Done(_))).count();
        late += history.late;
        drawn += history.toy.drawn;
        finished += history.ended.len() - failures;
        failed += failures - history.late;
        cancelled += history.cancelled.len();
        overloaded += history.overloaded;
        let counters = history.scheduler.counters();
        (found, put_back, moved) =
            (found + counters.found, put_back + counters.put_back, moved + history.moved);
    }
    assert!(found > 10_000 && put_back > 1_000 && moved > 1_000, "{found} {put_back} {moved}");
    // A simulation in which nothing happens would prove nothing.
    assert!(finished > 10_000, "{finished} finished");
    assert!(failed > 500 && cancelled > 1_000 && overloaded > 1_000, "{failed} {cancelled} {overloaded}");
    assert!(late > 1_000 && drawn > 1_000, "{late} late, {drawn} drawn by the model");
}

/// One history of the batcher.
struct Batches {
    choices: Choices,
    batcher: EmbeddingBatcher,
    toy: ToyEmbedder,
    asked: HashMap<RequestId, Vec<Vec<TokenId>>>,
    answered: usize,
    failed: usize,
    overloaded: usize,
}

impl Batches {
    fn begin(seed: u64) -> Self {
        let mut choices = Choices(seed);
        let limits = EmbeddingLimits {
            batch_tokens: choices.below(60),
            batch_inputs: 1 + choices.below(5),
            waiting_inputs: 1 + choices.below(20),
            waiting_tokens: choices.below(200),
        };
        let breaks_at = seed.is_multiple_of(5).then(|| choices.below(12));
        let (batch_tokens, batch_inputs) = (limits.batch_tokens, limits.batch_inputs);
        let toy = ToyEmbedder { batch_tokens, batch_inputs, breaks_at, ..ToyEmbedder::default() };
        Self {
            batcher: EmbeddingBatcher::new(limits, &toy, VOCABULARY),
            choices,
            toy,
            asked: HashMap::new(),
            answered: 0,
            failed: 0,
            overloaded: 0,
        }
    }

    fn submit(&mut self, id: RequestId) {
        let mut inputs = Vec::new();
        for _ in 0..1 + self.choices.below(9) {
            let length = 1 + self.choices.below(CONTEXT);
            inputs.push(self.choices.tokens(length));
        }
        let tenant = |id: RequestId| tenancy((id.0 % TENANTS as u64) as u8);
        let waits = self.asked.keys().any(|other| tenant(*other) == tenant(id));
        match self.batcher.submit(id, tenant(id), inputs.clone(), Moment::NEVER) {
            Ok(()) => assert!(self.asked.insert(id, inputs).is_none()),
            Err(error) => {
                assert!(error == SubmitError::Overloaded && waits, "{error}");
                self.overloaded += 1;
            }
        }
    }

    fn cancel_one(&mut self) {
        let gone = RequestId(self.choices.below(50) as u64);
        assert_eq!(self.batcher.cancel(gone), self.asked.remove(&gone).is_some());
    }

    fn step(&mut self) {
        let (batches, idle, before) = (self.toy.batches.len(), self.batcher.is_idle(), self.batcher.load());
        for output in self.batcher.step(START, &mut self.toy) {
            let inputs = self.asked.remove(&output.request).expect("ended once, and was asked");
            match output.vectors {
                Ok(vectors) => {
                    let wanted: Vec<_> = inputs.iter().map(|input| vector(input)).collect();
                    assert_eq!(vectors, wanted, "in order, whatever the company");
                    self.answered += 1;
                }
                Err(_) => self.failed += 1,
            }
        }
        assert_eq!(self.toy.batches.len(), batches + usize::from(!idle));
        assert!(idle || self.batcher.load().0 < before.0, "every batch gets on");
    }
}

#[test]
fn embedding_keeps_its_promises_in_every_history() {
    let (mut answered, mut failed, mut overloaded) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut history = Batches::begin(seed);
        for id in 0..50 {
            match history.choices.below(6) {
                0 | 1 => history.submit(RequestId(id)),
                2 => history.cancel_one(),
                _ => history.step(),
            }
        }
        while !history.batcher.is_idle() {
            history.step();
        }
        assert!(history.asked.is_empty(), "lost: {:?}", history.asked.keys());
        answered += history.answered;
        failed += history.failed;
        overloaded += history.overloaded;
    }
    // A simulation in which nothing happens would prove nothing.
    assert!(answered > 10_000 && failed > 100 && overloaded > 1_000, "{answered} {failed} {overloaded}");
}
