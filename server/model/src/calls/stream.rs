//! An answer as it comes, in which calls are told from text.

use super::CallSyntax;
use super::object::{Broken, CallObject};

/// The most bytes of a call before it is known which tool it calls, and of white space that is waited with.
const MAX_HELD: usize = 16 << 10;
/// The most calls of one answer; further ones are text.
const MAX_CALLS: usize = 128;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Text.
    Text(String),
    /// A call of the tool of this name begins.
    Call(String),
    /// More of the arguments of the call that began last.
    Arguments(String),
}

/// Reads an answer in pieces of any length.
///
/// A call is told of when its tool is known to be one of those offered and its arguments begin, which are told as they come. What is no
/// call is text, with all that was held back for it; so is a call that breaks off before its arguments. One that breaks off later ends
/// where it does. White space before a call, and after the last one, is left out.
///
/// The parts do not depend on how the answer is cut, except where one text or one call's arguments are cut in parts.
#[derive(Debug, Clone)]
pub struct CallStream {
    syntax: CallSyntax,
    names: Vec<String>,
    once: bool,
    state: State,
    /// What is neither text nor a call yet.
    held: String,
    calls: usize,
}

#[derive(Debug, Clone)]
enum State {
    /// In text, of which `held` may become white space before a call and its opening.
    Text,
    /// In text that holds no calls.
    Plain,
    /// After the opening, before the first object.
    Opened { in_list: bool },
    /// In a call's object. `began`: it was told of.
    Object { object: Box<CallObject>, began: bool },
    /// After an object.
    Closing,
    /// Nothing more is said.
    Over,
}

impl CallStream {
    /// For an answer in this syntax that may call these tools, once or any number of times.
    #[must_use]
    pub fn new(syntax: CallSyntax, names: Vec<String>, once: bool) -> Self {
        let once = once || syntax.calls_once();
        Self { syntax, names, once, state: State::Text, held: String::new(), calls: 0 }
    }

    /// Takes a piece of the answer.
    pub fn push(&mut self, text: &str) -> Vec<Said> {
        let mut said = Vec::new();
        for character in text.chars() {
            self.take(character, &mut said);
        }
        said
    }

    /// Whether the answer is over, since it has as many calls as it may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// What was held back, when nothing more comes.
    #[must_use]
    pub fn finish(mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let is_text = match self.state {
            State::Text | State::Plain => self.calls == 0 || !self.held.trim().is_empty(),
            State::Opened { .. } | State::Object { began: false, .. } => true,
            State::Object { began: true, .. } | State::Closing | State::Over => false,
        };
        if is_text {
            self.release(&mut said);
        }
        said
    }

