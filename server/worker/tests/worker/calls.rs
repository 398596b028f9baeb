//! A model that may call tools.

use crate::rig::{Rig, generate};
use crate::toy::{VOCABULARY, reciter};
use anchorhold_engine::{
    Calling, ChatMessage, Conversation, FinishReason, Prompt, RequestId, Structure, Tool,
};
use anchorhold_ipc::{CallPart, Event, RejectReason, RequestError, StructureFault, ToolFault, WorkKind};
use anchorhold_worker::Limits;

/// Answers with `answer`; `name` may be called.
fn asked(name: &str, answer: &str, once: bool) -> Prompt {
    Prompt::Chat(Conversation {
        messages: vec![ChatMessage::text("user", "x")],
        tools: vec![Tool { name: name.into(), json: answer.into(), strict: true }],
        calling: Calling { once, ..Calling::default() },
    })
}

/// All events of one request, deltas of one kind put together.
fn events(prompt: Prompt, most: u32, stop: &[&str]) -> (String, Vec<(String, String)>, Event) {
    let mut rig = Rig::serving(reciter(VOCABULARY, None).0, Limits::default());
    rig.submit(1, generate(prompt, most, stop));
    let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
    loop {
        match rig.event() {
            Event::Delta { text: more, .. } => text += &more,
            Event::Call { part: CallPart::Begin(name), .. } => calls.push((name, String::new())),
            Event::Call { part: CallPart::Arguments(more), .. } => calls.last_mut().unwrap().1 += &more,
            last => return (text, calls, last),
        }
    }
}

const ANSWER: &str = "I look. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"\u{1f980}\"}}\n</tool_call>\n<tool_call>{\"name\": \"f\"}</tool_call>";

fn call(arguments: &str) -> (String, String) {
    ("f".to_owned(), arguments.to_owned())
}

fn reason(event: &Event) -> FinishReason {
    let Event::Finished { reason, .. } = event else { panic!("{event:?}") };
    *reason
}

#[test]
fn calls_are_told_from_text() {
    let (text, calls, last) = events(asked("f", ANSWER, false), 0, &[]);
    assert_eq!((text.as_str(), calls), ("I look.", vec![call("{\"x\": \"\u{1f980}\"}"), call("{}")]));
    assert_eq!(reason(&last), FinishReason::Stop);
}

#[test]
fn a_text_ends_with_the_one_call_that_it_may_make() {
    let (_, calls, last) = events(asked("f", ANSWER, true), 0, &[]);
    assert_eq!(calls, [call("{\"x\": \"\u{1f980}\"}")]);
    let Event::Finished { reason, tokens_out, .. } = last else { panic!("{last:?}") };
    let end = ANSWER.find("}\n</tool_call>").unwrap() + 1;
    assert_eq!((reason, tokens_out), (FinishReason::Stop, end as u64));
}

#[test]
fn what_was_held_back_leaves_at_the_end() {
    let (text, calls, last) = events(asked("f", ANSWER, false), 19, &[]);
    assert_eq!((text.as_str(), calls.len(), reason(&last)), (&ANSWER[..19], 0, FinishReason::Length));
    let (text, calls, last) = events(asked("f", ANSWER, false), 0, &["\"name\""]);
    assert_eq!(
        (text.as_str(), calls.len(), reason(&last)),
        ("I look. <tool_call>\n{", 0, FinishReason::Stop)
    );
    let (_, calls, last) = events(asked("f", ANSWER, false), 52, &[]);
    assert_eq!((calls, reason(&last)), (vec![call(&ANSWER[47..52])], FinishReason::Length));
}

#[test]
fn a_tool_that_is_not_offered_is_text() {
    let (text, calls, _) = events(asked("g", ANSWER, false), 0, &[]);
    assert_eq!((text.as_str(), calls.len()), (ANSWER, 0));
}

#[test]
fn refuses_tools_that_the_model_cannot_call_and_two_forms() {
    let rejected = |event: Event, wanted: RejectReason| {
        assert_eq!(event, Event::Failed { id: RequestId(1), error: RequestError::Rejected(wanted) });
    };
    let (_, _, last) = events(asked("none", ANSWER, false), 0, &[]);
    rejected(last, RejectReason::Tools(ToolFault::NotOffered));
    let mut rig = Rig::serving(reciter(VOCABULARY, None).0, Limits::default());
    let mut kind = generate(asked("f", ANSWER, false), 0, &[]);
    if let WorkKind::Generate { structure, .. } = &mut kind {
        *structure = Some(Box::new(Structure::Choice(vec!["a".into()])));
    }
    rig.submit(1, kind);
    rejected(rig.event(), RejectReason::Structure(StructureFault::Malformed));
}
