//! Single rules of the scheduler and the batcher.

use crate::toy::{CONTEXT, EOS, Toy, ToyEmbedder, VOCABULARY, alone, request, vector};
use anchorhold_engine::{
    EmbeddingBatcher, EmbeddingLimits, Finish, FinishReason, GenerationLimits, GenerationScheduler,
    RequestId, SequenceId, SubmitError,
};

fn limits() -> GenerationLimits {
    GenerationLimits { step_tokens: 8, running: 4, cache_tokens: 4 * CONTEXT, waiting: 8, waiting_tokens: 96 }
}

fn scheduler(limits: GenerationLimits) -> (GenerationScheduler, Toy) {
    let toy = Toy { limits: Some(limits), ..Toy::default() };
    (GenerationScheduler::new(limits, &toy, vec![EOS]), toy)
}

fn row(sequence: u64, tokens: usize) -> (SequenceId, usize) {
    (SequenceId(sequence), tokens)
}

#[test]
fn long_prompts_are_read_in_chunks_beside_those_who_generate() {
    let (mut scheduler, mut toy) = scheduler(limits());
    scheduler.submit(request(1, &[1, 2], 6)).unwrap();
    scheduler.submit(request(2, &[3; 16], 2)).unwrap();
    let tokens: Vec<usize> = (0..4).map(|_| scheduler.step(&mut toy).len()).collect();
    assert_eq!(toy.steps[0], [row(1, 2), row(2, 6)]);
    assert_eq!(toy.steps[1], [row(1, 1), row(2, 7)]);
    assert_eq!(toy.steps[2], [row(1, 1), row(2, 3)]);
    assert_eq!(toy.steps[3], [row(1, 1), row(2, 1)]);
    assert_eq!(tokens, [1, 1, 2, 2], "no token for a prompt that is still being read");
}

#[test]
fn runs_together_at_most_what_the_caches_may_hold() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 30, ..limits() });
    for id in 1..=3 {
        scheduler.submit(request(id, &[1; 8], 4)).unwrap();
    }
    scheduler.step(&mut toy);
    assert_eq!((scheduler.running(), scheduler.waiting()), (2, 1), "2 x 12 fit 30, 3 x 12 do not");
}

#[test]
fn ends_at_eos_at_max_tokens_and_at_the_context() {
    let ends = |max_tokens, ignore_eos| {
        let (mut scheduler, mut toy) = scheduler(limits());
        let request = anchorhold_engine::GenerationRequest { ignore_eos, ..request(3, &[5, 6], max_tokens) };
        scheduler.submit(request.clone()).unwrap();
        let mut tokens = Vec::new();
        loop {
            let output = scheduler.step(&mut toy).pop().unwrap();
            tokens.extend(output.token);
            if let Some(finish) = output.finish {
                assert_eq!(tokens, alone(&request));
                return (tokens.len(), finish);
            }
        }
    };
    assert_eq!(ends(0, true), (CONTEXT - 2, Finish::Done(FinishReason::Length)));
    assert_eq!(ends(3, true), (3, Finish::Done(FinishReason::Length)));
    let (length, finish) = ends(0, false);
    assert!(length < CONTEXT - 2 && finish == Finish::Done(FinishReason::Stop), "{length} {finish:?}");
}

#[test]
fn refuses_empty_long_unknown_and_doubled_requests() {
    let (mut scheduler, mut toy) = scheduler(limits());
    assert_eq!(scheduler.submit(request(1, &[], 4)), Err(SubmitError::Empty));
    let too_long = Err(SubmitError::TooLong { tokens: 25, limit: 24 });
    assert_eq!(scheduler.submit(request(1, &[1; 20], 5)), too_long);
    assert_eq!(scheduler.submit(request(1, &[1; 24], 0)), too_long, "no room for a single token");
    assert_eq!(scheduler.submit(request(1, &[16], 4)), Err(SubmitError::UnknownToken));
    let mut biased = request(1, &[1], 4);
    biased.sampling.logit_bias = vec![(16, 1.0)];
    assert_eq!(scheduler.submit(biased), Err(SubmitError::UnknownToken));
    scheduler.submit(request(1, &[1], 4)).unwrap();
    assert_eq!(scheduler.submit(request(1, &[1], 4)), Err(SubmitError::InUse));
    scheduler.step(&mut toy);
    assert_eq!(scheduler.submit(request(1, &[1], 4)), Err(SubmitError::InUse), "while it runs too");
}

#[test]
fn refuses_what_would_wait_too_long() {
    let (mut by_count, _) = scheduler(GenerationLimits { waiting: 2, ..limits() });
    let (mut by_tokens, _) = scheduler(GenerationLimits { waiting_tokens: 30, ..limits() });
    for id in 0..2 {
        by_count.submit(request(id, &[1], 1)).unwrap();
        by_tokens.submit(request(id, &[1; 15], 1)).unwrap();
    }
    assert_eq!(by_count.submit(request(2, &[1], 1)), Err(SubmitError::Overloaded));
    assert_eq!(by_tokens.submit(request(2, &[1], 1)), Err(SubmitError::Overloaded));
}

