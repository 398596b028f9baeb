//! Callers who leave in the middle of an answer.

use crate::support::{SOON, Served, alone, chat, code, count, long, until, wait};
use anchorhold_e2e::models::CHAT;
use std::time::{Duration, Instant};

/// Within which what a caller held is free again.
const FREED_WITHIN: Duration = Duration::from_secs(1);
/// Requests that one key may have under way (the gateway's default).
const MOST_OF_A_TENANT: usize = 32;

/// Waits until nothing is under way and the log has `left` callers who left.
fn check_freed(served: &Served, since: Instant, left: usize) {
    let rest = || FREED_WITHIN.saturating_sub(since.elapsed());
    until("nothing under way", rest(), || (served.in_flight() == 0).then_some(()));
    until("the log tells that they left", rest(), || {
        (count(&served.guest.entries().unwrap(), "infer.cancel") == left).then_some(())
    });
}

#[test]
fn case_45_who_leaves_a_stream_frees_its_slot() {
    let _turn = alone();
    let served = Served::chat();
    let stream = served.begin_stream(&long("Tell me everything."));
    assert_eq!(served.in_flight(), 1);
    let since = Instant::now();
    drop(stream);
    check_freed(&served, since, 1);
    let entries = served.stop();
    let cancelled = entries.iter().find(|entry| entry["type"] == "infer.cancel").unwrap();
    assert_eq!((&cancelled["out"], &cancelled["req"]["stream"]), (&"cancelled".into(), &true.into()));
    assert_eq!(cancelled["actor"]["tenant"], "demo");
}

/// Even when the worker says nothing more, the gateway notices that nobody listens.
#[test]
fn case_45_who_leaves_a_worker_that_hangs_frees_its_slot() {
    let _turn = alone();
    let served = Served::chat();
    let stream = served.begin_stream(&long("Tell me everything."));
    let paused = served.pause_worker(CHAT);
    assert_eq!(served.in_flight(), 1);
    let since = Instant::now();
    drop(stream);
    check_freed(&served, since, 1);
    drop(paused);
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
}

#[test]
fn case_45_a_key_with_all_its_requests_under_way_may_ask_again_when_they_have_left() {
    let _turn = alone();
    let served = Served::chat();
    let paused = served.pause_worker(CHAT);
    let callers: Vec<_> = (0..MOST_OF_A_TENANT)
        .map(|_| {
            let caller =
                wait(anchorhold_e2e::client::Caller::verify(&served.guest, &served.stand.measurement));
            let caller = caller.unwrap();
            crate::support::aside(async move { caller.post("/v1/chat/completions", &chat("hello")).await })
        })
        .collect();
    let all = u64::try_from(MOST_OF_A_TENANT).unwrap();
    until("all are under way", SOON, || (served.in_flight() == all).then_some(()));
    let refused = served.post("/v1/chat/completions", &chat("one more"));
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (429, "rate_limit_exceeded"));
    let since = Instant::now();
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    check_freed(&served, since, MOST_OF_A_TENANT);
    drop(paused);
    assert_eq!(served.post("/v1/chat/completions", &chat("one more")).status, 200);
}
