//! What happens when a caller, a worker, the log or the keeper goes away.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_ipc::{
    Event, FinishReason, FromGateway, LogCondition, LogStanding, ModelKind, Reason, RequestError,
    RequestOutcome, ToGateway, Work,
};
use axum::body::Body;
use common::{FakeWorker, RECEIPT, Rig, aside, chat, eventually, get, post, with};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use std::sync::atomic::Ordering;
use tower::ServiceExt as _;

fn streaming(text: &str) -> Request<Body> {
    post("/v1/chat/completions", &with(chat(text), json!({"stream": true})))
}

async fn frame(response: &mut Response<Body>) -> Option<String> {
    let frame = response.body_mut().frame().await?.unwrap().into_data().unwrap();
    Some(String::from_utf8(frame.to_vec()).unwrap())
}

/// A stream of which the worker has said "1".
async fn begun(rig: &Rig, mut worker: FakeWorker) -> (Response<Body>, FakeWorker, anchorhold_ipc::RequestId) {
    let router = rig.router.clone();
    let task = tokio::spawn(async move { router.oneshot(streaming("x")).await.unwrap() });
    let (worker, id) = aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Delta { id, choice: 0, text: "1".to_owned(), told: Vec::new() });
        (worker, id)
    })
    .await;
    let mut response = task.await.unwrap();
    assert!(frame(&mut response).await.unwrap().contains("assistant"));
    assert!(frame(&mut response).await.unwrap().contains("\"content\":\"1\""));
    (response, worker, id)
}

#[tokio::test]
async fn case_45_a_caller_who_leaves_a_stream_cancels_the_work_at_once() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (response, worker, id) = begun(&rig, worker).await;
    drop(response);
    assert_eq!(aside(move || worker.next()).await, Work::Cancel { id });
    let record = rig.next_record();
    assert_eq!((record.outcome, record.stream), (RequestOutcome::Cancelled, true));
    assert_eq!(record.reason, Some(Reason::CallerLeft));
    let text = rig.send(get("/metrics")).await.text();
    assert!(text.contains("anchorhold_requests_in_flight 0\n"));
}

#[tokio::test]
async fn case_45_a_caller_who_leaves_before_the_answer_cancels_the_work_at_once() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(post("/v1/chat/completions", &chat("x")));
    let (worker, id) = aside(move || {
        let id = worker.submitted().0;
        (worker, id)
    })
    .await;
    task.abort();
    assert_eq!(aside(move || worker.next()).await, Work::Cancel { id });
    assert_eq!(rig.next_record().outcome, RequestOutcome::Cancelled);
}

#[tokio::test]
async fn case_45_many_callers_who_leave_free_every_place() {
    let rig = Rig::with("models = []", "max_in_flight = 4\nmax_in_flight_per_tenant = 4");
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    for _ in 0..500 {
        let (response, back, id) = begun(&rig, worker).await;
        drop(response);
        worker = aside(move || {
            assert_eq!(back.next(), Work::Cancel { id });
            back
        })
        .await;
    }
    let all =
        aside(move || (0..500).filter(|_| rig.next_record().outcome == RequestOutcome::Cancelled).count())
            .await;
    assert_eq!(all, 500);
}

#[tokio::test]
async fn case_44_a_worker_lost_before_the_first_text_is_a_503_and_its_successor_serves() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(streaming("x"));
    aside(move || worker.submitted().0).await;
    let answer = task.await.unwrap();
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("worker_lost")));
    assert_eq!(answer.header("retry-after"), "1");
    let record = rig.next_record();
    assert_eq!((record.outcome, record.reason), (RequestOutcome::Error, Some(Reason::WorkerLost)));
    eventually("not ready", async || rig.send(get("/readyz")).await.status != StatusCode::OK).await;
    let away = rig.send(streaming("x")).await;
    assert_eq!((away.status, away.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("model_not_ready")));
    assert_eq!(away.header("retry-after"), "1");
    rig.worker("chat", ModelKind::Chat).await.serve();
    assert_eq!(rig.send(streaming("back")).await.status, StatusCode::OK);
    assert!(rig.send(get("/metrics")).await.text().contains("anchorhold_worker_restarts_total 1\n"));
}

#[tokio::test]
async fn case_44_a_worker_lost_in_a_stream_ends_it_with_an_error_event() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (mut response, worker, _) = begun(&rig, worker).await;
    worker.events.shut_down();
    let last = frame(&mut response).await.unwrap();
    assert!(last.starts_with("event: error\ndata: {") && last.contains("worker_lost"), "{last}");
    assert_eq!(frame(&mut response).await, None);
    assert_eq!(rig.next_record().outcome, RequestOutcome::Error);
}

