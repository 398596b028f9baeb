//! The model's chat template: a program that came with the package, run in a closed box.
//!
//! It reads no file or environment, and the clock only where the caller gives it one; it sees only the conversation and the names of four special tokens, and has limits for its
//! size, its output, and its steps and memory together: the template engine's fuel pays for both.

mod conversation;
mod date;
mod json;

use crate::calls::CallSyntax;
use anchorhold_engine::Conversation;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use std::borrow::Cow;
use std::io::{self, Write};

/// The largest template, in bytes.
pub const MAX_TEMPLATE_LEN: usize = 256 << 10;
/// The longest rendered prompt, in bytes.
pub const MAX_RENDERED_LEN: usize = 4 << 20;
/// The most bytes of all messages and tools together.
pub const MAX_MESSAGES_LEN: usize = 4 << 20;
/// Fuel for any conversation: one unit is a step of the template's program, or 64 bytes that it makes or reads.
const FUEL: u64 = 50_000;
/// Further fuel for each message and each tool.
const FUEL_PER_MESSAGE: u64 = 2_000;
/// One further unit for so many bytes of them: the template may go over them 16 times.
const BYTES_PER_FUEL: u64 = 4;
/// Calls within calls.
const RECURSION: usize = 64;

/// Why a template is refused, or refuses a conversation. Quotes neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is longer than [`MAX_TEMPLATE_LEN`].
    #[error("longer than {MAX_TEMPLATE_LEN} bytes")]
    TooLong,
    /// It is not a template.
    #[error("syntax is not understood")]
    Syntax,
    /// It took more steps or memory than it may.
    #[error("took more steps or memory than allowed")]
    Steps,
    /// Messages or output are longer than allowed.
    #[error("messages or output are longer than allowed")]
    Length,
    /// The template itself refused the conversation, with `raise_exception`.
    #[error("the template refused the conversation")]
    Refused,
    /// It used something that is not there, or a value in a way that does not work.
    #[error("failed while running")]
    Failed,
}

/// The special tokens that a template may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<String>,
    /// Ends a text.
    pub eos: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<String>,
    /// Fills a batch.
    pub pad: Option<String>,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Box<Environment<'static>>,
    special: SpecialTokens,
    calls: Option<CallSyntax>,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template in the dialect of transformers: jinja with trimmed blocks, `break` and `continue`, and Python's string methods.
    ///
    /// # Errors
    /// [`TemplateError::TooLong`] and [`TemplateError::Syntax`].
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_LEN {
            return Err(TemplateError::TooLong);
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|_| TemplateError::Syntax)?);
        environment.set_recursion_limit(RECURSION);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.add_filter("tojson", json::to_json);
        environment.remove_global("debug");
        let added = environment.add_template_owned(NAME, without_generation(source).into_owned());
        added.map_err(|_| TemplateError::Syntax)?;
        Ok(Self { environment: Box::new(environment), special, calls: None }.with_calls())
    }

    /// The same with `strftime_now`, which some templates use to tell the model the date: `clock` gives the seconds since 1970. Without it
    /// the name is undefined, for which most templates have a date of their own.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> u64) -> Self {
        self.environment.add_function("strftime_now", move |format: &str| date::strftime(format, clock()));
        self.with_calls()
    }

    /// How the model writes a call of a tool; `None` where it is shown no tools, or writes calls in a way that is not of the list.
    #[must_use]
    pub fn calls(&self) -> Option<CallSyntax> {
        self.calls
    }

    fn with_calls(mut self) -> Self {
        self.calls = CallSyntax::of(&self);
        self
    }

    /// The prompt for a conversation, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// Every other variant of [`TemplateError`].
    pub fn render(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let length = conversation.len();
        if length > MAX_MESSAGES_LEN {
            return Err(TemplateError::Length);
        }
        let mut environment = Environment::clone(&self.environment);
        let parts = conversation.messages.len() + conversation.tools.len();
        let fuel = FUEL_PER_MESSAGE.saturating_mul(parts as u64).saturating_add(FUEL);
        environment.set_fuel(Some(fuel.saturating_add(length as u64 / BYTES_PER_FUEL)));
        let template = environment.get_template(NAME).map_err(|_| TemplateError::Syntax)?;
        let context = context! {
            messages => conversation::messages(conversation, self.calls)?,
            add_generation_prompt => true,
            tools => conversation::tools(conversation)?,
            documents => (),
            bos_token => text(self.special.bos.as_ref()),
            eos_token => text(self.special.eos.as_ref()),
            unk_token => text(self.special.unk.as_ref()),
            pad_token => text(self.special.pad.as_ref()),
        };
        let mut out = Bounded(Vec::new());
        template.render_captured_to(context, &mut out).map_err(|error| classify(&error))?;
        String::from_utf8(out.0).map_err(|_| TemplateError::Failed)
    }
}

