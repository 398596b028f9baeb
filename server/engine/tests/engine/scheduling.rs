//! Single rules of the scheduler and the batcher.

use crate::toy::{
    BLOCK, CONTEXT, EOS, Rule, START, Toy, ToyEmbedder, VOCABULARY, alone, alone_under, choices, request,
    sampling, tenancy, vector,
};
use anchorhold_engine::{
    BackendError, BlockId, CallName, ChatMessage, Constraint, Conversation, EmbeddingBatcher,
    EmbeddingLimits, Finish, FinishReason, GenerationLimits, GenerationRequest, GenerationScheduler,
    Generator, Moment, Prompt, RequestId, Row, Sampler, Sampling, SequenceId, StepOutput, StopRules,
    Structure, SubmitError, Tenancy, TokenField, TokenId, TooComplex, Tool, ToolCall, Unanswered,
};
use std::collections::HashMap;

fn limits() -> GenerationLimits {
    GenerationLimits {
        step_tokens: 8,
        running: 4,
        cache_tokens: 4 * CONTEXT,
        keep_prefixes: true,
        waiting: 16,
        waiting_tokens: 192,
    }
}

fn scheduler(limits: GenerationLimits) -> (GenerationScheduler, Toy) {
    let toy = Toy { limits: Some(limits), ..Toy::default() };
    (GenerationScheduler::new(limits, &toy, vec![EOS]), toy)
}

#[test]
fn long_prompts_are_read_in_chunks_beside_those_who_generate() {
    let (mut scheduler, mut toy) = scheduler(limits());
    scheduler.submit(request(1, &[1, 2], 6), None).unwrap();
    scheduler.submit(request(2, &[3; 16], 2), None).unwrap();
    let tokens: Vec<usize> = (0..4).map(|_| scheduler.step(START, &mut toy).len()).collect();
    // Start and tokens of each row.
    assert_eq!(toy.steps[0], [(0, 2), (0, 6)]);
    assert_eq!(toy.steps[1], [(2, 1), (6, 7)]);
    assert_eq!(toy.steps[2], [(3, 1), (13, 3)]);
    assert_eq!(toy.steps[3], [(4, 1), (16, 1)]);
    assert_eq!(tokens, [1, 1, 2, 2], "no token for a prompt that is still being read");
}

#[test]
fn starts_together_at_most_what_the_blocks_hold() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 28, ..limits() });
    for id in 1..=3 {
        scheduler.submit(request(id, &[1; 8], 4), None).unwrap();
    }
    scheduler.step(START, &mut toy);
    assert_eq!(
        (scheduler.running(), scheduler.waiting()),
        (2, 1),
        "2 + 3 blocks of 7, and 3 more do not fit"
    );
}

#[test]
fn uses_no_block_beyond_what_the_model_holds() {
    for (room, blocks) in [(Some(28), 7), (Some(1), CONTEXT / 4), (None, CONTEXT)] {
        let toy = Toy { room, ..Toy::default() };
        let scheduler = GenerationScheduler::new(limits(), &toy, vec![EOS]);
        assert_eq!(scheduler.blocks(), (blocks, 0), "{room:?}");
    }
}

/// Steps until everyone has ended; the answers by sequence.
fn finish(scheduler: &mut GenerationScheduler, toy: &mut Toy) -> HashMap<SequenceId, Vec<TokenId>> {
    let mut answers: HashMap<SequenceId, Vec<TokenId>> = HashMap::new();
    for _ in 0..1_000 {
        for output in scheduler.step(START, toy) {
            answers.entry(output.sequence).or_default().extend(output.token);
        }
    }
    assert!(scheduler.is_idle());
    answers
}

#[test]
fn the_youngest_is_put_back_when_blocks_run_out_and_answers_the_same() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 28, ..limits() });
    let asked = [request(1, &[1; 7], 15), request(2, &[2; 7], 15), request(3, &[3; 7], 15)];
    for request in &asked {
        scheduler.submit(request.clone(), None).unwrap();
    }
    let answers = finish(&mut scheduler, &mut toy);
    for request in &asked {
        assert_eq!(answers[&request.sequence], alone(request));
    }
    assert!(scheduler.counters().put_back > 0);
}