#[tokio::test]
async fn case_44_the_keeper_can_take_a_worker_away() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (mut response, _worker, _) = begun(&rig, worker).await;
    rig.tell(&ToGateway::WorkerGone { model: "chat".to_owned() });
    assert!(frame(&mut response).await.unwrap().contains("worker_lost"));
    rig.settle().await;
    assert_eq!(rig.send(streaming("x")).await.code(), "model_not_ready");
}

#[tokio::test]
async fn case_44_a_worker_that_hangs_is_given_up() {
    let rig = Rig::with("models = []", "answer_seconds = 1");
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let answer = rig.send(streaming("x")).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("worker_timeout")));
    let id = worker.submitted().0;
    assert_eq!(worker.next(), Work::Cancel { id });
}

#[tokio::test]
async fn a_request_has_its_time_and_is_told_when_it_is_over() {
    let rig = Rig::with("models = []", "request_seconds = 7");
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(post("/v1/chat/completions", &chat("x")));
    aside(move || {
        let Work::Submit { id, within_ms, .. } = worker.next() else { panic!("expected a request") };
        assert_eq!(within_ms, 7_000);
        worker.say(&Event::Failed { id, error: RequestError::Late });
    })
    .await;
    let answer = task.await.unwrap();
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("request_timeout")));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn events_about_nothing_and_of_the_wrong_kind_hurt_nobody_else() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(post("/v1/chat/completions", &chat("x")));
    let mut worker = aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Delta {
            id: anchorhold_ipc::RequestId(u64::MAX),
            choice: 0,
            text: "nobody's".to_owned(),
            told: Vec::new(),
        });
        worker.say(&Event::Embedded { id, vectors: Vec::new(), tokens_in: 0 });
        worker
    })
    .await;
    assert_eq!(task.await.unwrap().code(), "internal_error");
    let task = rig.begin(post("/v1/chat/completions", &chat("x")));
    aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Finished {
            id,
            choice: 0,
            reason: FinishReason::Stop,
            tokens_in: 1,
            tokens_found: 0,
            tokens_out: 0,
        });
        worker
    })
    .await;
    assert_eq!(task.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn an_embedding_that_is_not_whole_is_not_served() {
    let rig = Rig::new();
    let mut worker = rig.worker("embed", ModelKind::Embedding).await;
    for vectors in [vec![], vec![vec![1.0; 3]], vec![vec![f32::NAN; 4]], vec![vec![1.0; 4]; 2]] {
        let task = rig.begin(post("/v1/embeddings", &json!({"model": "embed", "input": "x"})));
        worker = aside(move || {
            let id = worker.submitted().0;
            worker.say(&Event::Embedded { id, vectors, tokens_in: 1 });
            worker
        })
        .await;
        assert_eq!(task.await.unwrap().code(), "internal_error");
    }
}

#[tokio::test]
async fn nothing_is_served_while_the_log_takes_no_entries() {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.manners.log_refuses.store(true, Ordering::SeqCst);
    for request in [post("/v1/chat/completions", &chat("secret answer")), get("/v1/models"), get("/nowhere")]
    {
        let answer = rig.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::SERVICE_UNAVAILABLE, json!("audit_unavailable"))
        );
        assert!(!answer.text().contains("secret answer"));
    }
    // A stream is not even begun once the log is known to refuse.
    assert_eq!(rig.send(streaming("x")).await.code(), "audit_unavailable");
    let metrics = rig.send(get("/metrics")).await.text();
    assert!(metrics.contains("anchorhold_audit_refusals_total 4\n"), "{metrics}");
    rig.manners.log_refuses.store(false, Ordering::SeqCst);
    rig.send(get("/v1/models")).await;
    assert_eq!(rig.send(streaming("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn case_31_a_log_without_its_witnesses_is_told_of_and_then_takes_nothing_new() {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    let ask = async || {
        let ready = rig.send(get("/readyz")).await;
        let answer = rig.send(post("/v1/chat/completions", &chat("x"))).await;
        (
            ready.status,
            ready.json()["audit"]["state"].clone(),
            answer.status,
            rig.send(get("/metrics")).await.text(),
        )
    };
    let (ok, unavailable) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    for (state, expected) in [
        (LogCondition::Well, (ok, json!("well"), ok)),
        (LogCondition::Late, (ok, json!("late"), ok)),
        (LogCondition::Held, (unavailable, json!(null), unavailable)),
        (LogCondition::Failed, (unavailable, json!(null), unavailable)),
        (LogCondition::Well, (ok, json!("well"), ok)),
    ] {
        rig.tell(&ToGateway::LogStands(LogStanding { state, cosigned: Some(17), waited_ms: 61_500 }));
        rig.settle().await;
        let (ready, told, answer, metrics) = ask().await;
        assert_eq!((ready, told, answer), expected, "{state:?}");
        for other in LogCondition::ALL {
            let line = format!(
                "anchorhold_audit_state{{state=\"{}\"}} {}\n",
                other.name(),
                u8::from(other == state)
            );
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
        assert!(metrics.contains("anchorhold_audit_cosigned_entries 17\n"), "{metrics}");
        assert!(metrics.contains("anchorhold_audit_uncosigned_seconds 61.5\n"), "{metrics}");
    }
}

#[tokio::test]
async fn who_is_refused_for_lack_of_room_does_not_wait_for_the_entry_about_it() {
    let rig = Rig::with("models = []", "max_in_flight = 1");
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (_response, _worker, _id) = begun(&rig, worker).await;
    // The log refuses, which the gateway cannot know yet: an answer that waited would say so.
    rig.manners.log_refuses.store(true, Ordering::SeqCst);
    let refused = rig.send(post("/v1/chat/completions", &chat("x"))).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("overloaded")));
    assert!(refused.headers.contains_key("retry-after"));
    let record = rig.next_record();
    assert_eq!((record.status, record.outcome), (503, RequestOutcome::Rejected));
    assert_eq!(record.commitments, None);
}