    fn take(&mut self, character: char, said: &mut Vec<Said>) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Over => self.state = State::Over,
            State::Plain => {
                self.state = State::Plain;
                text(&[character], said);
            }
            State::Text => self.take_text(character, said),
            State::Opened { in_list } => self.take_opened(in_list, character, said),
            State::Object { object, began } => self.take_object(object, began, character, said),
            State::Closing => self.take_closing(character, said),
        }
    }

    /// In text, or white space before it.
    fn take_text(&mut self, character: char, said: &mut Vec<Said>) {
        let begun = self.held.trim_start().len();
        let Some(opening) = self.syntax.opening().filter(|_| self.calls < MAX_CALLS) else {
            // Without an opening, a call is the whole answer.
            self.held.push(character);
            match character {
                '{' if self.calls == 0 => {
                    self.held.pop();
                    self.begin_object(character, said);
                }
                space if space.is_whitespace() && self.held.len() <= MAX_HELD => {}
                _ => {
                    self.release(said);
                    self.state = State::Plain;
                }
            }
            return;
        };
        if opening.get(begun..).is_some_and(|rest| rest.starts_with(character)) {
            self.held.push(character);
            if begun + character.len_utf8() == opening.len() {
                self.state = State::Opened { in_list: false };
            }
        } else if begun == 0 && character.is_whitespace() && self.held.len() < MAX_HELD {
            self.held.push(character);
        } else if self.held.is_empty() {
            text(&[character], said);
        } else {
            // No other character of an opening is its first.
            self.release(said);
            self.take_text(character, said);
        }
    }

    fn take_opened(&mut self, in_list: bool, character: char, said: &mut Vec<Said>) {
        let wants_list = self.syntax == CallSyntax::Mistral && !in_list;
        match character {
            '{' if !wants_list => self.begin_object(character, said),
            '[' if wants_list => {
                self.held.push(character);
                self.state = State::Opened { in_list: true };
            }
            space if space.is_whitespace() && self.held.len() < MAX_HELD => {
                self.held.push(character);
                self.state = State::Opened { in_list };
            }
            _ => self.give_up(character, said),
        }
    }

    fn begin_object(&mut self, character: char, said: &mut Vec<Said>) {
        let object = Box::new(CallObject::new());
        self.take_object(object, false, character, said);
    }

    fn take_object(
        &mut self,
        mut object: Box<CallObject>,
        mut began: bool,
        character: char,
        said: &mut Vec<Said>,
    ) {
        let pushed = object.push(character).and_then(|()| {
            if began {
                return Ok(());
            }
            self.held.push(character);
            match &object.name {
                Some(name) if !self.names.contains(name) => {
                    self.held.pop();
                    Err(Broken)
                }
                Some(name) if object.has_arguments || object.is_whole => {
                    said.push(Said::Call(name.clone()));
                    self.held.clear();
                    self.calls += 1;
                    began = true;
                    Ok(())
                }
                _ if !object.is_whole && self.held.len() <= MAX_HELD => Ok(()),
                _ => {
                    self.held.pop();
                    Err(Broken)
                }
            }
        });
        if pushed.is_err() {
            return if began { self.resume(character, said) } else { self.give_up(character, said) };
        }
        if began {
            arguments(&std::mem::take(&mut object.waiting), said);
        }
        if !object.is_whole {
            self.state = State::Object { object, began };
            return;
        }
        if !object.has_arguments {
            arguments("{}", said);
        }
        self.state = if self.once { State::Over } else { State::Closing };
    }

    /// After a call: what ends it, another, or text.
    fn take_closing(&mut self, character: char, said: &mut Vec<Said>) {
        let begun = self.held.trim_start().len();
        let closing = self.syntax.closing().unwrap_or("]");
        if self.syntax == CallSyntax::Mistral && character == ',' && self.calls < MAX_CALLS {
            self.held.clear();
            self.held.push(character);
            self.state = State::Opened { in_list: true };
        } else if closing.get(begun..).is_some_and(|rest| rest.starts_with(character)) {
            self.held.push(character);
            self.state = State::Closing;
            if begun + character.len_utf8() == closing.len() {
                self.held.clear();
                self.state = State::Text;
            }
        } else if begun == 0 && character.is_whitespace() && self.held.len() < MAX_HELD {
            self.held.push(character);
            self.state = State::Closing;
        } else {
            self.give_up(character, said);
        }
    }

    /// What is held is text, and this character may be.
    fn give_up(&mut self, character: char, said: &mut Vec<Said>) {
        self.release(said);
        self.resume(character, said);
    }

    /// On with text, after a call or what was none.
    fn resume(&mut self, character: char, said: &mut Vec<Said>) {
        self.state = if self.syntax.opening().is_some() { State::Text } else { State::Plain };
        self.take(character, said);
    }

    fn release(&mut self, said: &mut Vec<Said>) {
        let held = std::mem::take(&mut self.held);
        let held: Vec<char> = held.chars().collect();
        text(&held, said);
    }
}

/// Says this text, with the one before it where there is one.
fn text(more: &[char], said: &mut Vec<Said>) {
    if let Some(Said::Text(last)) = said.last_mut() {
        last.extend(more);
    } else if !more.is_empty() {
        said.push(Said::Text(more.iter().collect()));
    }
}