#[test]
fn a_prompt_of_the_same_domain_that_begins_alike_is_not_computed_again() {
    let (mut scheduler, mut toy) = scheduler(limits());
    let of = |id, tenant, prompt: &[TokenId]| GenerationRequest {
        tenancy: tenancy(tenant),
        ..request(id, prompt, 2)
    };
    let prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    let mut ask = |request: GenerationRequest| {
        let before = scheduler.counters();
        scheduler.submit(request.clone(), None).unwrap();
        assert_eq!(finish(&mut scheduler, &mut toy)[&request.sequence], alone(&request));
        let after = scheduler.counters();
        (after.found - before.found, after.computed - before.computed)
    };
    // The last token of an answer is not computed: nobody asks what comes after it.
    assert_eq!(ask(of(1, 1, &prompt)), (0, 11));
    assert_eq!(ask(of(2, 1, &prompt)), (8, 3));
    assert_eq!(ask(of(3, 2, &prompt)), (0, 11), "another tenant finds nothing");
    assert_eq!(ask(of(4, 2, &prompt)), (8, 3));
    assert_eq!(ask(of(5, 1, &prompt[..8])), (4, 5), "of a whole prompt, the last token is computed");
    assert_eq!(ask(of(6, 1, &[1, 2, 3, 4, 5, 6, 7, 9, 9, 10])), (4, 7));
    assert_eq!(ask(of(7, 1, &prompt[1..])), (0, 10), "the same tokens in another place are others");
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let (mut scheduler, mut toy) = scheduler(limits());
    let first = request(1, &[1, 2, 3], 6);
    scheduler.submit(first.clone(), None).unwrap();
    let answer = finish(&mut scheduler, &mut toy).remove(&first.sequence).unwrap();
    let next = request(2, &[&[1, 2, 3][..], &answer, &[5, 6]].concat(), 2);
    scheduler.submit(next.clone(), None).unwrap();
    assert_eq!(finish(&mut scheduler, &mut toy)[&next.sequence], alone(&next));
    assert_eq!(scheduler.counters().found, 8);
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { keep_prefixes: false, ..limits() });
    for id in 1..=2 {
        scheduler.submit(request(id, &[1; 12], 2), None).unwrap();
        finish(&mut scheduler, &mut toy);
        assert!(toy.blocks.is_empty(), "everything is erased");
    }
    assert_eq!((scheduler.counters().found, scheduler.blocks()), (0, (24, 0)));
}

#[test]
fn what_was_used_longest_ago_is_given_up_first_and_erased_before_it_is_used_again() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 24, ..limits() });
    let mut ask = |id, prompt: &[TokenId]| {
        let before = scheduler.counters().found;
        scheduler.submit(request(id, prompt, 1), None).unwrap();
        finish(&mut scheduler, &mut toy);
        scheduler.counters().found - before
    };
    let (a, b, c) = ([1; 9], [2; 9], [3; 9]);
    assert_eq!((ask(1, &a), ask(2, &b)), (0, 0), "4 blocks of 6 are kept");
    assert_eq!(ask(3, &a), 8);
    assert_eq!(ask(4, &c), 0, "which takes 3: the two free ones, and the end of b");
    assert_eq!((ask(5, &a), ask(6, &b)), (8, 4));
    assert_eq!(toy.erased.len(), 6 + 2, "at each end the block that is not full, and two that were given up");
}

#[test]
fn a_flood_takes_nothing_that_another_keeps_within_its_part() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 48, ..limits() });
    let mut ask = |id, tenant, share, prompt: &[TokenId]| {
        let before = scheduler.counters().found;
        let tenancy = Tenancy { share, ..tenancy(tenant) };
        scheduler.submit(GenerationRequest { tenancy, ..request(id, prompt, 1) }, None).unwrap();
        finish(&mut scheduler, &mut toy);
        scheduler.counters().found - before
    };
    // Of 12 blocks the first keeps 4, which is its part of shares 1 and 2.
    assert_eq!(ask(1, 1, 1, &[1; 17]), 0);
    for id in 2..40 {
        let prompt: Vec<TokenId> = (0..17).map(|at| (id as TokenId + at * (1 + at)) % 16).collect();
        ask(id, 2, 2, &prompt);
    }
    assert_eq!(ask(50, 1, 1, &[1; 17]), 16, "everything is still there");
    // What it keeps beyond its part it loses to the other's need.
    for id in 51..54 {
        ask(id, 1, 1, &[id as TokenId - 45; 17]);
    }
    let found: u64 = (0..8).map(|at| ask(60 + at, 2, 2, &[at as TokenId; 17])).sum();
    assert_eq!(found, 0);
    assert!(ask(70, 1, 1, &[1; 17]) + ask(71, 1, 1, &[6; 17]) <= 16);
}

#[test]
fn a_tenant_that_holds_more_blocks_than_its_share_makes_room() {
    let limits = GenerationLimits { cache_tokens: 48, step_tokens: 64, ..limits() };
    let (mut scheduler, mut toy) = scheduler(limits);
    for id in 1..=3 {
        scheduler.submit(request(id, &[id as TokenId; 15], 9), None).unwrap();
    }
    scheduler.step(START, &mut toy);
    assert_eq!(scheduler.running(), 3, "which hold all 12 blocks");
    let other = GenerationRequest { tenancy: tenancy(2), ..request(4, &[4; 14], 2) };
    scheduler.submit(other.clone(), None).unwrap();
    scheduler.step(START, &mut toy);
    assert!(scheduler.blocks_of(other.sequence).is_some(), "the other runs");
    assert!(scheduler.blocks_of(SequenceId(3)).is_none(), "in place of the youngest");
    let answers = finish(&mut scheduler, &mut toy);
    assert_eq!(answers[&other.sequence].last(), alone(&other).last());
    assert_eq!(answers[&SequenceId(3)].last(), alone(&request(3, &[3; 15], 9)).last());
}

