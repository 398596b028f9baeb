//! A model that embeds.

use crate::rig::{Rig, TENANCY, generate, text};
use crate::toy::{count, counter};
use anchorhold_engine::{CacheDomain, EmbeddingLimits, Prompt, RequestId, Tenancy};
use anchorhold_ipc::{Event, RejectReason, RequestError, TokenField, WorkKind};
use anchorhold_worker::Limits;
use std::sync::atomic::Ordering;

fn embed(inputs: Vec<Prompt>) -> WorkKind {
    WorkKind::Embed { tenancy: TENANCY, inputs }
}

fn rejected(id: u64, reason: RejectReason) -> Event {
    Event::Failed { id: RequestId(id), error: RequestError::Rejected(reason) }
}

#[test]
fn answers_one_vector_for_each_input_in_order() {
    let (model, _) = counter(16, 4);
    let limits = EmbeddingLimits { batch_inputs: 2, ..EmbeddingLimits::default() };
    let mut rig = Rig::serving(model, Limits { embedding: limits, ..Limits::default() });
    let inputs = vec![text("abc"), Prompt::Tokens(vec![1, 2]), text("é"), text("d"), text("ee")];
    rig.submit(1, embed(inputs));
    rig.submit(2, embed(vec![text("abc")]));
    let Event::Embedded { id, vectors, tokens_in } = rig.event() else { panic!() };
    let wanted = [&[97, 98, 99][..], &[1, 2], &[0xC3, 0xA9], &[100], &[101, 101]];
    assert_eq!((id, tokens_in), (RequestId(1), 10));
    assert_eq!(vectors, wanted.map(|input| count(input, 4)));
    let Event::Embedded { id, vectors, tokens_in } = rig.event() else { panic!() };
    assert_eq!((id, tokens_in, vectors), (RequestId(2), 3, vec![count(&[97, 98, 99], 4)]));
}

#[test]
fn refuses_what_the_model_can_never_answer() {
    let (model, watch) = counter(4, 2);
    let mut rig = Rig::serving(model, Limits::default());
    let cases = [
        (embed(vec![]), RejectReason::EmptyPrompt),
        (embed(vec![text("a"), text("")]), RejectReason::EmptyPrompt),
        (embed(vec![text("five5")]), RejectReason::ContextLength { tokens: 5, limit: 4 }),
        (embed(vec![Prompt::Tokens(vec![257])]), RejectReason::UnknownToken(TokenField::Prompt)),
        (generate(text("a"), 1, &[]), RejectReason::WrongKind),
    ];
    for (id, (work, reason)) in (0..).zip(cases) {
        rig.submit(id, work);
        assert_eq!(rig.event(), rejected(id, reason));
    }
    let before = watch.encoded.load(Ordering::SeqCst);
    rig.submit(9, embed(vec![text(&"x".repeat(4 * 256 + 1))]));
    assert_eq!(rig.event(), rejected(9, RejectReason::ContextLength { tokens: 5, limit: 4 }));
    assert_eq!(watch.encoded.load(Ordering::SeqCst), before, "text that can never fit is not tokenized");
}

#[test]
fn a_request_waits_for_the_batch_under_way_and_not_for_the_queue_of_another_tenant() {
    let (model, watch) = counter(4, 2);
    let limits = EmbeddingLimits { batch_inputs: 4, ..EmbeddingLimits::default() };
    let mut rig = Rig::serving(model, Limits { embedding: limits, ..Limits::default() });
    let gate = watch.gate.lock().unwrap();
    (1..=100).for_each(|id| rig.submit(id, embed(vec![text("a")])));
    let tenancy = Tenancy { domain: CacheDomain([2; 16]), share: 1 };
    rig.submit(200, WorkKind::Embed { tenancy, inputs: vec![text("b")] });
    // Tenants take turns, so whoever comes later is tokenized after it.
    rig.submit(101, embed(vec![text("a")]));
    while watch.encoded.load(Ordering::SeqCst) < 102 {
        std::thread::yield_now();
    }
    drop(gate);
    // The batch under way, and the next.
    let answered = (0..8).map(|_| match rig.event() {
        Event::Embedded { id, .. } => id.0,
        other => panic!("{other:?}"),
    });
    assert!(answered.collect::<Vec<_>>().contains(&200));
}

#[test]
fn a_failing_model_fails_its_batch_and_goes_on_as_does_a_late_request() {
    let (model, watch) = counter(4, 2);
    let mut rig = Rig::serving(model, Limits::default());
    watch.breaks.store(true, Ordering::SeqCst);
    rig.submit(1, embed(vec![text("a")]));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(1), error: RequestError::Internal });
    rig.submit_within(0, 2, embed(vec![text("a")]));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(2), error: RequestError::Late });
    rig.submit(3, embed(vec![text("a")]));
    assert!(matches!(rig.event(), Event::Embedded { id: RequestId(3), .. }));
}

#[test]
fn an_answer_too_long_for_the_line_is_refused_before_it_is_computed() {
    let (model, _) = counter(4, 1_000_000);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, embed(vec![text("a"); 5]));
    assert_eq!(rig.event(), rejected(1, RejectReason::TooManyInputs { limit: 4 }));
    rig.submit(2, embed(vec![text("a"); 4]));
    assert!(matches!(rig.event(), Event::Embedded { id: RequestId(2), vectors, .. } if vectors.len() == 4));
}