fn arguments(more: &str, said: &mut Vec<Said>) {
    if let Some(Said::Arguments(last)) = said.last_mut() {
        last.push_str(more);
    } else if !more.is_empty() {
        said.push(Said::Arguments(more.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(syntax: CallSyntax, once: bool) -> CallStream {
        CallStream::new(syntax, vec!["f".to_owned(), "get_weather".to_owned()], once)
    }

    /// All of it in these pieces, parts of one kind put together.
    fn read<'a>(mut stream: CallStream, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Said> {
        let mut all: Vec<Said> = pieces.into_iter().flat_map(|piece| stream.push(piece)).collect();
        all.extend(stream.finish());
        let mut said: Vec<Said> = Vec::new();
        for part in all {
            match (said.last_mut(), &part) {
                (Some(Said::Text(last)), Said::Text(more))
                | (Some(Said::Arguments(last)), Said::Arguments(more)) => last.push_str(more),
                _ => said.push(part),
            }
        }
        said
    }

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    fn call(name: &str, arguments: &str) -> [Said; 2] {
        [Said::Call(name.to_owned()), Said::Arguments(arguments.to_owned())]
    }

    fn check(syntax: CallSyntax, answer: &str, wanted: &[&[Said]]) {
        assert_eq!(read(stream(syntax, false), [answer]), wanted.concat(), "{answer:?}");
    }

    #[test]
    fn reads_the_calls_of_each_syntax() {
        use CallSyntax::{Hermes, Llama, Mistral};
        let nested = r#"{"a": [1, -2.5e3, {"b": "}]\" 🦀"}], "c": null}"#;
        let one = format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {nested}}}\n</tool_call>");
        check(Hermes, &one, &[&call("f", nested)]);
        check(
            Hermes,
            &format!("I look.\n{one}\n{one}\n"),
            &[&[text("I look.")], &call("f", nested), &call("f", nested)],
        );
        check(
            Hermes,
            r#"<tool_call>{"arguments":{"x":1},"name":"f"}</tool_call> then"#,
            &[&call("f", r#"{"x":1}"#), &[text(" then")]],
        );
        check(Hermes, r#"<tool_call>{"name":"f","id":[7]}"#, &[&call("f", "{}")]);
        check(Llama, r#" {"name": "f", "parameters": {"x": 1}}"#, &[&call("f", r#"{"x": 1}"#)]);
        let list = r#"[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "123456789"}, {"name": "get_weather", "arguments": {"x": []}}]"#;
        check(Mistral, list, &[&call("f", "{}"), &call("get_weather", r#"{"x": []}"#)]);
        check(
            Mistral,
            &format!("Yes {list}"),
            &[&[text("Yes")], &call("f", "{}"), &call("get_weather", r#"{"x": []}"#)],
        );
    }

    #[test]
    fn what_is_no_call_is_text_to_the_last_character() {
        use CallSyntax::{Hermes, Llama, Mistral};
        for (syntax, answer) in [
            (Hermes, "plain"),
            (Hermes, " \n "),
            (Hermes, "a < b <tool_ca"),
            (Hermes, "<tool_call>"),
            (Hermes, "<tool_call>\nno JSON</tool_call>"),
            (Hermes, r#"<tool_call>{"name": "unknown", "arguments": {}}</tool_call>"#),
            (Hermes, r#"<tool_call>{"name": 7}</tool_call>"#),
            (Hermes, r#"<tool_call>{"name": "unfinished"#),
            (Hermes, r#"<tool_call>{"arguments": {}}</tool_call>"#),
            (Hermes, r#"<tool_call>{"arguments": "{}", "name": "f"}</tool_call>"#),
            (Hermes, r#"x  <tool_call>{"arguments": {}, "arguments": {}, "name": "f"}"#),
            (Llama, r#"Use {"name": "f", "parameters": {}}"#),
            (Llama, r#"{"name": "f" "parameters": {}}"#),
            (Llama, r#"{"answer": 7}"#),
            (Mistral, r#"[TOOL_CALLS]{"name": "f", "arguments": {}}"#),
            (Mistral, "[TOOL_CALLS][1]"),
            (Mistral, "a[TOOL[TOOL_CALLS"),
        ] {
            check(syntax, answer, &[&[text(answer)]]);
        }
        let good = r#"<tool_call>{"name":"f","arguments":{}}</tool_call>"#;
        check(
            Hermes,
            &format!("<tool_call><tool_call>{good}"),
            &[&[text("<tool_call><tool_call>")], &call("f", "{}")],
        );
    }

    #[test]
    fn a_call_that_breaks_off_ends_where_it_does() {
        use CallSyntax::Hermes;
        check(Hermes, r#"<tool_call>{"name":"f","arguments":{"x":"#, &[&call("f", r#"{"x":"#)]);
        check(
            Hermes,
            r#"<tool_call>{"name":"f","arguments":{"x":tru!} so"#,
            &[&call("f", r#"{"x":tru"#), &[text("!} so")]],
        );
        check(Hermes, "<tool_call>{\"name\":\"f\",\"arguments\":{}}\n</tool_ca", &[&call("f", "{}")]);
        check(Hermes, "<tool_call>{\"name\":\"f\",\"arguments\":{}} or", &[&call("f", "{}"), &[text(" or")]]);
    }

    #[test]
    fn nothing_is_said_after_the_one_call() {
        let answer = r#"a<tool_call>{"name":"f","arguments":{}}</tool_call><tool_call>{"name":"f"}"#;
        let mut once = stream(CallSyntax::Hermes, true);
        assert_eq!(once.push(answer), [&[text("a")][..], &call("f", "{}")].concat());
        assert!(once.is_over() && once.push(" b").is_empty() && once.finish().is_empty());
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        for (syntax, begin, more) in [
            (CallSyntax::Hermes, "", " "),
            (CallSyntax::Hermes, "<tool_call>", " "),
            (CallSyntax::Hermes, "<tool_call>{\"x\":\"", "long"),
            (CallSyntax::Hermes, "<tool_call>{\"arguments\":{\"x\":\"", "long"),
            (CallSyntax::Hermes, "<tool_call>{\"", "key"),
            (CallSyntax::Llama, "", "\n"),
            (CallSyntax::Mistral, "[TOOL_CALLS][", " "),
        ] {
            let mut stream = stream(syntax, false);
            let mut said = stream.push(begin);
            said.extend(stream.push(&more.repeat(MAX_HELD + 1)));
            assert!(!said.is_empty(), "{begin}");
            assert!(stream.held.len() <= MAX_HELD, "{begin}");
        }
        let deep = format!("<tool_call>{{\"name\":\"f\",\"arguments\":{}", "{\"a\":".repeat(100));
        let said = read(stream(CallSyntax::Hermes, false), [deep.as_str()]);
        assert!(matches!(said.last(), Some(Said::Text(_))), "nested too deep");
    }

    /// Text that is near to calls.
    fn answer() -> impl Strategy<Value = String> {
        let words = [
            "<tool_call>",
            "</tool_call>",
            "[TOOL_CALLS]",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "\"name\"",
            "\"f\"",
            "\"arguments\"",
            "\"parameters\"",
            " ",
            "\n",
            "\\",
            "\"",
            "é🦀",
            "x",
            "-1.5e2",
            "null",
            "<tool_",
            "{\"name\":\"f\",\"arguments\":{",
            "{\"name\": \"get_weather\", \"parameters\": {\"a\": \"b\"}}",
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
        ];
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_calls_do_not_depend_on_how_the_answer_is_cut(answer in answer(), cuts in prop::collection::vec(0_usize..200, 0..8), which in 0..3, once: bool) {
            let syntax = [CallSyntax::Hermes, CallSyntax::Llama, CallSyntax::Mistral][which as usize];
            let whole = read(stream(syntax, once), [answer.as_str()]);
            let (mut cuts, mut pieces, mut from) = (cuts, Vec::new(), 0);
            cuts.sort_unstable();
            for cut in cuts.into_iter().filter(|cut| answer.is_char_boundary(*cut)) {
                pieces.push(&answer[from..cut]);
                from = cut;
            }
            pieces.push(&answer[from..]);
            prop_assert_eq!(&read(stream(syntax, once), pieces), &whole);
            let each: Vec<String> = answer.chars().map(String::from).collect();
            prop_assert_eq!(&read(stream(syntax, once), each.iter().map(String::as_str)), &whole);
            // Nothing is made up: what is told stands in the answer, in order.
            let mut rest = answer.as_str();
            for part in whole {
                let (Said::Text(text) | Said::Arguments(text) | Said::Call(text)) = part;
                if text == "{}" { continue }
                let at = rest.find(&text);
                prop_assert!(at.is_some(), "{:?} in {:?}", text, rest);
                // A name may stand after the arguments.
                if text != "f" && text != "get_weather" { rest = &rest[at.unwrap()..][text.len()..]; }
            }
        }
    }
}