#[test]
fn blocks_that_choices_share_count_once_against_their_tenant() {
    let limits = GenerationLimits { cache_tokens: 96, running: 16, step_tokens: 128, ..limits() };
    let (mut scheduler, mut toy) = scheduler(limits);
    let of = |id, tenant| GenerationRequest {
        tenancy: tenancy(tenant),
        ..request(id, &[id as TokenId / 10; 16], 5)
    };
    scheduler.submit(GenerationRequest { choices: 8, ..of(10, 1) }, None).unwrap();
    scheduler.step(START, &mut toy);
    scheduler.step(START, &mut toy);
    for id in [20, 30] {
        scheduler.submit(of(id, 2), None).unwrap();
    }
    scheduler.step(START, &mut toy);
    assert_eq!(scheduler.running(), 10);
    scheduler.submit(of(40, 2), None).unwrap();
    scheduler.step(START, &mut toy);
    assert_eq!(
        (scheduler.running(), scheduler.waiting()),
        (10, 1),
        "12 blocks of 24 are no more than its share"
    );
    finish(&mut scheduler, &mut toy);
    assert_eq!(scheduler.counters().put_back, 0);
}

#[test]
fn nobody_is_put_back_in_vain() {
    let (mut scheduler, mut toy) =
        scheduler(GenerationLimits { cache_tokens: 40, step_tokens: 64, ..limits() });
    scheduler.submit(GenerationRequest { choices: 3, ..request(1, &[1; 20], 4) }, None).unwrap();
    for _ in 0..3 {
        scheduler.step(START, &mut toy);
    }
    assert_eq!((scheduler.running(), scheduler.blocks()), (3, (2, 0)), "5 blocks in common, and 3");
    let other = GenerationRequest { tenancy: tenancy(2), ..request(9, &[2; 20], 1) };
    scheduler.submit(other.clone(), None).unwrap();
    // Two choices gone would leave 4 blocks for the 5 that the other takes.
    assert_eq!(finish(&mut scheduler, &mut toy)[&other.sequence], alone(&other));
    assert_eq!(scheduler.counters().put_back, 0);
}

#[test]
fn who_is_late_ends_and_frees_its_blocks_whether_it_runs_or_waits() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { running: 1, ..limits() });
    let until = |id, ends_by| GenerationRequest { ends_by, ..request(id, &[1, 2], 20) };
    for (id, ends_by) in [(1, Moment(10)), (2, Moment(5)), (3, Moment::NEVER)] {
        scheduler.submit(until(id, ends_by), None).unwrap();
    }
    let mut at = |moment| {
        let outputs = scheduler.step(Moment(moment), &mut toy);
        let brief = |output: &StepOutput| (output.sequence.0, output.token.is_some(), output.finish);
        (outputs.iter().map(brief).collect::<Vec<_>>(), scheduler.blocks_of(SequenceId(1)).is_some())
    };
    assert_eq!(at(4), (vec![(1, true, None)], true));
    assert_eq!(at(5), (vec![(2, false, Some(Finish::Late)), (1, true, None)], true));
    assert_eq!(at(10), (vec![(1, false, Some(Finish::Late)), (3, true, None)], false));
    assert_eq!(at(Moment::NEVER.0 - 1), (vec![(3, true, None)], false));
}

#[test]
fn embeddings_that_are_late_are_given_up() {
    let mut toy = ToyEmbedder { batch_tokens: 24, batch_inputs: 2, ..ToyEmbedder::default() };
    let limits = EmbeddingLimits { batch_tokens: 24, batch_inputs: 2, ..EmbeddingLimits::default() };
    let mut batcher = EmbeddingBatcher::new(limits, &toy, VOCABULARY);
    batcher.submit(RequestId(1), tenancy(1), vec![vec![1]; 5], Moment(7)).unwrap();
    batcher.submit(RequestId(2), tenancy(1), vec![vec![2]], Moment(8)).unwrap();
    assert!(batcher.step(Moment(6), &mut toy).is_empty());
    let outputs = batcher.step(Moment(7), &mut toy);
    assert_eq!(outputs[0].vectors, Err(Unanswered::Late));
    assert_eq!(outputs[1].vectors, Ok(vec![vector(&[2])]));
    assert!(batcher.is_idle());
}

#[test]
fn tenants_get_their_share_however_many_requests_they_have() {
    let limits =
        GenerationLimits { running: 2, step_tokens: 4, waiting: 80, waiting_tokens: 900, ..limits() };
    let (mut scheduler, mut toy) = scheduler(limits);
    let of = |id: u64, tenant, share| GenerationRequest {
        tenancy: Tenancy { share, ..tenancy(tenant) },
        ..request(id, &[TokenId::from(tenant); 4], 8)
    };
    for id in 0..40 {
        scheduler.submit(of(id, 1, 1), None).unwrap();
    }
    for _ in 0..3 {
        scheduler.step(START, &mut toy);
    }
    for id in 100..110 {
        scheduler.submit(of(id, 2, 1), None).unwrap();
    }
    let mut tokens = [0, 0];
    for _ in 0..40 {
        for output in scheduler.step(START, &mut toy) {
            tokens[usize::from(output.sequence.0 >= 100)] += 1;
        }
    }
    assert!(tokens[1] * 10 > tokens[0] * 8 && tokens[0] * 10 > tokens[1] * 8, "{tokens:?}");
}

