//! Several texts of one request, what is told of their tokens, and the forms that they must have.

mod common;

use anchorhold_ipc::{
    Event, FinishReason, ModelInfo, ModelKind, RejectReason, RequestError, RequestId, RequestOutcome,
    SpelledToken, Structure, StructureFault, ToldToken, Work, WorkKind,
};
use common::{FakeWorker, Rig, aside, chat, info, post, with};
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

fn told(bytes: &[u8], logprob: f32) -> ToldToken {
    let token = |bytes: &[u8], logprob| SpelledToken { bytes: bytes.to_vec(), logprob };
    ToldToken { token: token(bytes, logprob), top: vec![token(b"x", -0.125)] }
}

fn delta(id: RequestId, choice: u16, text: &str) -> Event {
    Event::Delta { id, choice, text: text.to_owned(), told: vec![told(text.as_bytes(), -0.5)] }
}

fn finished(id: RequestId, choice: u16, reason: FinishReason) -> Event {
    Event::Finished { id, choice, reason, tokens_in: 7, tokens_found: 4, tokens_out: 2 }
}

/// Two choices whose texts come in turns, the second of which ends first.
fn interleaved(id: RequestId) -> Vec<Event> {
    vec![
        delta(id, 0, "a"),
        delta(id, 1, "né"),
        finished(id, 1, FinishReason::Length),
        delta(id, 0, "b"),
        finished(id, 0, FinishReason::Stop),
    ]
}

/// Waits for one request and says this about it; the worker, and what was asked.
async fn answer(mut worker: FakeWorker, events: fn(RequestId) -> Vec<Event>) -> (FakeWorker, WorkKind) {
    aside(move || {
        let (id, kind) = worker.submitted();
        events(id).iter().for_each(|event| worker.say(event));
        (worker, kind)
    })
    .await
}

#[tokio::test]
async fn choices_come_back_apart_and_the_prompt_counts_once() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let body = with(chat("x"), json!({"n": 2, "logprobs": true, "top_logprobs": 1}));
    let task = rig.begin(post("/v1/chat/completions", &body));
    let (worker, kind) = answer(worker, interleaved).await;
    assert!(matches!(kind, WorkKind::Generate { choices: 2, logprobs: Some(1), .. }), "{kind:?}");
    let whole = task.await.unwrap().json();
    let of = |choice: usize, path: &str| whole["choices"][choice].pointer(path).cloned().unwrap();
    assert_eq!((of(0, "/message/content"), of(1, "/message/content")), (json!("ab"), json!("né")));
    assert_eq!((of(0, "/finish_reason"), of(1, "/finish_reason")), (json!("stop"), json!("length")));
    assert_eq!(of(0, "/logprobs/content/1/token"), "b");
    assert_eq!(of(1, "/logprobs/content/0/bytes"), json!("né".as_bytes()));
    assert_eq!(of(1, "/logprobs/content/0/top_logprobs/0/logprob"), -0.125);
    assert_eq!(
        whole["usage"],
        json!({"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 4}})
    );
    let record = rig.next_record();
    assert_eq!((record.tokens_in, record.tokens_out), (7, 4));

    let body = with(body, json!({"stream": true, "stream_options": {"include_usage": true}}));
    let task = rig.begin(post("/v1/chat/completions", &body));
    let _worker = answer(worker, interleaved).await;
    let events = task.await.unwrap().events();
    let text = |index: usize| -> String {
        let choices = events.iter().filter_map(|event| event["choices"].get(0));
        let own = choices.filter(|choice| choice["index"] == index);
        own.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
    };
    assert_eq!((text(0), text(1)), ("ab".to_owned(), "né".to_owned()));
    let roles = events.iter().filter(|event| event.pointer("/choices/0/delta/role").is_some());
    assert_eq!(roles.count(), 2, "each choice begins with its role");
    assert_eq!(events[2]["choices"][0]["logprobs"]["content"][0]["token"], "a");
    assert_eq!(events[events.len() - 2]["usage"]["total_tokens"], 11);
}

#[tokio::test]
async fn completions_number_the_choices_of_each_prompt_and_count_characters() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let body = json!({"model": "chat", "prompt": ["p", "q"], "n": 2, "logprobs": 1, "stream": true});
    let task = rig.begin(post("/v1/completions", &body));
    let _worker = aside(move || {
        let (first, second) = (worker.submitted().0, worker.submitted().0);
        for event in [delta(second, 1, "né"), delta(second, 1, "!"), delta(first, 0, "a")] {
            worker.say(&event);
        }
        for id in [first, second] {
            worker.say(&finished(id, 0, FinishReason::Stop));
            worker.say(&finished(id, 1, FinishReason::Stop));
        }
        worker
    })
    .await;
    let events = task.await.unwrap().events();
    let choices: Vec<&Value> = events.iter().filter_map(|event| event["choices"].get(0)).collect();
    let texts: Vec<_> =
        choices[..3].iter().map(|choice| (choice["index"].clone(), choice["text"].clone())).collect();
    assert_eq!(texts, [(json!(3), json!("né")), (json!(3), json!("!")), (json!(0), json!("a"))]);
    assert_eq!(choices[1]["logprobs"]["text_offset"], json!([2]));
    assert_eq!(choices[1]["logprobs"]["top_logprobs"], json!([{"x": -0.125, "!": -0.5}]));
    assert_eq!(choices.len(), 3 + 4, "each of four ends");
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_a_request_of_which_some_choices_have_ended() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let body = with(chat("x"), json!({"n": 2, "stream": true}));
    let router = rig.router.clone();
    let task = tokio::spawn(async move {
        tower::ServiceExt::oneshot(router, post("/v1/chat/completions", &body)).await.unwrap()
    });
    let (worker, id) = aside(move || {
        let id = worker.submitted().0;
        worker.say(&delta(id, 0, "a"));
        worker.say(&finished(id, 0, FinishReason::Stop));
        (worker, id)
    })
    .await;
    let mut response = task.await.unwrap();
    // Two roles, a text and an end.
    for _ in 0..4 {
        response.body_mut().frame().await.unwrap().unwrap();
    }
    drop(response);
    let cancelled = aside(move || worker.next()).await;
    assert_eq!(cancelled, Work::Cancel { id });
    let record = rig.next_record();
    assert_eq!((record.outcome, record.tokens_in, record.tokens_out), (RequestOutcome::Cancelled, 7, 2));
}