#[tokio::test]
async fn a_stream_whose_entry_is_refused_does_not_end_well() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (mut response, mut worker, id) = begun(&rig, worker).await;
    rig.manners.log_refuses.store(true, Ordering::SeqCst);
    worker.say(&Event::Finished {
        id,
        choice: 0,
        reason: FinishReason::Stop,
        tokens_in: 1,
        tokens_found: 0,
        tokens_out: 1,
    });
    assert!(frame(&mut response).await.unwrap().contains("\"finish_reason\":\"stop\""));
    let last = frame(&mut response).await.unwrap();
    assert!(last.starts_with("event: error\n") && last.contains("audit_unavailable"), "{last}");
    assert_eq!(frame(&mut response).await, None);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (mut response, mut worker, id) = begun(&rig, worker).await;
    rig.tell(&ToGateway::Drain);
    rig.gateway.draining().await;
    let refused = rig.send(streaming("x")).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("draining")));
    worker.say(&Event::Finished {
        id,
        choice: 0,
        reason: FinishReason::Stop,
        tokens_in: 1,
        tokens_found: 0,
        tokens_out: 1,
    });
    frame(&mut response).await.unwrap();
    assert_eq!(
        frame(&mut response).await.as_deref(),
        Some(format!(": x-anchorhold-receipt {RECEIPT}\ndata: [DONE]\n\n").as_str())
    );
    rig.gateway.drained().await;
    let last = aside(move || {
        let mut last = rig.next();
        while last != FromGateway::Drained {
            last = rig.next();
        }
        last
    });
    assert_eq!(last.await, FromGateway::Drained);
}

#[tokio::test]
async fn a_keeper_that_is_gone_drains_the_gateway_and_nothing_is_served() {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.hang_up();
    rig.gateway.draining().await;
    assert_eq!(rig.send(get("/v1/models")).await.code(), "audit_unavailable");
    assert_eq!(rig.send(get("/health")).await.status, StatusCode::OK);
    let nonce = "0".repeat(64);
    let answer = rig.send(get(&format!("/.well-known/anchorhold-attestation?nonce={nonce}"))).await;
    assert_eq!(answer.code(), "attestation_unavailable");
    rig.gateway.drained().await;
}

#[tokio::test]
async fn a_reader_who_takes_nothing_loses_the_stream_and_frees_its_place() {
    let rig = Rig::with("models = []", "stalled_seconds = 1\nmax_in_flight_per_tenant = 1");
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let request = post("/v1/chat/completions", &with(chat("x"), json!({"stream": true})));
    let begun = tokio::spawn(rig.router.clone().oneshot(request));
    let (worker, id) = aside(move || {
        let id = worker.submitted().0;
        for _ in 0..10 {
            worker.say(&Event::Delta { id, choice: 0, text: "y".to_owned(), told: Vec::new() });
        }
        (worker, id)
    })
    .await;
    let mut body = begun.await.unwrap().unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    // The body is still held, and not read.
    let worker = aside(move || {
        assert_eq!(worker.next(), Work::Cancel { id });
        worker
    })
    .await;
    assert_eq!(rig.next_record().outcome, RequestOutcome::Cancelled);
    worker.serve();
    assert_eq!(rig.send(post("/v1/chat/completions", &chat("x"))).await.status, StatusCode::OK);
    assert!(body.frame().await.unwrap().is_err(), "the reader learns that it is not whole");
}
