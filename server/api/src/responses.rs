//! `POST /v1/responses`, the part that keeps nothing between requests.

mod events;
mod input;

pub use events::{ResponseFrames, ResponseSettings};

use crate::ApiError;
use crate::chat::{MAX_TOP_LOGPROBS, Message, Role, Spoken, one_form};
use crate::fields::Fields;
use crate::form::{Form, flat_format, flat_format_schema};
use crate::generation::{Delivery, Generation, model, model_schema};
use crate::json::{MAX_BODY_BYTES, MAX_VALUES, Object, Value, parse_object};
use crate::openapi::schema::{Field, Schema};
use crate::tools::{Nesting, ToolChoice, Tools};
use crate::unsupported;

/// The most entries of `metadata`, and the longest key and value, in bytes.
const MAX_METADATA: (usize, usize, usize) = (16, 64, 2048);
/// What may be included besides what always is. There is no reasoning apart from answers, so none to encrypt.
const INCLUDES: [&str; 2] = ["message.output_text.logprobs", "reasoning.encrypted_content"];

/// A request in which every field is within its range. Made only by [`ResponsesRequest::parse`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResponsesRequest {
    /// The model's name.
    pub model: String,
    /// 1 to [`MAX_MESSAGES`](crate::MAX_MESSAGES) messages, the instructions first.
    pub messages: Vec<Message>,
    /// What may be called. Where it may be, `generation` has no form.
    pub tools: Tools,
    /// How to generate: one text.
    pub generation: Generation,
    /// How the answer leaves.
    pub delivery: Delivery,
    /// What the answer repeats of the request.
    pub settings: ResponseSettings,
}

impl ResponsesRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let (most, key_len, value_len) = MAX_METADATA;
        let metadata = Schema::map(Schema::text(0..=value_len), most);
        let text = Schema::request(Vec::new(), vec![("format", flat_format_schema())]);
        let include = Schema::list(Schema::one_of_words(&INCLUDES), &(0..=MAX_VALUES));
        let mut fields = vec![
            ("store", Schema::flag().about("Taken; nothing is stored, and the answer says so")),
            ("top_logprobs", Schema::integer(&(0..=MAX_TOP_LOGPROBS))),
            ("include", include),
            ("metadata", metadata.about(format!("Keys of up to {key_len} bytes; the answer repeats them"))),
            ("text", text),
            ("instructions", Schema::text(0..=MAX_BODY_BYTES)),
        ];
        fields.extend(Delivery::schema());
        fields.extend(Tools::schema(Nesting::Flat));
        fields.extend(unsupported::fields_of(unsupported::RESPONSES));
        fields.extend(unsupported::older_fields_of(unsupported::RESPONSES_OLDER));
        // What stands in a table of refusals is refused before the shared fields are read.
        let refused: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let shared = Generation::schema(&["max_output_tokens"], None);
        let shared: Vec<Field> = shared.into_iter().filter(|(name, _)| !refused.contains(name)).collect();
        fields.extend(shared);
        Schema::request(vec![("model", model_schema()), ("input", input::schema())], fields)
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::RESPONSES)?;
        unsupported::refuse_older(&mut fields, unsupported::RESPONSES_OLDER)?;
        // Nothing is stored, asked or not, and the answer says so.
        fields.flag("store")?;
        let delivery = Delivery::parse(&mut fields)?;
        let logprobs = logprobs(&mut fields)?;
        let metadata = metadata(&mut fields)?;
        let given = |fields: &mut Fields, name| fields.number(name, 0.0..=2.0);
        let (temperature, top_p) = (given(&mut fields, "temperature")?, fields.number("top_p", 0.0..=1.0)?);
        for (name, value) in [("temperature", temperature), ("top_p", top_p)] {
            fields.put(name, value.map(|number| Value::Float(number.into())));
        }
        let mut generation = Generation::parse(&mut fields, Some("max_output_tokens"), logprobs)?;
        let (format, form) = text(&mut fields)?;
        if form.is_some() {
            generation.form = form;
        }
        let tools = Tools::parse(&mut fields, Nesting::Flat)?;
        one_form(&tools, &generation)?;
        let instructions = fields.text("instructions", 0..=MAX_BODY_BYTES)?;
        let mut spoken = Spoken::default();
        if let Some(text) = &instructions {
            spoken.say(Message::text(Role::System, text.clone()));
        }
        input::read(&mut fields, &mut spoken)?;
        let settings = ResponseSettings {
            instructions,
            max_output_tokens: generation.max_tokens,
            temperature: temperature.unwrap_or(1.0),
            top_p: top_p.unwrap_or(1.0),
            tools: tools.clone(),
            format,
            top_logprobs: logprobs.unwrap_or(0),
            metadata,
        };
        Ok(Self { model, messages: spoken.messages, tools, generation, delivery, settings })
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let top = fields.integer("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    let wanted = format!("a list of {}", INCLUDES.map(|word| format!("'{word}'")).join(" and "));
    let asked = match fields.take("include") {
        None => false,
        Some(Value::List(list)) => {
            let known = |item: &Value| matches!(item, Value::Text(word) if INCLUDES.contains(&word.as_str()));
            if !list.iter().all(known) {
                return Err(fields.wrong("include", wanted));
            }
            list.iter().any(|item| matches!(item, Value::Text(word) if word == INCLUDES[0]))
        }
        Some(_) => return Err(fields.wrong("include", wanted)),
    };
    Ok(if asked { Some(top.unwrap_or(0)) } else { top.filter(|count| *count > 0) })
}

/// The form that is asked, and how the answer repeats it.
fn text(fields: &mut Fields) -> Result<(Value, Option<Form>), ApiError> {
    let plain = || Value::Object(vec![("type".to_owned(), Value::Text("text".to_owned()))]);
    let Some(value) = fields.take("text") else { return Ok((plain(), None)) };
    let mut text = Fields::of(value, "text")?;
    let Some(format) = text.take("format") else { return Ok((plain(), None)) };
    let kind = flat_format(format.clone(), "text.format")?;
    Ok((format, kind.map(|kind| Form { field: "text.format", kind })))
}

fn metadata(fields: &mut Fields) -> Result<Object, ApiError> {
    let (most, key_len, value_len) = MAX_METADATA;
    let fits = |(key, value): &(String, Value)| {
        key.len() <= key_len && matches!(value, Value::Text(text) if text.len() <= value_len)
    };
    match fields.take("metadata") {
        None => Ok(Object::new()),
        Some(Value::Object(entries)) if entries.len() <= most && entries.iter().all(fits) => Ok(entries),
        Some(_) => Err(fields.wrong("metadata", format!("an object of up to {most} short texts"))),
    }
}

impl ToolChoice {
    /// As `/v1/responses` writes it.
    fn flat(&self) -> serde_json::Value {
        match self {
            Self::None => "none".into(),
            Self::Auto => "auto".into(),
            Self::Required => "required".into(),
            Self::Named(name) => serde_json::json!({"type": "function", "name": name}),
        }
    }
}
