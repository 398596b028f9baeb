//! A model that generates.

use crate::rig::{Rig, generate, text};
use crate::toy::{BLOCK, SCRIPT, recital, reciter};
use anchorhold_engine::{ChatMessage, FinishReason, GenerationLimits, Prompt, RequestId};
use anchorhold_ipc::{Event, RejectReason, RequestError, WorkKind};
use anchorhold_worker::Limits;
use std::sync::atomic::Ordering;

fn chat(role: &str, content: &str) -> Prompt {
    Prompt::Chat(vec![ChatMessage { role: role.into(), content: content.into() }])
}

fn rejected(id: u64, reason: RejectReason) -> Event {
    Event::Failed { id: RequestId(id), error: RequestError::Rejected(reason) }
}

#[test]
fn streams_whole_characters() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("xy"), 60, &[]));
    let answer = rig.read_generation();
    assert_eq!(answer.deltas.concat().into_bytes(), recital(2, 60));
    // 60 bytes with one character of two and one of four bytes in each round of the script.
    assert!(answer.deltas.iter().all(|delta| delta.chars().count() == 1), "{:?}", answer.deltas);
    assert_eq!((answer.reason, answer.tokens_in, answer.tokens_out), (FinishReason::Length, 2, 60));
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}

#[test]
fn a_character_that_stays_incomplete_ends_as_a_replacement() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let crab = SCRIPT.find('🦀').unwrap();
    rig.submit(1, generate(Prompt::Tokens(vec![1; crab]), 2, &[]));
    assert_eq!(rig.read_generation().deltas.concat(), "\u{FFFD}");
}

#[test]
fn no_character_of_a_stop_text_leaves() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("x"), 200, &["never", "STOP and"]));
    let answer = rig.read_generation();
    assert_eq!(answer.deltas.concat(), " naïve 🦀 says ");
    let read = SCRIPT.find("STOP and").unwrap() + "STOP and".len() - 1;
    assert_eq!((answer.reason, answer.tokens_out), (FinishReason::Stop, read as u64));
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}

#[test]
fn text_held_back_for_a_stop_leaves_when_the_stop_does_not_come() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let start = SCRIPT.find("STOP").unwrap();
    rig.submit(1, generate(Prompt::Tokens(vec![1; start]), 3, &["STOP"]));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.concat().as_str(), answer.reason), ("STO", FinishReason::Length));
    rig.submit(2, generate(Prompt::Tokens(vec![1; start]), 4, &["STOP"]));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.len(), answer.reason), (0, FinishReason::Stop));
}

#[test]
fn the_end_of_sequence_ends_and_is_not_text() {
    let (model, _) = reciter(256, Some(8));
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("xyz"), 100, &["na"]));
    let answer = rig.read_generation();
    assert_eq!(answer.deltas.concat().into_bytes(), recital(3, 5));
    assert_eq!((answer.reason, answer.tokens_out), (FinishReason::Stop, 6));
    let mut on = generate(text("xyz"), 9, &[]);
    if let WorkKind::Generate { stop, .. } = &mut on {
        stop.ignore_eos = true;
    }
    rig.submit(2, on);
    let answer = rig.read_generation();
    assert_eq!((answer.reason, answer.tokens_out), (FinishReason::Length, 9));
}

#[test]
fn conversations_go_through_the_template() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(chat("user", "hi"), 1, &[]));
    assert_eq!(rig.read_generation().tokens_in, "user: hi\n".len() as u64);
    rig.submit(2, generate(chat("stranger", "hi"), 1, &[]));
    assert_eq!(rig.event(), rejected(2, RejectReason::Template));
}

#[test]
fn a_cancelled_request_is_freed_and_silent() {
    let (model, watch) = reciter(1_000_000, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("go"), 0, &[]));
    while watch.open.lock().unwrap().len() < 8 {
        assert!(matches!(rig.event(), Event::Delta { .. }));
    }
    rig.cancel(1);
    rig.cancel(77);
    rig.submit(2, generate(text("x"), 40, &[]));
    let events: Vec<Event> =
        std::iter::from_fn(|| Some(rig.event())).skip_while(|event| of(event) == 1).take(20).collect();
    assert!(events.iter().all(|event| of(event) == 2), "{events:?}");
    assert!(watch.open.lock().unwrap().len() <= 41_usize.div_ceil(BLOCK), "only the second has blocks");
}

