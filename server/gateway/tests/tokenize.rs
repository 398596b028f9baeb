//! `/tokenize` and `/detokenize` as their users know them.

mod common;

use anchorhold_ipc::{Event, ModelKind, RejectReason, RequestError, RequestOutcome, Route};
use common::{Rig, post};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn both_routes_ask_the_model_s_own_tokenizer_and_are_logged() {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    for model in ["chat", "embed"] {
        let asked = json!({"model": model, "prompt": "ab", "return_token_strs": true});
        let answer = rig.send(post("/tokenize", &asked)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.json(),
            json!({"count": 2, "max_model_len": 512, "tokens": [97, 98], "token_strs": ["a", "b"]})
        );
        let record = rig.next_record();
        assert_eq!((record.route, record.model.as_str()), (Route::Tokenize, model));
        assert_eq!((record.outcome, record.tokens_in), (RequestOutcome::Complete, 0));
        let answer = rig.send(post("/detokenize", &json!({"model": model, "tokens": [97, 98]}))).await;
        assert_eq!(answer.json(), json!({"prompt": "ab"}));
        assert_eq!(rig.next_record().route, Route::Tokenize);
    }
    let messages = json!([{"role": "user", "content": "hey"}]);
    let answer = rig.send(post("/tokenize", &json!({"model": "chat", "messages": messages}))).await;
    assert_eq!(answer.json()["token_strs"], json!(null));
    assert_eq!(answer.json()["count"], 3);
}

#[tokio::test]
async fn refusals_name_the_field() {
    let rig = Rig::new();
    let answer = rig.send(post("/tokenize", &json!({"model": "none", "prompt": "x"}))).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, json!("model_not_found")));
    for (path, body, reason, param) in [
        (
            "/tokenize",
            json!({"model": "m", "prompt": "x"}),
            RejectReason::AnswerTooLong { limit: 9 },
            "prompt",
        ),
        (
            "/tokenize",
            json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
            RejectReason::Template,
            "messages",
        ),
        (
            "/detokenize",
            json!({"model": "m", "tokens": [9]}),
            RejectReason::UnknownToken(anchorhold_ipc::TokenField::Prompt),
            "tokens",
        ),
    ] {
        let mut worker = rig.worker("m", ModelKind::Chat).await;
        let task = rig.begin(post(path, &body));
        common::aside(move || {
            let (id, _) = worker.submitted();
            worker.say(&Event::Failed { id, error: RequestError::Rejected(reason) });
            worker
        })
        .await;
        let answer = task.await.unwrap();
        assert_eq!((answer.status, answer.param()), (StatusCode::BAD_REQUEST, json!(param)));
    }
}

#[tokio::test]
async fn a_worker_that_tells_fewer_texts_than_tokens_is_not_believed() {
    let rig = Rig::new();
    let mut worker = rig.worker("m", ModelKind::Chat).await;
    let task = rig.begin(post("/tokenize", &json!({"model": "m", "prompt": "x", "return_token_strs": true})));
    common::aside(move || {
        let (id, _) = worker.submitted();
        worker.say(&Event::Tokenized { id, tokens: vec![1, 2], spelled: Some(vec![b"x".to_vec()]) });
        worker
    })
    .await;
    assert_eq!(task.await.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
}
