//! A model that generates.

use crate::rig::{Rig, TENANCY, generate, text, with};
use crate::toy::{BLOCK, SCRIPT, recital, reciter};
use anchorhold_engine::{ChatMessage, FinishReason, GenerationLimits, Prompt, RequestId, Structure};
use anchorhold_ipc::{Event, RejectReason, RequestError, StructureFault, TokenField, ToldToken, WorkKind};
use anchorhold_worker::{Exit, Limits};
use std::sync::atomic::Ordering;

fn chat(role: &str, content: &str) -> Prompt {
    Prompt::Chat(vec![ChatMessage::text(role, content)].into())
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
    rig.submit(2, with(generate(text("xyz"), 9, &[]), |asked| asked.stop.ignore_eos = true));
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
    let one = || generate(text("a"), 1, &[]);
    let structure = |structure| with(one(), |asked| *asked.structure = Some(Box::new(structure)));
    let cases = [
        (generate(text(""), 1, &[]), RejectReason::EmptyPrompt),
        (generate(text("123456789"), 1, &[]), RejectReason::ContextLength { tokens: 10, limit: 8 }),
        (generate(text("12345"), 4, &[]), RejectReason::ContextLength { tokens: 9, limit: 8 }),
        (generate(Prompt::Tokens(vec![257]), 1, &[]), RejectReason::UnknownToken(TokenField::Prompt)),
        (
            with(one(), |asked| asked.sampling.logit_bias = vec![(257, 1.0)]),
            RejectReason::UnknownToken(TokenField::LogitBias),
        ),
        (
            with(one(), |asked| asked.stop.stop_tokens = vec![257]),
            RejectReason::UnknownToken(TokenField::StopTokens),
        ),
        (with(one(), |asked| *asked.choices = 17), RejectReason::TooMany),
        (with(one(), |asked| *asked.logprobs = Some(21)), RejectReason::TooMany),
        (structure(Structure::Regex("(".into())), RejectReason::Structure(StructureFault::Malformed)),
        (
            structure(Structure::JsonSchema("{}".into())),
            RejectReason::Structure(StructureFault::Unsatisfiable),
        ),
        (WorkKind::Embed { tenancy: TENANCY, inputs: vec![text("a")] }, RejectReason::WrongKind),
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

/// Such as a GPU that is lost: whoever restarts workers finds out by the end of the process.
#[test]
fn a_model_that_computes_nothing_any_more_ends_the_worker() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    watch.ends.store(true, Ordering::SeqCst);
    rig.submit(1, generate(text("x"), 5, &[]));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(1), error: RequestError::Internal });
    assert_eq!(rig.exit(), Exit::Ended);
    assert!(watch.dropped.load(Ordering::SeqCst));
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
            Event::Delta { id, text, .. } => texts[id.0 as usize] += &text,
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

/// The bytes of told tokens, together.
fn spelled(told: &[ToldToken]) -> Vec<u8> {
    told.iter().flat_map(|told| told.token.bytes.clone()).collect()
}

#[test]
fn tells_of_every_token_of_the_text_and_of_no_other() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let told = |kind| with(kind, |asked| *asked.logprobs = Some(2));
    rig.submit(1, told(generate(text("xy"), 60, &[])));
    let answer = rig.read_generation();
    assert_eq!(spelled(&answer.told), answer.deltas.concat().into_bytes());
    assert_eq!(answer.told.len(), 60, "a token that is part of a character too");
    for told in &answer.told {
        // One logit of 1 among 257, the others 0.
        let wanted = (1f32.exp() / (1f32.exp() + 256.0)).ln();
        assert!((told.token.logprob - wanted).abs() < 1e-5, "{told:?}");
        assert_eq!((told.top.len(), told.top[0].bytes == told.token.bytes), (2, true));
        assert!(told.top[1].logprob < told.top[0].logprob);
    }
    rig.submit(2, told(generate(text("x"), 200, &["never", "STOP and"])));
    let answer = rig.read_generation();
    assert_eq!(answer.deltas.concat(), " naïve 🦀 says ");
    assert_eq!(spelled(&answer.told), answer.deltas.concat().into_bytes(), "nothing of the stop text");
    let crab = SCRIPT.find('🦀').unwrap();
    rig.submit(3, told(generate(Prompt::Tokens(vec![1; crab]), 2, &[])));
    let answer = rig.read_generation();
    assert_eq!(answer.deltas.concat(), "\u{FFFD}");
    assert_eq!(spelled(&answer.told), "🦀".as_bytes()[..2], "the bytes that the text cannot show");
}

#[test]
fn a_token_that_ends_the_text_is_not_told_of() {
    let (model, _) = reciter(256, Some(8));
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, with(generate(text("xyz"), 100, &[]), |asked| *asked.logprobs = Some(0)));
    let answer = rig.read_generation();
    assert_eq!((answer.told.len(), answer.tokens_out), (5, 6));
    assert!(answer.told.iter().all(|told| told.top.is_empty()));
}

/// The text and the end of each choice of request 1, alone on the line.
fn read_choices(rig: &mut Rig, count: usize) -> Vec<(String, Option<FinishReason>)> {
    let mut choices = vec![(String::new(), None); count];
    while choices.iter().any(|choice| choice.1.is_none()) {
        match rig.event() {
            Event::Delta { id: RequestId(1), choice, text, .. } => choices[usize::from(choice)].0 += &text,
            Event::Finished { id: RequestId(1), choice, reason, tokens_in: 2, .. } => {
                assert_eq!(choices[usize::from(choice)].1.replace(reason), None, "ended twice");
            }
            other => panic!("{other:?}"),
        }
    }
    choices
}