#[test]
fn the_prompt_of_another_tenant_is_read_before_the_rest_of_a_long_one() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { step_tokens: 4, ..limits() });
    scheduler.submit(request(1, &[1; 20], 1), None).unwrap();
    scheduler.step(START, &mut toy);
    scheduler.submit(GenerationRequest { tenancy: tenancy(2), ..request(2, &[2; 4], 1) }, None).unwrap();
    assert_eq!(scheduler.step(START, &mut toy)[0].sequence, SequenceId(2));
    scheduler.step(START, &mut toy);
    assert_eq!(toy.steps, [[(0, 4)], [(0, 4)], [(4, 4)]]);
}

#[test]
fn a_larger_share_gets_more() {
    let limits =
        GenerationLimits { running: 4, step_tokens: 4, waiting: 200, waiting_tokens: 900, ..limits() };
    let (mut scheduler, mut toy) = scheduler(limits);
    for id in 0..80 {
        let share = if id % 2 == 0 { 3 } else { 1 };
        let tenancy = Tenancy { share, ..tenancy(u8::try_from(id % 2).unwrap()) };
        let request = GenerationRequest { tenancy, ..request(id, &[5; 2], 8) };
        scheduler.submit(request, None).unwrap();
    }
    let mut tokens = [0, 0];
    for _ in 0..80 {
        for output in scheduler.step(START, &mut toy) {
            tokens[usize::try_from(output.sequence.0 % 2).unwrap()] += 1;
        }
    }
    assert!(tokens[0] * 10 > tokens[1] * 25 && tokens[0] * 10 < tokens[1] * 35, "{tokens:?}");
}

#[test]
fn ends_at_eos_at_max_tokens_and_at_the_context() {
    let ends = |max_tokens, ignore_eos| {
        let (mut scheduler, mut toy) = scheduler(limits());
        let request = GenerationRequest { ignore_eos, ..request(3, &[5, 6], max_tokens) };
        scheduler.submit(request.clone(), None).unwrap();
        let mut tokens = Vec::new();
        loop {
            let output = scheduler.step(START, &mut toy).pop().unwrap();
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
    assert_eq!(scheduler.submit(request(1, &[], 4), None), Err(SubmitError::Empty));
    let too_long = Err(SubmitError::TooLong { tokens: 25, limit: 24 });
    assert_eq!(scheduler.submit(request(1, &[1; 20], 5), None), too_long);
    assert_eq!(scheduler.submit(request(1, &[1; 24], 0), None), too_long, "no room for a single token");
    let unknown = |field| Err(SubmitError::UnknownToken(field));
    assert_eq!(scheduler.submit(request(1, &[16], 4), None), unknown(TokenField::Prompt));
    let mut biased = request(1, &[1], 4);
    biased.sampling.logit_bias = vec![(16, 1.0)];
    assert_eq!(scheduler.submit(biased, None), unknown(TokenField::LogitBias));
    scheduler.submit(request(1, &[1], 4), None).unwrap();
    assert_eq!(scheduler.submit(request(1, &[1], 4), None), Err(SubmitError::InUse));
    scheduler.step(START, &mut toy);
    assert_eq!(scheduler.submit(request(1, &[1], 4), None), Err(SubmitError::InUse), "while it runs too");
}

#[test]
fn refuses_what_would_wait_too_long() {
    let (mut by_count, _) = scheduler(GenerationLimits { waiting: 4, ..limits() });
    let (mut by_tokens, _) = scheduler(GenerationLimits { waiting_tokens: 60, ..limits() });
    for id in 0..2 {
        by_count.submit(request(id, &[1], 1), None).unwrap();
        by_tokens.submit(request(id, &[1; 15], 1), None).unwrap();
    }
    assert_eq!(by_count.submit(request(2, &[1], 1), None), Err(SubmitError::Overloaded));
    assert_eq!(by_tokens.submit(request(2, &[1], 1), None), Err(SubmitError::Overloaded));
}

#[test]
fn a_tenant_fills_its_own_part_of_what_waits_and_no_other() {
    let limits = GenerationLimits { waiting: 24, waiting_tokens: 72, ..limits() };
    let of = |id: u64, tenant, share, choices| GenerationRequest {
        tenancy: Tenancy { share, ..tenancy(tenant) },
        choices,
        ..request(16 * id, &[1], 1)
    };
    let (mut scheduler, _) = scheduler(limits);
    let mut take = |request| scheduler.submit(request, None).is_ok();
    // Half of 24 for one alone.
    assert!(take(of(1, 1, 1, 8)) && take(of(2, 1, 1, 4)));
    assert!(!take(of(3, 1, 1, 1)), "its part is full");
    // Two shares of four, then a quarter of the tokens.
    assert!(take(of(4, 2, 2, 8)) && take(of(5, 2, 2, 4)) && !take(of(6, 2, 2, 1)));
    let long = GenerationRequest { prompt: vec![1; 14], ..of(7, 3, 1, 1) };
    assert!(take(long) && !take(of(8, 3, 1, 1)), "14 tokens of 72 by 5, of which one more would be 15");
    assert!(take(of(9, 4, 1, 16)), "the first of a tenant, however many choices it has");
    assert!(!take(of(10, 4, 1, 1)));
}

#[test]
fn a_failing_step_ends_its_own_sequences_only() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { running: 1, ..limits() });
    toy.breaks_at = Some(0);
    scheduler.submit(request(1, &[1], 2), None).unwrap();
    scheduler.submit(request(2, &[1], 1), None).unwrap();
    let outputs = scheduler.step(START, &mut toy);
    assert!(matches!(outputs[..], [ref one] if one.sequence == SequenceId(1) && one.token.is_none()));
    assert!(matches!(outputs[0].finish, Some(Finish::Failed(error)) if error.code() == "broken on purpose"));
    assert_eq!(scheduler.step(START, &mut toy)[0].finish, Some(Finish::Done(FinishReason::Length)));
    assert!(toy.blocks.is_empty());
}

