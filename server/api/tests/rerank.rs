//! What rerank requests are read as, one case for each refusal, and the shape of their answer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use anchorhold_api::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a";

fn parse(change: Value) -> Result<RerankRequest, ApiError> {
    let mut body = json!({"model": "m", "query": CANARY, "documents": ["a", CANARY, "c"]});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    RerankRequest::parse(body.to_string().as_bytes())
}

#[test]
fn reads_both_forms_of_documents_and_the_options() {
    let plain = parse(json!({})).unwrap();
    assert_eq!((plain.model.as_str(), plain.query.as_str()), ("m", CANARY));
    assert_eq!(plain.documents, ["a", CANARY, "c"]);
    assert_eq!((plain.top_n, plain.echo), (usize::MAX, Echo::Nothing));
    let full = parse(json!({
        "documents": [{"text": "a", "title": 7}, "b"], "top_n": 1, "return_documents": true, "user": "u",
        "max_tokens_per_doc": null, "truncation": false,
    }));
    let full = full.unwrap();
    assert_eq!((full.documents, full.top_n, full.echo), (vec!["a".into(), "b".into()], 1, Echo::Documents));
    let most = parse(json!({"documents": vec!["x"; MAX_DOCUMENTS]})).unwrap();
    assert_eq!(most.documents.len(), MAX_DOCUMENTS);
}

#[test]
fn refuses_what_it_cannot_rank() {
    for (change, param) in [
        (json!({"model": null}), "model"),
        (json!({"query": null}), "query"),
        (json!({"query": ""}), "query"),
        (json!({"query": [CANARY]}), "query"),
        (json!({"query": "a\u{0}b"}), "query"),
        (json!({"documents": null}), "documents"),
        (json!({"documents": []}), "documents"),
        (json!({"documents": CANARY}), "documents"),
        (json!({"documents": vec!["x"; MAX_DOCUMENTS + 1]}), "documents"),
        (json!({"documents": ["a", ""]}), "documents[1]"),
        (json!({"documents": ["a", 7]}), "documents[1]"),
        (json!({"documents": ["a", "\u{0}"]}), "documents[1]"),
        (json!({"documents": ["a", {CANARY: CANARY}]}), "documents[1].text"),
        (json!({"documents": ["a", {"text": ""}]}), "documents[1].text"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"top_n": -1}), "top_n"),
        (json!({"top_n": CANARY}), "top_n"),
        (json!({"return_documents": CANARY}), "return_documents"),
        (json!({"max_tokens_per_doc": 5}), "max_tokens_per_doc"),
        (json!({"rank_fields": [CANARY]}), "rank_fields"),
        (json!({"truncate_prompt_tokens": 5}), "truncate_prompt_tokens"),
        (json!({"truncation": true}), "truncation"),
        (json!({"raw_scores": true}), "raw_scores"),
    ] {
        let error = parse(change).expect_err(param);
        assert_eq!((error.status(), error.param()), (400, Some(param)), "{error}");
        assert!(!error.to_json().contains(CANARY) && !format!("{error:?}").contains(CANARY));
    }
    for body in [&b"[]"[..], b"{", b"\xff", b"{\"model\":1}"] {
        assert_eq!(RerankRequest::parse(body).unwrap_err().status(), 400);
    }
}

#[test]
fn the_best_come_first_and_of_equal_ones_the_earlier() {
    let request = parse(json!({"documents": ["a", "b", "c", "d"]})).unwrap();
    let answer: Value =
        serde_json::from_slice(&reranking("r-1", &request, &[0.5, -2.0, 0.75, 0.5], 9)).unwrap();
    assert_eq!(
        answer,
        json!({
            "id": "r-1", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9},
            "results": [
                {"index": 2, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5},
                {"index": 3, "relevance_score": 0.5}, {"index": 1, "relevance_score": -2.0},
            ],
        })
    );
    let request = parse(json!({"top_n": 2, "return_documents": true})).unwrap();
    let answer: Value = serde_json::from_slice(&reranking("r-1", &request, &[0.5, 0.25, 0.75], 9)).unwrap();
    assert_eq!(
        answer["results"],
        json!([
            {"index": 2, "relevance_score": 0.75, "document": {"text": "c"}},
            {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
        ])
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = RerankRequest::parse(&bytes) {
            prop_assert!((400..500).contains(&error.status()));
        }
    }
}
