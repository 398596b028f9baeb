//! A worker dies: who was waiting is told, the others notice nothing, and one that keeps dying stays down.

use crate::support::{SOON, Served, alone, aside, chat, code, count, long, until, wait};
use anchorhold_channel::client::Answer;
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::models::{CHAT, EMBEDDING};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than the keeper ever waits before it starts a worker again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Requests that are sent together and answered whenever they are.
fn send(
    served: &Served,
    count: u32,
    path: &'static str,
    body: &Value,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let begin = |_| {
        let caller = wait(Caller::verify(&served.guest, &served.stand.measurement)).unwrap();
        let body = body.clone();
        aside(async move { caller.post(path, &body).await.unwrap() })
    };
    (0..count).map(begin).collect()
}

fn embedding() -> Value {
    json!({"model": EMBEDDING, "input": ["one", "two"]})
}

fn check_lost(answers: Vec<tokio::task::JoinHandle<Answer>>) {
    for answer in answers {
        let answer = wait(answer).unwrap();
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "worker_lost"));
        assert!(answer.headers.contains_key("retry-after"));
    }
}

fn check_answers(served: &Served, path: &str, body: &Value) {
    until("an answer after the restart", SOON, || (served.post(path, body).status == 200).then_some(()));
}

#[test]
fn case_44_who_waits_for_a_killed_worker_is_told_and_later_requests_succeed() {
    let _turn = alone();
    let mut served = Served::both();
    let streams = [served.begin_stream(&long("one")), served.begin_stream(&long("two"))];
    let paused = served.pause_worker(CHAT);
    let answers = send(&served, 3, "/v1/chat/completions", &chat("three"));
    until("five requests under way", SOON, || (served.in_flight() == 5).then_some(()));
    paused.kill();
    for stream in streams {
        let stream = stream.finish();
        assert_eq!((stream.error.as_deref(), stream.frames.done), (Some("worker_lost"), false));
    }
    check_lost(answers);
    // The other model does not notice.
    assert_eq!(served.post("/v1/embeddings", &embedding()).status, 200);
    served.guest.next_stage("restarted", SOON).unwrap();
    check_answers(&served, "/v1/chat/completions", &chat("What is Anchorhold?"));

    let paused = served.pause_worker(EMBEDDING);
    let answers = send(&served, 3, "/v1/embeddings", &embedding());
    until("three requests under way", SOON, || (served.in_flight() == 3).then_some(()));
    paused.kill();
    check_lost(answers);
    let told = served.guest.next_stage("restarted", SOON).unwrap();
    assert_eq!((&told["model"], &told["count"]), (&EMBEDDING.into(), &1.into()));
    check_answers(&served, "/v1/embeddings", &embedding());
    assert_eq!(served.in_flight(), 0);
    assert_eq!(served.metric("anchorhold_worker_restarts_total"), 2);

    let entries = served.stop();
    for (kind, wanted) in [("component.crash", 2), ("component.restart", 2), ("infer.error", 2 + 3 + 3)] {
        assert_eq!(count(&entries, kind), wanted, "{kind}");
    }
}

/// How many keys the broker has released.
fn releases(served: &Served) -> usize {
    count(&served.stand.broker.entries().unwrap(), "key.release")
}

#[test]
fn case_44_a_worker_that_keeps_dying_stays_down_and_the_rest_goes_on() {
    let _turn = alone();
    let mut served = Served::both();
    assert_eq!(releases(&served), 2);
    for crash in 1..=5 {
        kill_process(served.worker(CHAT), Signal::KILL).unwrap();
        if crash < 5 {
            let told = served.guest.next_stage("restarted", SOON).unwrap();
            assert_eq!((&told["model"], &told["count"]), (&CHAT.into(), &crash.into()));
        }
    }
    until("the end of the restarts", SOON, || {
        let entries = served.guest.entries().unwrap();
        entries.iter().any(|entry| entry["code"] == "worker_crash_loop").then_some(())
    });
    assert!(served.guest.next_stage("worker", LONGEST_PAUSE).is_err(), "it was started a sixth time");

    let refused = served.post("/v1/chat/completions", &chat("hello"));
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (503, "model_not_ready"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(served.get("/readyz").status, 503);
    assert_eq!(served.get("/health").status, 200);
    assert_eq!(served.post("/v1/embeddings", &embedding()).status, 200);
    let again = wait(Caller::verify(&served.guest, &served.stand.measurement)).unwrap();
    let models: Vec<_> = again.server.state().models.iter().map(|model| model.id.clone()).collect();
    assert_eq!(models, [EMBEDDING]);
    // The keeper has the key as long as its lease; no crash asks the broker for it again.
    assert_eq!(releases(&served), 2);
    let entries = served.stop();
    assert_eq!((count(&entries, "component.crash"), count(&entries, "component.restart")), (5, 4));
    assert_eq!(entries.last().unwrap()["type"], "log.close");
}

/// Whether the log has an entry of this kind that ended so.
fn logged(served: &Served, kind: &str, outcome: &str) -> bool {
    let entries = served.guest.entries().unwrap();
    entries.iter().any(|entry| entry["type"] == kind && entry["out"] == outcome)
}

#[test]
fn case_44_a_restart_that_fails_is_logged_as_one_and_is_tried_again() {
    let _turn = alone();
    let mut served = Served::chat();
    let package = served.stand.path().join("owner").join(format!("{CHAT}-v1"));
    let away = package.with_extension("away");
    std::fs::rename(package.join("card.sealed"), &away).unwrap();
    kill_process(served.worker(CHAT), Signal::KILL).unwrap();
    until("a restart that failed", SOON, || logged(&served, "component.restart", "failure").then_some(()));
    assert!(!logged(&served, "component.restart", "success"));
    std::fs::rename(&away, package.join("card.sealed")).unwrap();
    served.guest.next_stage("restarted", SOON).unwrap();
    check_answers(&served, "/v1/chat/completions", &chat("What is Anchorhold?"));
    assert!(logged(&served, "component.restart", "success"));
}

#[test]
fn a_guest_whose_gateway_died_does_not_log_that_it_ended_well() {
    let _turn = alone();
    let served = Served::chat();
    let gateway = rustix::process::Pid::from_raw(served.guest.gateway_pid().unwrap()).unwrap();
    kill_process(gateway, Signal::KILL).unwrap();
    until("the end of the log", SOON, || {
        (served.guest.entries().unwrap().last()?["type"] == "log.close").then_some(())
    });
    assert!(logged(&served, "component.crash", "failure") && logged(&served, "boot.stop", "failure"));
    assert!(!logged(&served, "boot.stop", "success"));
}
