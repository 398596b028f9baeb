//! `POST /v1/chat/completions`.

use crate::ApiError;
use crate::fields::{Fields, plain};
use crate::generation::{Delivery, Generation, model, model_schema};
use crate::json::{MAX_BODY_BYTES, Value, parse_object};
use crate::openapi::schema::Schema;
use crate::tools::{self, MAX_CALL_ID_BYTES, Nesting, ToolCall, Tools};
use crate::unsupported;
use std::collections::HashMap;
use std::fmt;

/// The most messages of one conversation.
pub const MAX_MESSAGES: usize = 4096;
/// The most parts of one message.
pub const MAX_PARTS: usize = 1024;
/// The most `top_logprobs`.
pub const MAX_TOP_LOGPROBS: u8 = 20;
/// The longest name of who speaks, in bytes.
const MAX_LABEL_BYTES: usize = 256;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application.
    System,
    /// The newer name of it.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    const ALL: [Self; 5] = [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool];

    /// The word of the API and of chat templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message; parts are joined by line feeds.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; may be empty.
    pub content: String,
    /// What the assistant called.
    pub calls: Vec<ToolCall>,
    /// Which call of an earlier message a tool answers.
    pub answers: Option<Answered>,
}

/// A call that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
}

impl Message {
    /// Text alone.
    pub(crate) fn text(role: Role, content: String) -> Self {
        Self { role, content, calls: Vec::new(), answers: None }
    }
}

impl fmt::Debug for Message {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("role", &self.role).field("content", &self.content.len()).finish()
    }
}

/// A chat request in which every field is within its range. Made only by [`ChatRequest::parse`].
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// 1 to [`MAX_MESSAGES`] messages.
    pub messages: Vec<Message>,
    /// What may be called. Where it may be, `generation` has no form.
    pub tools: Tools,
    /// How to generate.
    pub generation: Generation,
    /// How the answer leaves.
    pub delivery: Delivery,
}

impl fmt::Debug for ChatRequest {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatRequest")
            .field("messages", &self.messages)
            .field("generation", &self.generation)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl ChatRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let mut fields = vec![
            ("logprobs", Schema::flag().default(false)),
            ("top_logprobs", Schema::integer(&(0..=MAX_TOP_LOGPROBS)).about("Only where `logprobs` is true")),
        ];
        fields.extend(Delivery::schema());
        fields.extend(Generation::schema(&["max_completion_tokens", "max_tokens"], None));
        fields.extend(Tools::schema(Nesting::Inner));
        fields.extend(unsupported::fields_of(unsupported::CHAT));
        fields.extend(unsupported::older_fields_of(unsupported::CHAT_OLDER));
        Schema::request(vec![("model", model_schema()), ("messages", messages_schema())], fields)
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::CHAT)?;
        unsupported::refuse_older(&mut fields, unsupported::CHAT_OLDER)?;
        let delivery = Delivery::parse(&mut fields)?;
        let logprobs = logprobs(&mut fields)?;
        let generation = Generation::parse(&mut fields, Some("max_completion_tokens"), logprobs)?;
        let tools = Tools::parse(&mut fields, Nesting::Inner)?;
        one_form(&tools, &generation)?;
        Ok(Self { model, messages: messages(&mut fields)?, tools, generation, delivery })
    }
}

/// A conversation in a schema.
pub(crate) fn messages_schema() -> Schema {
    let part = |kind: &'static str| {
        let kind_of = Schema::one_of_words(&[kind]);
        Schema::request(vec![("type", kind_of), (kind, Schema::text(0..=MAX_BODY_BYTES))], Vec::new())
    };
    let part = Schema::any_of([part("text"), part("refusal")]);
    let content = Schema::any_of([Schema::text(0..=MAX_BODY_BYTES), Schema::list(part, &(1..=MAX_PARTS))]);
    let mut fields = vec![
        ("name", Schema::text(0..=MAX_LABEL_BYTES)),
        ("content", content.about("Needed but where the assistant called tools or refused")),
        (
            "tool_call_id",
            Schema::text(1..=MAX_CALL_ID_BYTES).about("Of the role tool: which call it answers"),
        ),
        ("tool_calls", tools::calls_schema()),
        ("refusal", Schema::text(0..=MAX_BODY_BYTES)),
    ];
    fields.extend(unsupported::fields_of(unsupported::MESSAGE));
    let role = Schema::one_of_words(&Role::ALL.map(Role::as_str));
    Schema::list(Schema::request(vec![("role", role)], fields), &(1..=MAX_MESSAGES))
}

/// Takes the conversation.
pub(crate) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let messages = match fields.take("messages") {
        None => return Err(fields.missing("messages")),
        Some(Value::List(list)) if (1..=MAX_MESSAGES).contains(&list.len()) => list,
        Some(_) => return Err(fields.wrong("messages", format!("a list of 1 to {MAX_MESSAGES} messages"))),
    };
    let mut conversation = Spoken::default();
    for (at, value) in messages.into_iter().enumerate() {
        conversation.message(value, &format!("messages[{at}]"))?;
    }
    Ok(conversation.messages)
}

