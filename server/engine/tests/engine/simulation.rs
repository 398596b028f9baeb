//! Thousands of random histories against a model that watches its contract.

use crate::toy::{CONTEXT, Choices, EOS, Toy, ToyEmbedder, VOCABULARY, alone, sampling, vector};
use anchorhold_engine::{
    EmbeddingBatcher, EmbeddingLimits, Finish, FinishReason, GenerationLimits, GenerationRequest,
    GenerationScheduler, RequestId, Sampling, SequenceId, SubmitError, TokenId,
};
use std::collections::{HashMap, HashSet};

const SEEDS: u64 = 3_000;

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
    overloaded: usize,
}

impl History {
    fn begin(seed: u64) -> Self {
        let mut choices = Choices(seed);
        let step_tokens = 1 + choices.below(12);
        let limits = GenerationLimits {
            step_tokens,
            running: (1 + choices.below(6)).min(step_tokens),
            cache_tokens: choices.below(90),
            waiting: 1 + choices.below(6),
            waiting_tokens: choices.below(60),
        };
        let breaks_at = seed.is_multiple_of(4).then(|| choices.below(40));
        let toy = Toy { limits: Some(limits), breaks_at, ..Toy::default() };
        Self {
            scheduler: GenerationScheduler::new(limits, &toy, vec![EOS]),
            choices,
            toy,
            limits,
            asked: HashMap::new(),
            answered: HashMap::new(),
            ended: HashMap::new(),
            cancelled: HashSet::new(),
            overloaded: 0,
        }
    }

    fn submit(&mut self, id: u64) {
        let length = self.choices.below(CONTEXT + 3);
        let request = GenerationRequest {
            sequence: SequenceId(id),
            prompt: self.choices.tokens(length),
            sampling: Sampling {
                temperature: self.choices.below(3) as f32 * 0.7,
                top_k: self.choices.below(5) as u32,
                frequency_penalty: self.choices.below(2) as f32,
                ..sampling(self.choices.next())
            },
            max_tokens: self.choices.below(9) as u32,
            ignore_eos: self.choices.below(2) == 0,
        };
        let whole = length + (request.max_tokens as usize).max(1);
        match self.scheduler.submit(request.clone()) {
            Ok(()) => {
                assert!(length > 0 && whole <= CONTEXT);
                self.asked.insert(request.sequence, request);
            }
            Err(SubmitError::Empty) => assert_eq!(length, 0),
            Err(SubmitError::TooLong { tokens, limit }) => {
                assert_eq!((tokens, limit), (whole as u64, CONTEXT as u64));
                assert!(whole > CONTEXT);
            }
            Err(SubmitError::Overloaded) => {
                assert!(self.scheduler.waiting() > 0, "the first to wait is always taken");
                self.overloaded += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(self.scheduler.waiting() <= self.limits.waiting);
    }

    fn cancel_one(&mut self) {
        let mut ids: Vec<_> = self.asked.keys().copied().collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.choices.below(ids.len())];
        let live = !self.ended.contains_key(&id) && !self.cancelled.contains(&id);
        let held = self.toy.caches.contains_key(&id);
        assert_eq!(self.scheduler.cancel(id, &mut self.toy), live);
        if live {
            assert!(!held || self.toy.released.contains(&id), "freed at once");
            self.cancelled.insert(id);
        }
    }

    fn step(&mut self) {
        let idle = self.scheduler.is_idle();
        let steps = self.toy.steps.len();
        for output in self.scheduler.step(&mut self.toy) {
            let id = output.sequence;
            assert!(self.asked.contains_key(&id) && !self.cancelled.contains(&id));
            assert!(!self.ended.contains_key(&id), "ended twice, or went on after its end");
            self.answered.entry(id).or_default().extend(output.token);
            if let Some(finish) = output.finish {
                assert!(self.toy.released.contains(&id), "freed with its last output");
                self.ended.insert(id, finish);
            }
        }
        assert_eq!(self.toy.steps.len(), steps + usize::from(!idle), "every step gets on, unless idle");
    }

    fn check_end(mut self) -> Self {
        let bound = self.asked.len() * CONTEXT + 1;
        for _ in 0..bound {
            self.step();
        }
        assert!(self.scheduler.is_idle(), "everyone is served in bounded steps");
        assert!(self.toy.caches.is_empty(), "caches leaked");
        assert!(self.toy.opened.is_sorted(), "first come, first served");
        for (id, request) in &self.asked {
            let answered = self.answered.remove(id).unwrap_or_default();
            let wanted = alone(request);
            match (self.ended.get(id), self.cancelled.contains(id)) {
                (Some(Finish::Done(reason)), false) => {
                    assert_eq!(answered, wanted, "the same alone and in company");
                    let stopped = answered.last() == Some(&EOS) && !request.ignore_eos;
                    assert_eq!(*reason == FinishReason::Stop, stopped);
                }
                (Some(Finish::Failed(error)), false) => {
                    assert!(self.toy.breaks_at.is_some());
                    assert_eq!(error.code(), "broken on purpose");
                    assert!(wanted.starts_with(&answered));
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
        let failures = history.ended.values().filter(|end| matches!(end, Finish::Failed(_))).count();
        finished += history.ended.len() - failures;
        failed += failures;
        cancelled += history.cancelled.len();
        overloaded += history.overloaded;
    }
    // A simulation in which nothing happens would prove nothing.
    assert!(finished > 10_000, "{finished} finished");
    assert!(failed > 500 && cancelled > 1_000 && overloaded > 1_000, "{failed} {cancelled} {overloaded}");
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
        let idle = self.batcher.is_idle();
        match self.batcher.submit(id, inputs.clone()) {
            Ok(()) => assert!(self.asked.insert(id, inputs).is_none()),
            Err(error) => {
                assert!(error == SubmitError::Overloaded && !idle, "{error}");
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
        for output in self.batcher.step(&mut self.toy) {
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
