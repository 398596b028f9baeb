//! A model that scores documents for a query.

use crate::rig::{Rig, TENANCY, generate, text};
use crate::toy::{counter, reciter, scorer, sum};
use anchorhold_engine::{EmbeddingLimits, RequestId, TokenId};
use anchorhold_ipc::{Event, RejectReason, RequestError, WorkKind};
use anchorhold_worker::Limits;
use std::sync::atomic::Ordering;

fn rerank(query: &str, documents: &[&str]) -> WorkKind {
    WorkKind::Rerank {
        tenancy: TENANCY,
        query: query.to_owned(),
        documents: documents.iter().map(|document| (*document).to_owned()).collect(),
    }
}

fn rejected(id: u64, reason: RejectReason) -> Event {
    Event::Failed { id: RequestId(id), error: RequestError::Rejected(reason) }
}

fn score(pair: &str) -> f32 {
    sum(&pair.bytes().map(TokenId::from).collect::<Vec<_>>())
}

#[test]
fn answers_one_score_for_each_document_in_order() {
    let limits = EmbeddingLimits { batch_inputs: 2, ..EmbeddingLimits::default() };
    let mut rig = Rig::serving(scorer(16).0, Limits { embedding: limits, ..Limits::default() });
    rig.submit(1, rerank("q", &["abc", "é", "b"]));
    rig.submit(2, rerank("other", &["abc"]));
    let Event::Ranked { id, scores, tokens_in } = rig.event() else { panic!() };
    assert_eq!((id, tokens_in), (RequestId(1), 5 + 4 + 3));
    assert_eq!(scores, ["q|abc", "q|é", "q|b"].map(score));
    let Event::Ranked { id, scores, tokens_in } = rig.event() else { panic!() };
    assert_eq!((id, tokens_in, scores), (RequestId(2), 9, vec![score("other|abc")]));
}

#[test]
fn refuses_what_the_model_can_never_answer() {
    let (model, watch) = scorer(4);
    let mut rig = Rig::serving(model, Limits::default());
    let cases = [
        (rerank("q", &[]), RejectReason::EmptyPrompt),
        (rerank("q", &["a", "abc"]), RejectReason::ContextLength { tokens: 5, limit: 4 }),
        (rerank("query", &["a"]), RejectReason::ContextLength { tokens: 5, limit: 4 }),
        (generate(text("a"), 1, &[]), RejectReason::WrongKind),
        (WorkKind::Embed { tenancy: TENANCY, inputs: vec![text("a")] }, RejectReason::WrongKind),
    ];
    for (id, (work, reason)) in (0..).zip(cases) {
        rig.submit(id, work);
        assert_eq!(rig.event(), rejected(id, reason));
    }
    let (before, long) = (watch.encoded.load(Ordering::SeqCst), "x".repeat(4 * 256 + 1));
    for work in [rerank(&long, &["a"]), rerank("a", &["a", &long])] {
        rig.submit(9, work);
        assert_eq!(rig.event(), rejected(9, RejectReason::ContextLength { tokens: 5, limit: 4 }));
    }
    assert_eq!(watch.encoded.load(Ordering::SeqCst), before, "text that can never fit is not tokenized");
    rig.submit(10, rerank("query", &["a"; 1000]));
    assert_eq!(rig.event(), rejected(10, RejectReason::ContextLength { tokens: 5, limit: 4 }));
    let encoded = watch.encoded.load(Ordering::SeqCst);
    assert_eq!(encoded, before + 1, "a query that fits no pair is tokenized once");
}

#[test]
fn other_models_do_not_rerank() {
    for model in [counter(16, 4).0, reciter(16, None).0] {
        let mut rig = Rig::serving(model, Limits::default());
        rig.submit(1, rerank("q", &["a"]));
        assert_eq!(rig.event(), rejected(1, RejectReason::WrongKind));
    }
}

#[test]
fn a_failing_model_fails_its_batch_and_goes_on() {
    let (model, watch) = scorer(8);
    let mut rig = Rig::serving(model, Limits::default());
    watch.breaks.store(true, Ordering::SeqCst);
    rig.submit(1, rerank("q", &["a"]));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(1), error: RequestError::Internal });
    rig.submit(2, rerank("q", &["a"]));
    assert!(matches!(rig.event(), Event::Ranked { id: RequestId(2), .. }));
}