#[test]
fn answers_of_the_wrong_shape_fail_the_step() {
    let (mut scheduler, mut toy) = scheduler(limits());
    toy.loses_a_row = true;
    scheduler.submit(request(1, &[1], 2), None).unwrap();
    let finish = scheduler.step(START, &mut toy)[0].finish;
    assert!(matches!(finish, Some(Finish::Failed(error)) if error.code() == "wrong number of rows"));
    toy.loses_a_row = false;
    toy.poison = Some(f32::NAN);
    scheduler.submit(request(2, &[1], 2), None).unwrap();
    let finish = scheduler.step(START, &mut toy)[0].finish;
    assert!(matches!(finish, Some(Finish::Failed(error)) if error.code() == "a logit is not finite"));
    assert!(toy.blocks.is_empty() && scheduler.is_idle());
}

/// How a request of one token ends when the model answers with this token, asked or not.
fn insisted(token: TokenId, request: GenerationRequest, constraint: Option<Box<dyn Constraint>>) -> Finish {
    let (mut scheduler, mut toy) = scheduler(limits());
    toy.insists = Some(token);
    scheduler.submit(request, constraint).unwrap();
    scheduler.step(START, &mut toy)[0].finish.unwrap()
}

#[test]
fn a_token_that_the_model_drew_counts_only_where_nothing_restricts_it() {
    let plain = || request(1, &[1], 1);
    let with = |sampling| GenerationRequest { sampling, ..plain() };
    assert_eq!(insisted(5, plain(), None), Finish::Done(FinishReason::Length));
    let penalty_of_nothing = Sampling { repetition_penalty: -1.0, ..sampling(1) };
    assert_eq!(insisted(5, with(penalty_of_nothing), None), Finish::Done(FinishReason::Length));
    let unknown = Finish::Failed(BackendError::new("a drawn token is not in the vocabulary"));
    assert_eq!(insisted(16, plain(), None), unknown);
    let unasked = Finish::Failed(BackendError::new("a token where logits were wanted"));
    assert_eq!(insisted(5, plain(), Some(Box::new(Rule::default()))), unasked);
    assert_eq!(insisted(5, GenerationRequest { logprobs: Some(0), ..plain() }, None), unasked);
    assert_eq!(insisted(5, GenerationRequest { min_tokens: 1, ..plain() }, None), unasked);
    for restricted in [
        Sampling { repetition_penalty: 1.1, ..sampling(1) },
        Sampling { frequency_penalty: 0.1, ..sampling(1) },
        Sampling { presence_penalty: -0.1, ..sampling(1) },
        Sampling { logit_bias: vec![(5, 0.0)], ..sampling(1) },
    ] {
        assert_eq!(insisted(5, with(restricted), None), unasked);
    }
}

#[test]
fn rows_that_change_between_tokens_and_logits_answer_the_same() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: CONTEXT, ..limits() });
    toy.draws = true;
    // The first three tokens need logits; and the cache is too small for both.
    let requests =
        [1, 2].map(|id| GenerationRequest { min_tokens: 3, ..request(u64::from(id), &[id; 6], 15) });
    for request in &requests {
        scheduler.submit(request.clone(), None).unwrap();
    }
    let answers = finish(&mut scheduler, &mut toy);
    for request in &requests {
        assert_eq!(answers[&request.sequence], alone(request));
    }
    let generated: usize = answers.values().map(Vec::len).sum();
    assert_eq!(toy.drawn, generated - 6);
    assert!(toy.drawn > 0 && scheduler.counters().put_back > 0);
    toy.poison = Some(f32::NAN);
    scheduler.submit(request(3, &[1], 2), None).unwrap();
    let finish = scheduler.step(START, &mut toy)[0].finish;
    assert_eq!(finish, Some(Finish::Failed(BackendError::NOT_FINITE)));
}