/// How many of the likeliest tokens are told, if any token is.
fn logprobs(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let asked = fields.flag("logprobs")?.unwrap_or(false);
    match (asked, fields.integer("top_logprobs", 0..=MAX_TOP_LOGPROBS)?) {
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(ApiError::invalid("top_logprobs", "'top_logprobs' is only allowed with 'logprobs': true"))
        }
        (true, count) => Ok(Some(count.unwrap_or(0))),
    }
}

/// Refuses a form of the answer beside tools that may be called: no answer could keep to both.
pub(crate) fn one_form(tools: &Tools, generation: &Generation) -> Result<(), ApiError> {
    match &generation.form {
        Some(form) if tools.may_be_called() => {
            let message = format!("'{}' cannot be given where 'tools' may be called", form.field);
            Err(ApiError::invalid(form.field, message))
        }
        _ => Ok(()),
    }
}

/// What was said so far.
#[derive(Default)]
pub(crate) struct Spoken {
    pub(crate) messages: Vec<Message>,
    /// The tools of the calls so far, by the calls' ids.
    called: HashMap<String, String>,
}

impl Spoken {
    fn message(&mut self, value: Value, place: &str) -> Result<(), ApiError> {
        let mut fields = Fields::of(value, place)?;
        let role = role(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::MESSAGE)?;
        // Accepted and checked; the templates of the models served here do not know it.
        fields.text("name", 0..=MAX_LABEL_BYTES)?;
        let calls = tools::calls(&mut fields)?;
        if role != Role::Assistant && !calls.is_empty() {
            return Err(fields.wrong("tool_calls", "absent but for the assistant"));
        }
        let answered = fields.text("tool_call_id", 1..=MAX_CALL_ID_BYTES)?;
        let answers = match (role, answered) {
            (Role::Tool, None) => return Err(fields.missing("tool_call_id")),
            (Role::Tool, Some(id)) => Some(self.answered(id, &fields.path("tool_call_id"))?),
            _ => None,
        };
        let refusal = fields.text("refusal", 0..=MAX_BODY_BYTES)?;
        let content = match content(&mut fields)? {
            Some(content) => content,
            None if role == Role::Assistant && !calls.is_empty() => String::new(),
            None => refusal.filter(|_| role == Role::Assistant).ok_or_else(|| fields.missing("content"))?,
        };
        self.say(Message { role, content, calls, answers });
        Ok(())
    }

    /// Adds a message.
    pub(crate) fn say(&mut self, message: Message) {
        self.called.extend(message.calls.iter().map(|call| (call.id.clone(), call.name.clone())));
        self.messages.push(message);
    }

    /// The call of an earlier message that has this id.
    pub(crate) fn answered(&self, id: String, path: &str) -> Result<Answered, ApiError> {
        let wanted = || ApiError::invalid(path, format!("'{path}' must be the id of a call before it"));
        let name = self.called.get(&id).cloned().ok_or_else(wanted)?;
        Ok(Answered { id, name })
    }
}

fn role(fields: &mut Fields) -> Result<Role, ApiError> {
    let role = match fields.take("role") {
        Some(Value::Text(word)) => Role::ALL.into_iter().find(|role| role.as_str() == word),
        None => return Err(fields.missing("role")),
        Some(_) => None,
    };
    role.ok_or_else(|| fields.wrong("role", "system, developer, user, assistant or tool"))
}

fn content(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let path = fields.path("content");
    let content = match fields.take("content") {
        None => return Ok(None),
        Some(Value::Text(text)) => text,
        Some(Value::List(parts)) if (1..=MAX_PARTS).contains(&parts.len()) => joined(parts, &path)?,
        Some(_) => return Err(fields.wrong("content", format!("text or a list of 1 to {MAX_PARTS} parts"))),
    };
    plain(&path, &content)?;
    Ok(Some(content))
}

/// The texts of `parts`. Images, sound and files are refused, wherever they claim to be: nothing is ever fetched.
fn joined(parts: Vec<Value>, path: &str) -> Result<String, ApiError> {
    let mut text = String::new();
    for (at, part) in parts.into_iter().enumerate() {
        let place = format!("{path}[{at}]");
        let mut fields = Fields::of(part, &place)?;
        let field = match fields.take("type") {
            Some(Value::Text(kind)) if kind == "text" => "text",
            Some(Value::Text(kind)) if kind == "refusal" => "refusal",
            None => return Err(fields.missing("type")),
            Some(_) => return Err(ApiError::unsupported(fields.path("type"))),
        };
        let Some(Value::Text(part)) = fields.take(field) else { return Err(fields.wrong(field, "text")) };
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&part);
    }
    Ok(text)
}