#[tokio::test]
async fn a_worker_that_speaks_of_choices_nobody_asked_for_is_not_believed() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    for events in [(|id| vec![delta(id, 2, "a")]) as fn(RequestId) -> Vec<Event>, |id| {
        vec![finished(id, 0, FinishReason::Stop), delta(id, 0, "a")]
    }] {
        let task = rig.begin(post("/v1/chat/completions", &with(chat("x"), json!({"n": 2}))));
        worker = answer(worker, events).await.0;
        let answer = task.await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::INTERNAL_SERVER_ERROR, json!("internal_error"))
        );
        worker = aside(move || {
            assert!(matches!(worker.next(), Work::Cancel { .. }), "the worker computes for nobody");
            worker
        })
        .await;
    }
}

#[tokio::test]
async fn a_worker_that_is_not_believed_computes_for_no_prompt_of_the_caller() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(post("/v1/completions", &json!({"model": "chat", "prompt": ["p", "q"]})));
    let mut cancelled = aside(move || {
        let (first, second) = (worker.submitted().0, worker.submitted().0);
        worker.say(&delta(first, 1, "a"));
        let cancels = [worker.next(), worker.next()].map(|work| match work {
            Work::Cancel { id } => id,
            other => panic!("expected a cancellation, got {other:?}"),
        });
        (cancels, [first, second])
    })
    .await;
    cancelled.0.sort();
    assert_eq!(cancelled.0, cancelled.1);
    assert_eq!(task.await.unwrap().code(), "internal_error");
}

#[tokio::test]
async fn choices_that_ended_are_counted_when_another_fails() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    for stream in [false, true] {
        let body = with(chat("x"), json!({"n": 2, "stream": stream}));
        let task = rig.begin(post("/v1/chat/completions", &body));
        let fails: fn(RequestId) -> Vec<Event> = |id| {
            let failed = Event::Failed { id, error: RequestError::Internal };
            vec![finished(id, 0, FinishReason::Stop), failed]
        };
        worker = answer(worker, fails).await.0;
        task.await.unwrap();
        let record = rig.next_record();
        assert_eq!((record.outcome, record.tokens_in, record.tokens_out), (RequestOutcome::Error, 7, 2));
    }
}

#[tokio::test]
async fn forms_reach_the_worker_and_its_refusal_names_the_field() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"canary": 1}}});
    for (change, param, wanted) in [
        (
            json!({"response_format": schema}),
            "response_format",
            Structure::JsonSchema("{\"canary\":1}".into()),
        ),
        (json!({"response_format": {"type": "json_object"}}), "response_format", Structure::JsonObject),
        (json!({"guided_regex": "canary"}), "guided_regex", Structure::Regex("canary".into())),
        (
            json!({"structured_outputs": {"choice": ["canary"]}}),
            "structured_outputs",
            Structure::Choice(vec!["canary".into()]),
        ),
    ] {
        let task = rig.begin(post("/v1/chat/completions", &with(chat("x"), change)));
        let refuses: fn(RequestId) -> Vec<Event> = |id| {
            let error = RequestError::Rejected(RejectReason::Structure(StructureFault::TooComplex));
            vec![Event::Failed { id, error }]
        };
        let kind;
        (worker, kind) = answer(worker, refuses).await;
        let WorkKind::Generate { structure: Some(structure), .. } = kind else { panic!("no form") };
        assert_eq!(*structure, wanted);
        assert!(!format!("{structure:?}").contains("canary"));
        let answer = task.await.unwrap();
        assert_eq!((answer.status, answer.param()), (StatusCode::BAD_REQUEST, json!(param)));
        assert!(!answer.text().contains("canary"));
    }
}

#[tokio::test]
async fn more_of_tokens_than_memory_holds_is_refused_by_name() {
    let rig = Rig::new();
    rig.worker_of(ModelInfo { max_tokens: 131_072, ..info("chat", ModelKind::Chat) }).await.serve();
    // 64 MiB hold 49,932 places of 21 tokens each, of 64 bytes, and 1,048,576 of one.
    let all = json!({"logprobs": true, "top_logprobs": 20});
    for (change, param) in [
        (json!({}), Some("top_logprobs")),
        (json!({"max_tokens": 49_932}), None),
        (json!({"max_tokens": 49_933}), Some("top_logprobs")),
        (json!({"max_tokens": 24_967, "n": 2}), Some("top_logprobs")),
        (json!({"top_logprobs": 0}), None),
        (json!({"top_logprobs": 0, "n": 9}), Some("logprobs")),
    ] {
        let body = with(with(chat("x"), all.clone()), change);
        let answer = rig.send(post("/v1/chat/completions", &body)).await;
        let status = if param.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        assert_eq!(answer.status, status, "{body}");
        if param.is_some() {
            assert_eq!(answer.param(), json!(param), "{body}");
        }
    }
}