fn of(event: &Event) -> u64 {
    match event {
        Event::Delta { id, .. } | Event::Finished { id, .. } => id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_does_not_fit_is_told_to_come_back() {
    let (model, _) = reciter(1_000_000, None);
    let generation = GenerationLimits { running: 1, waiting: 1, ..GenerationLimits::default() };
    let mut rig = Rig::serving(model, Limits { generation, ..Limits::default() });
    rig.submit(1, generate(text("go"), 0, &[]));
    assert!(matches!(rig.event(), Event::Delta { .. }), "the first runs");
    rig.submit(2, generate(text("x"), 2, &[]));
    rig.submit(3, generate(text("x"), 1, &[]));
    let overloaded = Event::Failed { id: RequestId(3), error: RequestError::Overloaded };
    while rig.event() != overloaded {}
    rig.cancel(1);
    let second = |event: &Event| matches!(event, Event::Finished { id: RequestId(2), .. });
    assert!(std::iter::from_fn(|| Some(rig.event())).any(|event| second(&event)), "the second is served");
}

#[test]
fn who_is_late_is_told_so_and_frees_its_blocks() {
    let (model, watch) = reciter(1_000_000, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit_within(100, 1, generate(text("go"), 0, &[]));
    let late = |id| Event::Failed { id: RequestId(id), error: RequestError::Late };
    assert!(std::iter::from_fn(|| Some(rig.event())).any(|event| event == late(1)));
    rig.submit_within(0, 2, generate(text("x"), 2, &[]));
    assert_eq!(rig.event(), late(2));
    rig.submit(3, generate(text("x"), 2, &[]));
    assert_eq!(rig.read_generation().tokens_out, 2);
    assert!(watch.open.lock().unwrap().is_empty());
}

#[test]
fn refuses_what_the_model_can_never_answer() {
    let (model, watch) = reciter(8, None);
    let mut rig = Rig::serving(model, Limits::default());
    let mut unknown_bias = generate(text("a"), 1, &[]);
    if let WorkKind::Generate { sampling, .. } = &mut unknown_bias {
        sampling.logit_bias = vec![(257, 1.0)];
    }
    let cases = [
        (generate(text(""), 1, &[]), RejectReason::EmptyPrompt),
        (generate(text("123456789"), 1, &[]), RejectReason::ContextLength { tokens: 10, limit: 8 }),
        (generate(text("12345"), 4, &[]), RejectReason::ContextLength { tokens: 9, limit: 8 }),
        (generate(Prompt::Tokens(vec![257]), 1, &[]), RejectReason::UnknownToken),
        (unknown_bias, RejectReason::UnknownToken),
        (WorkKind::Embed { inputs: vec![text("a")] }, RejectReason::WrongKind),
    ];
    for (id, (work, reason)) in (0..).zip(cases) {
        rig.submit(id, work);
        assert_eq!(rig.event(), rejected(id, reason));
    }
    let before = watch.encoded.load(Ordering::SeqCst);
    rig.submit(9, generate(chat("user", &"x".repeat(8 * 256 + 1)), 1, &[]));
    assert_eq!(rig.event(), rejected(9, RejectReason::ContextLength { tokens: 9, limit: 8 }));
    assert_eq!(watch.encoded.load(Ordering::SeqCst), before, "text that can never fit is not tokenized");
}

#[test]
fn a_failing_model_fails_its_step_and_goes_on() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    watch.breaks.store(true, Ordering::SeqCst);
    rig.submit(1, generate(text("x"), 5, &[]));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(1), error: RequestError::Internal });
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
    rig.submit(2, generate(text("x"), 5, &[]));
    assert_eq!(rig.read_generation().tokens_out, 5);
}

#[test]
fn many_at_once_get_what_each_would_get_alone() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    for id in 1..=40 {
        rig.submit(id, generate(Prompt::Tokens(vec![1; id as usize]), 50, &[]));
    }
    let mut texts = vec![String::new(); 41];
    let mut finished = 0;
    while finished < 40 {
        match rig.event() {
            Event::Delta { id, text } => texts[id.0 as usize] += &text,
            Event::Finished { .. } => finished += 1,
            other => panic!("{other:?}"),
        }
    }
    for (id, text) in texts.iter().enumerate().skip(1) {
        let wanted = recital(id, 50);
        assert_eq!(*text, String::from_utf8_lossy(&wanted), "request {id}");
    }
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}