/// Submits, runs alone, and gives the answers by sequence with the counters of what was found and computed.
fn ask(
    limits: GenerationLimits,
    request: &GenerationRequest,
) -> (HashMap<SequenceId, Vec<TokenId>>, (u64, u64)) {
    let (mut scheduler, mut toy) = scheduler(limits);
    scheduler.submit(request.clone(), None).unwrap();
    let answers = finish(&mut scheduler, &mut toy);
    assert!(limits.keep_prefixes || toy.blocks.is_empty(), "everything is erased");
    (answers, (scheduler.counters().found, scheduler.counters().computed))
}

#[test]
fn choices_share_the_prompt_and_answer_as_each_would_alone() {
    let request = GenerationRequest { choices: 3, ..request(10, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 5) };
    for keep_prefixes in [true, false] {
        let limits = GenerationLimits { keep_prefixes, ..limits() };
        let (answers, counted) = ask(limits, &request);
        assert_eq!(answers.len(), 3);
        for choice in choices(&request) {
            assert_eq!(answers[&choice.sequence], alone(&choice));
        }
        // Two of the prompt's three blocks are whole; what is left of it each choice computes, and four of its own five tokens.
        assert_eq!(counted, (2 * 8, 10 + 2 * 2 + 3 * 4), "keeps {keep_prefixes}");
    }
}

#[test]
fn choices_of_one_request_share_nothing_with_another_where_nothing_is_kept() {
    let limits = GenerationLimits { keep_prefixes: false, ..limits() };
    let (mut scheduler, mut toy) = scheduler(limits);
    for id in [10, 20] {
        scheduler.submit(GenerationRequest { choices: 2, ..request(id, &[1; 9], 3) }, None).unwrap();
    }
    finish(&mut scheduler, &mut toy);
    assert_eq!(scheduler.counters().found, 2 * 8, "the second choice of each");
    assert!(toy.blocks.is_empty());
}

#[test]
fn choices_go_on_when_the_first_is_cancelled_before_it_has_read_the_prompt() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { step_tokens: 4, ..limits() });
    let request = GenerationRequest { choices: 2, ..request(1, &[1; 9], 3) };
    scheduler.submit(request.clone(), None).unwrap();
    scheduler.step(START, &mut toy);
    assert_eq!((scheduler.running(), scheduler.waiting()), (1, 1));
    assert!(scheduler.cancel(SequenceId(1), &mut toy));
    let answers = finish(&mut scheduler, &mut toy);
    assert_eq!(answers[&SequenceId(2)], alone(&choices(&request)[1]));
}

#[test]
fn choices_are_taken_together_or_not_at_all() {
    let (mut scheduler, _) = scheduler(GenerationLimits { waiting: 6, ..limits() });
    let of = |id, choices| GenerationRequest { choices, ..request(id, &[1], 1) };
    scheduler.submit(of(1, 2), None).unwrap();
    assert_eq!(scheduler.submit(of(10, 2), None), Err(SubmitError::Overloaded));
    assert_eq!(scheduler.submit(of(0, 2), None), Err(SubmitError::InUse), "its second is another's first");
    assert_eq!(scheduler.submit(of(2, 1), None), Err(SubmitError::InUse));
    assert_eq!(scheduler.waiting(), 2);
}

#[test]
fn a_constraint_survives_being_put_back_and_is_forked_for_each_choice() {
    let (mut scheduler, mut toy) = scheduler(GenerationLimits { cache_tokens: 28, ..limits() });
    let requests: Vec<_> =
        (1..=3).map(|id| GenerationRequest { choices: 2, ..request(10 * id, &[id as u32; 7], 12) }).collect();
    for request in &requests {
        scheduler.submit(request.clone(), Some(Box::new(Rule::default()))).unwrap();
    }
    let answers = finish(&mut scheduler, &mut toy);
    assert!(scheduler.counters().put_back > 0);
    for request in &requests {
        for choice in choices(request) {
            let answer = &answers[&choice.sequence];
            assert_eq!(*answer, alone_under(&choice, Some(Rule::default())));
            let (last, rest) = answer.split_last().unwrap();
            assert!(
                *last == EOS && rest.len() >= 6,
                "ends at the end of its form though EOS is to be ignored"
            );
            assert!(rest.iter().enumerate().all(|(at, token)| *token as usize % 2 == at % 2));
        }
    }
}

#[test]
fn a_constraint_that_gives_up_ends_its_own_sequence_only() {
    let (mut scheduler, mut toy) = scheduler(limits());
    let rule = Rule { gives_up: Some(2), ..Rule::default() };
    scheduler.submit(request(1, &[1], 8), Some(Box::new(rule))).unwrap();
    scheduler.submit(request(2, &[1], 8), None).unwrap();
    let mut outputs = Vec::new();
    for _ in 0..8 {
        outputs.extend(scheduler.step(START, &mut toy));
    }
    let of = |id| outputs.iter().filter(move |output| output.sequence == SequenceId(id));
    let last = of(1).next_back().unwrap();
    assert_eq!((of(1).count(), last.token, last.finish), (3, None, Some(Finish::Unconstrained(TooComplex))));
    assert_eq!(of(2).filter_map(|output| output.token).collect::<Vec<_>>(), alone(&request(2, &[1], 8)));
}