/// A template in which the blocks that tell transformers what the assistant wrote are blocks that do nothing.
fn without_generation(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, inside)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let tag = inside.split_once("%}").map_or("", |(tag, _)| tag);
        rest = inside.get(tag.len()..).unwrap_or_default();
        let word = tag.trim_matches(|character: char| character.is_whitespace() || "+-".contains(character));
        match word {
            "generation" => out.push_str(&tag.replace(word, "if true")),
            "endgeneration" => out.push_str(&tag.replace(word, "endif")),
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A special token that the model lacks is undefined, as in transformers.
fn text(token: Option<&String>) -> Value {
    token.map_or(Value::UNDEFINED, Value::from)
}

fn classify(error: &Error) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = source {
        if at.is::<Raised>() {
            return TemplateError::Refused;
        }
        if at.is::<Overflow>() {
            return TemplateError::Length;
        }
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Overflow>()) {
            return TemplateError::Length;
        }
        if at.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return TemplateError::Steps;
        }
        source = at.source();
    }
    TemplateError::Failed
}

/// The template called `raise_exception`. Its message is not kept: it may quote the conversation.
#[derive(Debug, thiserror::Error)]
#[error("raised")]
struct Raised;

fn raise(_message: &Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised))
}

#[derive(Debug, thiserror::Error)]
#[error("output is too long")]
struct Overflow;