#[test]
fn a_failing_step_ends_its_own_sequences_only() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { running: 1, ..limits() });
    toy.breaks_at = Some(0);
    scheduler.submit(request(1, &[1], 2)).unwrap();
    scheduler.submit(request(2, &[1], 1)).unwrap();
    let outputs = scheduler.step(&mut toy);
    assert!(matches!(outputs[..], [ref one] if one.sequence == SequenceId(1) && one.token.is_none()));
    assert!(matches!(outputs[0].finish, Some(Finish::Failed(error)) if error.code() == "broken on purpose"));
    assert_eq!(scheduler.step(&mut toy)[0].finish, Some(Finish::Done(FinishReason::Length)));
    assert!(toy.caches.is_empty());
}

#[test]
fn answers_of_the_wrong_shape_fail_the_step() {
    let (mut scheduler, mut toy) = scheduler(limits());
    toy.loses_a_row = true;
    scheduler.submit(request(1, &[1], 2)).unwrap();
    let finish = scheduler.step(&mut toy)[0].finish;
    assert!(matches!(finish, Some(Finish::Failed(error)) if error.code() == "wrong number of rows"));
    toy.loses_a_row = false;
    toy.poison = Some(f32::NAN);
    scheduler.submit(request(2, &[1], 2)).unwrap();
    let finish = scheduler.step(&mut toy)[0].finish;
    assert!(matches!(finish, Some(Finish::Failed(error)) if error.code() == "a logit is not finite"));
    assert!(toy.caches.is_empty() && scheduler.is_idle());
}

fn batcher(limits: EmbeddingLimits) -> (EmbeddingBatcher, ToyEmbedder) {
    let EmbeddingLimits { batch_tokens, batch_inputs, .. } = limits;
    let toy = ToyEmbedder { batch_tokens, batch_inputs, ..ToyEmbedder::default() };
    (EmbeddingBatcher::new(limits, &toy, VOCABULARY), toy)
}

#[test]
fn small_requests_share_a_batch_and_large_ones_are_spread() {
    let (mut batcher, mut toy) = batcher(EmbeddingLimits { batch_inputs: 4, ..EmbeddingLimits::default() });
    let large: Vec<_> = (0..6).map(|token| vec![token]).collect();
    batcher.submit(RequestId(1), vec![vec![9], vec![8]]).unwrap();
    batcher.submit(RequestId(2), large.clone()).unwrap();
    batcher.submit(RequestId(3), vec![vec![7]]).unwrap();
    let ended: Vec<Vec<u64>> =
        (0..3).map(|_| batcher.step(&mut toy).iter().map(|output| output.request.0).collect()).collect();
    assert_eq!(ended, [vec![1], vec![2], vec![3]]);
    assert_eq!(toy.batches, [4, 4, 1]);
    batcher.submit(RequestId(4), large.clone()).unwrap();
    batcher.step(&mut toy);
    let wanted: Vec<_> = large.iter().map(|input| vector(input)).collect();
    assert_eq!(batcher.step(&mut toy)[0].vectors, Ok(wanted));
}

#[test]
fn nobody_overtakes_a_long_input() {
    let (mut batcher, mut toy) = batcher(EmbeddingLimits { batch_tokens: 24, ..EmbeddingLimits::default() });
    for (id, length) in [(1, 10), (2, 20), (3, 10)] {
        batcher.submit(RequestId(id), vec![vec![1; length]]).unwrap();
    }
    let first: Vec<u64> = (0..3).map(|_| batcher.step(&mut toy)[0].request.0).collect();
    assert_eq!((first, toy.batches), (vec![1, 2, 3], vec![1, 1, 1]));
}

#[test]
fn embedding_refuses_empty_long_unknown_doubled_and_too_many() {
    let limits = EmbeddingLimits { waiting_inputs: 2, ..EmbeddingLimits::default() };
    let (mut batcher, _) = batcher(limits);
    assert_eq!(batcher.submit(RequestId(1), vec![]), Err(SubmitError::Empty));
    assert_eq!(batcher.submit(RequestId(1), vec![vec![1], vec![]]), Err(SubmitError::Empty));
    let too_long = Err(SubmitError::TooLong { tokens: 25, limit: 24 });
    assert_eq!(batcher.submit(RequestId(1), vec![vec![1; 25]]), too_long);
    assert_eq!(batcher.submit(RequestId(1), vec![vec![16]]), Err(SubmitError::UnknownToken));
    batcher.submit(RequestId(1), vec![vec![1]; 5]).unwrap();
    assert_eq!(batcher.submit(RequestId(1), vec![vec![1]]), Err(SubmitError::InUse));
    assert_eq!(batcher.submit(RequestId(2), vec![vec![1]]), Err(SubmitError::Overloaded));
    assert!(batcher.cancel(RequestId(1)) && batcher.is_idle());
}

#[test]
fn vectors_that_are_not_finite_fail_their_request_only() {
    let (mut batcher, mut toy) = batcher(EmbeddingLimits::default());
    toy.poison = Some(f32::INFINITY);
    batcher.submit(RequestId(1), vec![vec![1]]).unwrap();
    batcher.submit(RequestId(2), vec![vec![2]]).unwrap();
    let outputs = batcher.step(&mut toy);
    assert_eq!(outputs[0].vectors.as_ref().unwrap_err().code(), "a vector is not finite");
    assert_eq!(outputs[1].vectors, Ok(vec![vector(&[2])]));
}