#[test]
fn ends_at_stop_tokens_and_not_before_the_least_length() {
    let every: Vec<TokenId> = (0..VOCABULARY as u32).collect();
    let ends = |request: &GenerationRequest| {
        let (answers, _) = ask(limits(), request);
        assert_eq!(answers[&request.sequence], alone(request));
        answers[&request.sequence].len()
    };
    let any = GenerationRequest { stop_tokens: every.clone(), ..request(1, &[5], 9) };
    assert_eq!(ends(&any), 1);
    let odd = every.iter().copied().filter(|token| token % 2 == 1).collect();
    let later = GenerationRequest { stop_tokens: odd, min_tokens: 5, ..request(1, &[5], 20) };
    let length = ends(&later);
    assert!((6..20).contains(&length), "{length}");
    let with_eos = GenerationRequest { ignore_eos: false, min_tokens: 22, ..request(3, &[5, 6], 22) };
    assert_eq!(ends(&with_eos), 22);
    assert!(ends(&GenerationRequest { min_tokens: 0, ..with_eos }) < 22, "or the test shows nothing");
    let unknown = GenerationRequest { stop_tokens: vec![16], ..request(1, &[5], 2) };
    let refused = Err(SubmitError::UnknownToken(TokenField::StopTokens));
    assert_eq!(scheduler(limits()).0.submit(unknown, None), refused);
}

#[test]
fn logprobs_are_told_where_they_are_asked() {
    let (mut scheduler, mut toy) = scheduler(limits());
    scheduler.submit(GenerationRequest { logprobs: Some(3), ..request(1, &[5], 4) }, None).unwrap();
    scheduler.submit(request(2, &[5], 4), None).unwrap();
    for output in (0..4).flat_map(|_| scheduler.step(START, &mut toy)) {
        let told = output.logprobs.map(|logprobs| logprobs.top.len());
        assert_eq!(told, (output.sequence == SequenceId(1)).then_some(3));
    }
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
    batcher.submit(RequestId(1), tenancy(1), vec![vec![9], vec![8]], Moment::NEVER).unwrap();
    batcher.submit(RequestId(2), tenancy(1), large.clone(), Moment::NEVER).unwrap();
    batcher.submit(RequestId(3), tenancy(1), vec![vec![7]], Moment::NEVER).unwrap();
    let ended: Vec<Vec<u64>> = (0..3)
        .map(|_| batcher.step(START, &mut toy).iter().map(|output| output.request.0).collect())
        .collect();
    assert_eq!(ended, [vec![1], vec![2], vec![3]]);
    assert_eq!(toy.batches, [4, 4, 1]);
    batcher.submit(RequestId(4), tenancy(1), large.clone(), Moment::NEVER).unwrap();
    batcher.step(START, &mut toy);
    let wanted: Vec<_> = large.iter().map(|input| vector(input)).collect();
    assert_eq!(batcher.step(START, &mut toy)[0].vectors, Ok(wanted));
}

#[test]
fn nobody_overtakes_a_long_input() {
    let (mut batcher, mut toy) = batcher(EmbeddingLimits { batch_tokens: 24, ..EmbeddingLimits::default() });
    for (id, length) in [(1, 10), (2, 20), (3, 10)] {
        batcher.submit(RequestId(id), tenancy(1), vec![vec![1; length]], Moment::NEVER).unwrap();
    }
    let first: Vec<u64> = (0..3).map(|_| batcher.step(START, &mut toy)[0].request.0).collect();
    assert_eq!((first, toy.batches), (vec![1, 2, 3], vec![1, 1, 1]));
}

#[test]
fn embedding_refuses_empty_long_unknown_doubled_and_too_many() {
    let limits = EmbeddingLimits { waiting_inputs: 4, ..EmbeddingLimits::default() };
    let (mut batcher, _) = batcher(limits);
    assert_eq!(batcher.submit(RequestId(1), tenancy(1), vec![], Moment::NEVER), Err(SubmitError::Empty));
    assert_eq!(
        batcher.submit(RequestId(1), tenancy(1), vec![vec![1], vec![]], Moment::NEVER),
        Err(SubmitError::Empty)
    );
    let too_long = Err(SubmitError::TooLong { tokens: 25, limit: 24 });
    assert_eq!(batcher.submit(RequestId(1), tenancy(1), vec![vec![1; 25]], Moment::NEVER), too_long);
    assert_eq!(
        batcher.submit(RequestId(1), tenancy(1), vec![vec![16]], Moment::NEVER),
        Err(SubmitError::UnknownToken(TokenField::Prompt))
    );
    batcher.submit(RequestId(1), tenancy(1), vec![vec![1]; 5], Moment::NEVER).unwrap();
    assert_eq!(
        batcher.submit(RequestId(1), tenancy(1), vec![vec![1]], Moment::NEVER),
        Err(SubmitError::InUse)
    );
    assert_eq!(
        batcher.submit(RequestId(2), tenancy(1), vec![vec![1]], Moment::NEVER),
        Err(SubmitError::Overloaded)
    );
    assert!(batcher.cancel(RequestId(1)) && batcher.is_idle());
}

