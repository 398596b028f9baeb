//! `/v1/rerank` as its users know it.

mod common;

use anchorhold_ipc::{Event, ModelKind, RequestOutcome, Route, WorkKind};
use common::{Rig, aside, chat, get, post, with};
use http::StatusCode;
use serde_json::{Value, json};

async fn serving() -> Rig {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    rig.worker("rank", ModelKind::Rerank).await.serve();
    rig
}

fn body() -> Value {
    json!({"model": "rank", "query": "q", "documents": ["a", {"text": "abc"}, "ab"]})
}

#[tokio::test]
async fn documents_are_sorted_by_their_scores_and_logged() {
    let rig = serving().await;
    let answer = rig.send(post("/v1/rerank", &body())).await;
    assert_eq!(answer.status, StatusCode::OK);
    let record = rig.next_record();
    assert_eq!(
        answer.json(),
        json!({
            "id": format!("rerank-{}", record.rid), "model": "rank", "usage": {"prompt_tokens": 21, "total_tokens": 21},
            "results": [
                {"index": 1, "relevance_score": 0.75}, {"index": 2, "relevance_score": 0.5},
                {"index": 0, "relevance_score": 0.25},
            ],
        })
    );
    assert_eq!((record.route, record.outcome), (Route::Rerank, RequestOutcome::Complete));
    assert_eq!((record.model.as_str(), record.tokens_in, record.tokens_out), ("rank", 21, 0));
    assert!(record.commitments.is_some());
    let one = with(body(), json!({"top_n": 1, "return_documents": true}));
    assert_eq!(
        rig.send(post("/v1/rerank", &one)).await.json()["results"],
        json!([{"index": 1, "relevance_score": 0.75, "document": {"text": "abc"}}])
    );
    assert_eq!(rig.send(get("/v1/models/rank")).await.json()["kind"], "rerank");
    let metrics = rig.send(get("/metrics")).await.text();
    assert!(metrics.contains("route=\"rerank\""), "{metrics}");
}

#[tokio::test]
async fn what_was_asked_reaches_the_worker() {
    let rig = Rig::new();
    let worker = rig.worker("rank", ModelKind::Rerank).await;
    let task = rig.begin(post("/v1/rerank", &body()));
    let kind = aside(move || worker.submitted().1).await;
    let WorkKind::Rerank { query, documents, .. } = kind else { panic!("{kind:?}") };
    assert_eq!((query.as_str(), documents), ("q", vec!["a".into(), "abc".into(), "ab".into()]));
    // The worker went away with the closure, so the request ends.
    assert_eq!(task.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn models_of_other_kinds_do_not_rank_and_rankers_do_nothing_else() {
    let rig = serving().await;
    for (path, body) in [
        ("/v1/rerank", with(body(), json!({"model": "embed"}))),
        ("/v1/rerank", with(body(), json!({"model": "chat"}))),
        ("/v1/embeddings", json!({"model": "rank", "input": "x"})),
        ("/v1/chat/completions", with(chat("x"), json!({"model": "rank"}))),
    ] {
        let answer = rig.send(post(path, &body)).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, json!("model_wrong_kind")));
    }
    let unknown = rig.send(post("/v1/rerank", &with(body(), json!({"model": "none"})))).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let refused = rig.send(post("/v1/rerank", &with(body(), json!({"documents": []})))).await;
    assert_eq!((refused.status, refused.param()), (StatusCode::BAD_REQUEST, json!("documents")));
    assert_eq!(rig.send(get("/v1/rerank")).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn scores_that_are_not_whole_are_not_served() {
    let rig = Rig::new();
    let mut worker = rig.worker("rank", ModelKind::Rerank).await;
    for scores in [vec![], vec![1.0, 2.0], vec![1.0, f32::NAN, 1.0], vec![1.0; 4], vec![f32::INFINITY; 3]] {
        let task = rig.begin(post("/v1/rerank", &body()));
        worker = aside(move || {
            let id = worker.submitted().0;
            worker.say(&Event::Ranked { id, scores, tokens_in: 1 });
            worker
        })
        .await;
        assert_eq!(task.await.unwrap().code(), "internal_error");
    }
    let task = rig.begin(post("/v1/rerank", &body()));
    aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Embedded { id, vectors: vec![vec![1.0]; 3], tokens_in: 1 });
    })
    .await;
    assert_eq!(task.await.unwrap().code(), "internal_error");
}
