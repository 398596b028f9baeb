//! The items of `input`, as messages.

use crate::ApiError;
use crate::chat::{MAX_MESSAGES, MAX_PARTS, Message, Role, Spoken};
use crate::fields::{Fields, plain};
use crate::json::{MAX_BODY_BYTES, Value};
use crate::openapi::schema::Schema;
use crate::tools::{self, MAX_CALL_ID_BYTES};

/// Who may speak in a message.
const ROLES: [Role; 4] = [Role::User, Role::Assistant, Role::System, Role::Developer];

/// `input` in a schema.
pub(super) fn schema() -> Schema {
    let content = || {
        let part = |kinds: &[&str], field: &'static str| {
            let kind = Schema::one_of_words(kinds);
            Schema::request(vec![("type", kind), (field, Schema::text(0..=MAX_BODY_BYTES))], Vec::new())
        };
        let part =
            Schema::any_of([part(&["input_text", "output_text"], "text"), part(&["refusal"], "refusal")]);
        Schema::any_of([Schema::text(0..=MAX_BODY_BYTES), Schema::list(part, &(0..=MAX_PARTS))])
    };
    let kind = |kind: &str| Schema::one_of_words(&[kind]);
    let role = Schema::one_of_words(&ROLES.map(Role::as_str));
    let message =
        Schema::request(vec![("role", role), ("content", content())], vec![("type", kind("message"))]);
    let id = Schema::text(1..=MAX_CALL_ID_BYTES);
    let output = Schema::request(
        vec![("type", kind("function_call_output")), ("call_id", id), ("output", content())],
        Vec::new(),
    );
    let item = Schema::any_of([message, tools::call_item_schema(kind("function_call")), output]);
    Schema::any_of([Schema::text(0..=MAX_BODY_BYTES), Schema::list(item, &(1..=MAX_MESSAGES))])
}

/// Takes `input` and says it.
pub(super) fn read(fields: &mut Fields, spoken: &mut Spoken) -> Result<(), ApiError> {
    let wanted = || format!("text or a list of 1 to {MAX_MESSAGES} items");
    match fields.take("input") {
        None => Err(fields.missing("input")),
        Some(Value::Text(text)) => {
            plain("input", &text)?;
            spoken.say(Message::text(Role::User, text));
            Ok(())
        }
        Some(Value::List(items)) if (1..=MAX_MESSAGES).contains(&items.len()) => items
            .into_iter()
            .enumerate()
            .try_for_each(|(at, value)| item(Fields::of(value, &format!("input[{at}]"))?, spoken)),
        Some(_) => Err(fields.wrong("input", wanted())),
    }
}

fn item(mut fields: Fields, spoken: &mut Spoken) -> Result<(), ApiError> {
    let kind = match fields.take("type") {
        // A message may leave it out.
        None => "message".to_owned(),
        Some(Value::Text(kind)) => kind,
        Some(_) => return Err(fields.wrong("type", "text")),
    };
    match kind.as_str() {
        "message" => {
            let role = role(&mut fields)?;
            let content = content(&mut fields, "content")?;
            spoken.say(Message::text(role, content));
        }
        "function_call" => {
            let call = tools::call(call_id(&mut fields)?, &mut fields)?;
            // An answer's text and its calls are one message.
            match spoken.messages.pop() {
                Some(mut last) if last.role == Role::Assistant => {
                    last.calls.push(call);
                    spoken.say(last);
                }
                last => {
                    spoken.messages.extend(last);
                    let mut message = Message::text(Role::Assistant, String::new());
                    message.calls.push(call);
                    spoken.say(message);
                }
            }
        }
        "function_call_output" => {
            let id = call_id(&mut fields)?;
            let answers = Some(spoken.answered(id, &fields.path("call_id"))?);
            let output = content(&mut fields, "output")?;
            spoken.say(Message { answers, ..Message::text(Role::Tool, output) });
        }
        _ => return Err(ApiError::unsupported(fields.path("type"))),
    }
    Ok(())
}

fn call_id(fields: &mut Fields) -> Result<String, ApiError> {
    fields.text("call_id", 1..=MAX_CALL_ID_BYTES)?.ok_or_else(|| fields.missing("call_id"))
}

fn role(fields: &mut Fields) -> Result<Role, ApiError> {
    match fields.take("role") {
        None => Err(fields.missing("role")),
        Some(Value::Text(word)) => {
            let role = ROLES.into_iter().find(|role| role.as_str() == word);
            role.ok_or_else(|| fields.wrong("role", "user, assistant, system or developer"))
        }
        Some(_) => Err(fields.wrong("role", "user, assistant, system or developer")),
    }
}

/// Text, or parts that are joined by line feeds. Nothing but text is taken, and nothing is ever fetched.
fn content(fields: &mut Fields, name: &str) -> Result<String, ApiError> {
    let path = fields.path(name);
    let parts = match fields.take(name) {
        None => return Err(fields.missing(name)),
        Some(Value::Text(text)) => {
            plain(&path, &text)?;
            return Ok(text);
        }
        Some(Value::List(parts)) if parts.len() <= MAX_PARTS => parts,
        Some(_) => return Err(fields.wrong(name, format!("text or a list of up to {MAX_PARTS} parts"))),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        let mut part = Fields::of(part, &format!("{path}[{at}]"))?;
        let field = match part.take("type") {
            Some(Value::Text(kind)) if kind == "input_text" || kind == "output_text" => "text",
            Some(Value::Text(kind)) if kind == "refusal" => "refusal",
            None => return Err(part.missing("type")),
            Some(_) => return Err(ApiError::unsupported(part.path("type"))),
        };
        let Some(Value::Text(text)) = part.take(field) else { return Err(part.wrong(field, "text")) };
        plain(&part.path(field), &text)?;
        texts.push(text);
    }
    Ok(texts.join("\n"))
}