#[test]
fn vectors_that_are_not_finite_fail_their_request_only() {
    let (mut batcher, mut toy) = batcher(EmbeddingLimits::default());
    toy.poison = Some(f32::INFINITY);
    batcher.submit(RequestId(1), tenancy(1), vec![vec![1]], Moment::NEVER).unwrap();
    batcher.submit(RequestId(2), tenancy(1), vec![vec![2]], Moment::NEVER).unwrap();
    let outputs = batcher.step(START, &mut toy);
    let failed = Unanswered::Failed(BackendError::new("a vector is not finite"));
    assert_eq!(outputs[0].vectors, Err(failed));
    assert_eq!(outputs[1].vectors, Ok(vec![vector(&[2])]));
}

#[test]
fn a_single_input_is_in_the_next_batch_beside_the_flood_of_another_tenant() {
    let limits = EmbeddingLimits {
        batch_inputs: 4,
        waiting_inputs: 40,
        waiting_tokens: 400,
        ..EmbeddingLimits::default()
    };
    let (mut batcher, mut toy) = batcher(limits);
    for id in 1..=20 {
        batcher.submit(RequestId(id), tenancy(1), vec![vec![1]], Moment::NEVER).unwrap();
    }
    let refused = batcher.submit(RequestId(21), tenancy(1), vec![vec![1]], Moment::NEVER);
    assert_eq!(refused, Err(SubmitError::Overloaded), "half is its part");
    batcher.step(START, &mut toy);
    batcher.submit(RequestId(30), tenancy(2), vec![vec![2]], Moment::NEVER).unwrap();
    let ended: Vec<u64> = batcher.step(START, &mut toy).iter().map(|output| output.request.0).collect();
    assert_eq!(ended, [5, 6, 7, 30]);
}

/// Says the last of many tokens, always.
struct Last(usize);

impl Generator for Last {
    fn vocabulary(&self) -> usize {
        self.0
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn block(&self) -> usize {
        BLOCK
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        let mut logits = vec![0.0; self.0];
        logits[self.0 - 1] = 100.0;
        Ok(vec![logits; rows.len()])
    }

    fn erase(&mut self, _: &[BlockId]) {}
}

#[test]
fn nothing_that_is_printed_holds_a_callers_tokens_or_text() {
    const CANARY: &str = "canary-c0ffee-4711";
    const TOKEN: TokenId = 471_147;
    let sampling =
        Sampling { logit_bias: vec![(TOKEN, 1.0)], repetition_penalty: 2.0, ..Sampling::default() };
    let asked = GenerationRequest {
        prompt: vec![TOKEN; 2 * BLOCK],
        stop_tokens: vec![TOKEN],
        sampling: sampling.clone(),
        ignore_eos: true,
        ..request(1, &[], 4)
    };
    let stop = StopRules {
        stop: vec![CANARY.into()],
        stop_tokens: vec![TOKEN],
        max_tokens: 1,
        ..StopRules::default()
    };
    let row = Row { tokens: &[TOKEN], start: 0, blocks: &[] };
    let mut wide = Last(TOKEN as usize + 1);
    let mut scheduler = GenerationScheduler::new(limits(), &wide, vec![EOS]);
    scheduler.submit(asked.clone(), None).unwrap();
    let mut printed = format!("{asked:?}{stop:?}{row:?}{:?}{scheduler:?}", Sampler::new(sampling, &[TOKEN]));
    assert_eq!(scheduler.step(START, &mut wide)[0].token, Some(TOKEN));
    printed += &format!("{scheduler:?}");
    let embedder = ToyEmbedder::default();
    let mut batcher = EmbeddingBatcher::new(EmbeddingLimits::default(), &embedder, TOKEN as usize + 1);
    batcher.submit(RequestId(1), tenancy(1), vec![vec![TOKEN]], Moment::NEVER).unwrap();
    let call = ToolCall { id: CANARY.into(), name: CANARY.into(), arguments: CANARY.into() };
    let answers = Some(CallName { id: CANARY.into(), tool: CANARY.into() });
    let message = ChatMessage { role: "user".into(), content: CANARY.into(), calls: vec![call], answers };
    let tool = Tool { name: CANARY.into(), json: CANARY.into(), strict: true };
    let conversation = Conversation { messages: vec![message], tools: vec![tool], ..Conversation::default() };
    let prompts = [Prompt::Chat(conversation), Prompt::Text(CANARY.into()), Prompt::Tokens(vec![TOKEN])];
    let forms = [
        Structure::Choice(vec![CANARY.into()]),
        Structure::Regex(CANARY.into()),
        Structure::JsonSchema(CANARY.into()),
    ];
    printed += &format!("{batcher:?}{prompts:?}{forms:?}");
    assert!(printed.contains("GenerationRequest") && printed.contains("Tokens(1)"), "{printed}");
    assert!(!printed.contains(CANARY) && !printed.contains(&TOKEN.to_string()), "{printed}");
}