#[test]
fn choices_of_one_request_are_told_apart_and_end_each_for_itself() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let hot = |kind| {
        with(kind, |asked| {
            *asked.choices = 4;
            (asked.sampling.temperature, asked.sampling.seed) = (2.0, 5);
            asked.sampling.top_k = 3;
        })
    };
    rig.submit(1, hot(generate(text("xy"), 40, &[" "])));
    let together = read_choices(&mut rig, 4);
    assert!(together.iter().any(|choice| *choice != together[0]), "{together:?}");
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
    rig.submit(1, hot(generate(text("xy"), 40, &[" "])));
    assert_eq!(read_choices(&mut rig, 4), together, "the same seed gives the same texts");
}

#[test]
fn a_cancelled_request_ends_all_its_choices() {
    let (model, watch) = reciter(1_000_000, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, with(generate(text("x"), 0, &[]), |asked| *asked.choices = 3));
    while !matches!(rig.event(), Event::Delta { choice: 2, .. }) {}
    rig.cancel(1);
    rig.submit(2, generate(text("x"), 20, &[]));
    let second = |event: &Event| matches!(event, Event::Finished { id: RequestId(2), .. });
    while !second(&rig.event()) {}
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}

#[test]
fn a_failing_model_fails_a_request_of_several_choices_once() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    watch.breaks.store(true, Ordering::SeqCst);
    rig.submit(1, with(generate(text("x"), 5, &[]), |asked| *asked.choices = 3));
    assert_eq!(rig.event(), Event::Failed { id: RequestId(1), error: RequestError::Internal });
    rig.submit(2, generate(text("x"), 5, &[]));
    assert_eq!(rig.read_generation().tokens_out, 5, "and no second word about the first");
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}

#[test]
fn a_text_keeps_to_its_form_whatever_the_model_would_say() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let form = || Some(Box::new(Structure::Choice(vec!["yes".into(), "no".into(), "naïve".into()])));
    let asked = |most: u32, stop: &[&str]| {
        with(generate(Prompt::Tokens(vec![1]), most, stop), |asked| {
            *asked.structure = form();
            asked.sampling.logit_bias = vec![(u32::from(b'z'), 100.0), (u32::from(b'y'), 50.0)];
            asked.stop.ignore_eos = true;
        })
    };
    rig.submit(1, asked(50, &[]));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.concat().as_str(), answer.reason), ("yes", FinishReason::Stop));
    rig.submit(2, asked(2, &[]));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.concat().as_str(), answer.reason), ("ye", FinishReason::Length));
    rig.submit(3, asked(50, &["s"]));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.concat().as_str(), answer.reason), ("ye", FinishReason::Stop));
}

#[test]
fn forms_of_one_tenant_take_no_more_memory_than_its_part() {
    let (model, _) = reciter(1_000_000, None);
    let generation = GenerationLimits { running: 1, ..GenerationLimits::default() };
    let mut rig = Rig::serving(model, Limits { generation, form_bytes: 100, ..Limits::default() });
    let asked = |choices: u16| {
        with(generate(text("go"), 1, &[]), |asked| {
            *asked.structure = Some(Box::new(Structure::Choice(vec!["ten bytes!".into()])));
            *asked.choices = choices;
        })
    };
    rig.submit(1, generate(text("go"), 0, &[]));
    assert!(matches!(rig.event(), Event::Delta { .. }), "the first runs, and all others wait");
    rig.submit(2, asked(3));
    rig.submit(3, asked(2));
    rig.submit(4, asked(1));
    let overloaded = Event::Failed { id: RequestId(4), error: RequestError::Overloaded };
    while rig.event() != overloaded {}
    rig.cancel(1);
    let ended = |event: &Event| matches!(event, Event::Finished { id: RequestId(2 | 3), .. });
    assert_eq!(std::iter::from_fn(|| Some(rig.event())).filter(ended).take(5).count(), 5);
    rig.submit(5, asked(5));
    let finished = |event: &Event| matches!(event, Event::Finished { id: RequestId(5), .. });
    assert_eq!(
        std::iter::from_fn(|| Some(rig.event())).filter(finished).take(5).count(),
        5,
        "all was given back"
    );
}

#[test]
fn a_form_that_gives_up_rejects_its_request_only() {
    let (model, watch) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let form = Some(Box::new(Structure::JsonObject));
    rig.submit(1, with(generate(text("x"), 5, &[]), |asked| (*asked.structure, *asked.choices) = (form, 2)));
    assert_eq!(rig.event(), rejected(1, RejectReason::Structure(StructureFault::TooComplex)));
    rig.submit(2, generate(text("x"), 5, &[]));
    assert_eq!(rig.read_generation().tokens_out, 5);
    assert!(watch.open.lock().unwrap().is_empty(), "freed");
}

#[test]
fn stop_tokens_end_the_text_and_are_part_of_it() {
    let (model, _) = reciter(256, None);
    let mut rig = Rig::serving(model, Limits::default());
    let stopping = |least| {
        with(generate(text("x"), 60, &[]), |asked| {
            asked.stop.stop_tokens = vec![u32::from(b'v'), u32::from(b'O')];
            asked.stop.min_tokens = least;
        })
    };
    rig.submit(1, stopping(0));
    let answer = rig.read_generation();
    assert_eq!((answer.deltas.concat().as_str(), answer.reason), (" naïv", FinishReason::Stop));
    rig.submit(2, stopping(10));
    let answer = rig.read_generation();
    assert!(answer.deltas.concat().len() > 10 && answer.deltas.concat().ends_with('O'), "{answer:?}");
}