/// Output up to [`MAX_RENDERED_LEN`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_LEN {
            return Err(io::Error::other(Overflow));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_engine::ChatMessage;

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage::text(role, content)
    }

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TemplateError> {
        let special = SpecialTokens { bos: Some("<s>".into()), ..SpecialTokens::default() };
        ChatTemplate::new(source, special)?.render(&messages.to_vec().into())
    }

    #[test]
    fn renders_python_methods_loop_controls_and_trimmed_blocks() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if m.role == 'tool' %}{% continue %}{% endif %}\n\
            {{ m['content'].strip().upper() }}{% if m.role.startswith('us') %}|{% endif %}\n{% endfor %}\n\
            {% if add_generation_prompt and not tools %}>{% endif %}";
        assert_eq!(render(source, &[message("tool", "x"), message("user", " hi ")]).unwrap(), "<s>\nHI|>");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let json = "{{ {'b': [1, 'é<&>\"'], 'a': none} | tojson }}";
        assert_eq!(render(json, &[]).unwrap(), r#"{"b": [1, "é<&>\""], "a": null}"#);
        assert_eq!(render("{{ [1] | tojson(indent=2) }}", &[]).unwrap(), "[\n  1\n]");
        for refused in ["sort_keys=true", "separators=[',']", "other=1", "indent='x'"] {
            let source = format!("{{{{ [1] | tojson({refused}) }}}}");
            assert_eq!(render(&source, &[]), Err(TemplateError::Failed), "{refused}");
        }
    }

    #[test]
    fn case_22_refuses_syntax_errors_and_long_templates() {
        assert_eq!(render("{% for %}", &[]), Err(TemplateError::Syntax));
        assert_eq!(render(&"x".repeat(MAX_TEMPLATE_LEN + 1), &[]), Err(TemplateError::TooLong));
        assert_eq!(render(&"(".repeat(9).replace('(', "{{ (((((((((("), &[]), Err(TemplateError::Syntax));
    }

    #[test]
    fn case_22_refuses_nested_ranges_in_bounded_steps() {
        let deep = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
        assert_eq!(render(deep, &[]), Err(TemplateError::Steps));
        assert_eq!(
            render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", &[]),
            Err(TemplateError::Failed)
        );
    }

    #[test]
    fn case_22_refuses_long_output_and_long_input() {
        let long = "{% for a in range(9) %}{{ messages[0].content }}{% endfor %}";
        assert_eq!(
            render(long, &[message("user", &"x".repeat(MAX_RENDERED_LEN / 8))]),
            Err(TemplateError::Length)
        );
        assert_eq!(render("", &[message("user", &"x".repeat(MAX_MESSAGES_LEN))]), Err(TemplateError::Length));
    }

    #[test]
    fn case_22_refuses_to_build_values_without_end() {
        let doubled =
            "{% set ns = namespace(x='x') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
        for source in [doubled, "{{ ('x' * 99999999)[:1] }}", "{{ 'x' | indent(99999999999) }}"] {
            assert_eq!(render(source, &[]), Err(TemplateError::Steps), "{source}");
        }
    }

    #[test]
    fn a_long_conversation_has_fuel_enough() {
        let source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}";
        let messages: Vec<_> = (0..2000).map(|_| message("user", &" word".repeat(200))).collect();
        assert!(render(source, &messages).unwrap().len() > 2_000_000);
    }

    #[test]
    fn blocks_of_generation_do_nothing_and_other_text_stays() {
        assert_eq!(
            without_generation("a{%- generation +%}b{% endgeneration%}c{%generation%}"),
            "a{%- if true +%}b{% endif%}c{%if true%}"
        );
        for untouched in [
            "",
            "{%",
            "{% generation",
            "{%{%",
            "%} generation {%",
            "{% set generation = 1 %}{{ generation }}",
            "{% if add_generation_prompt %}{% endif %}",
            "é{% x %}generation🦀",
        ] {
            assert_eq!(without_generation(untouched), untouched);
        }
        assert_eq!(render("{% generation %}", &[]), Err(TemplateError::Syntax));
    }

    #[test]
    fn the_clock_is_read_only_where_one_is_given() {
        let source = "{{ strftime_now('%Y') if strftime_now is defined else 'no clock' }}";
        let template = || ChatTemplate::new(source, SpecialTokens::default()).unwrap();
        assert_eq!(template().render(&Conversation::default()).unwrap(), "no clock");
        assert_eq!(template().with_clock(|| 0).render(&Conversation::default()).unwrap(), "1970");
        let unknown = ChatTemplate::new("{{ strftime_now('%Q') }}", SpecialTokens::default()).unwrap();
        assert_eq!(unknown.with_clock(|| 0).render(&Conversation::default()), Err(TemplateError::Failed));
    }

    #[test]
    fn case_22_has_no_files_clock_or_attribute_walks() {
        for source in [
            "{% include 'etc/passwd' %}",
            "{% import 'x' as x %}",
            "{{ strftime_now('%Y') }}",
            "{{ ''.__class__.__mro__ }}",
            "{{ messages.__init__() }}",
            "{{ debug() }}",
        ] {
            assert!(
                matches!(render(source, &[]), Err(TemplateError::Failed | TemplateError::Syntax)),
                "{source}"
            );
        }
        assert_eq!(render("{{ strftime_now is defined }}", &[]).unwrap().to_lowercase(), "false");
    }

    #[test]
    fn the_template_can_refuse_and_is_not_quoted() {
        let error =
            render("{{ raise_exception('secret ' + messages[0].content) }}", &[message("user", "words")]);
        assert_eq!(error, Err(TemplateError::Refused));
        assert!(!error.unwrap_err().to_string().contains("words"));
    }
}
