//! The form that a caller wants an answer to have: `response_format`, and vLLM's `structured_outputs` and `guided_*`.

use crate::ApiError;
use crate::fields::{Fields, plain};
use crate::json::Value;
use crate::openapi::schema::{Field, Schema};
use crate::unsupported;
use std::fmt;

/// The longest schema, in bytes of JSON without white space.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// The longest regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 4096;
/// The most texts to choose from.
pub const MAX_CHOICE_TEXTS: usize = 1024;
/// The longest of them together, in bytes.
pub const MAX_CHOICE_BYTES: usize = 64 * 1024;
/// The longest name of a schema, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest description of a schema, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 16 * 1024;

/// A form, and the field in which it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Form {
    /// The field.
    pub field: &'static str,
    /// What is asked.
    pub kind: FormKind,
}

/// What form a text must have. Whether there is such a text, and whether it can be had, the model's side finds out.
#[derive(Clone, PartialEq, Eq)]
pub enum FormKind {
    /// A JSON object.
    JsonObject,
    /// JSON that fits this schema, a JSON object itself of up to [`MAX_SCHEMA_BYTES`].
    JsonSchema(String),
    /// What this regular expression matches whole, of up to [`MAX_REGEX_BYTES`].
    Regex(String),
    /// One of these texts, at least one, none empty.
    Choice(Vec<String>),
}

impl fmt::Debug for FormKind {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonObject => "JsonObject",
            Self::JsonSchema(_) => "JsonSchema",
            Self::Regex(_) => "Regex",
            Self::Choice(_) => "Choice",
        })
    }
}

impl Form {
    /// Its fields in a schema.
    pub(crate) fn schema() -> [Field; 5] {
        let schema = || {
            let about = format!("A JSON schema of up to {MAX_SCHEMA_BYTES} bytes");
            Schema::any_of([Schema::object(), Schema::text(2..=MAX_SCHEMA_BYTES)]).about(about)
        };
        let regex = || Schema::text(1..=MAX_REGEX_BYTES);
        let choice = || {
            let about = format!("Up to {MAX_CHOICE_BYTES} bytes together");
            Schema::list(Schema::text(1..=MAX_CHOICE_BYTES), &(1..=MAX_CHOICE_TEXTS)).about(about)
        };
        let mut structured = vec![
            ("json", schema()),
            ("regex", regex()),
            ("choice", choice()),
            ("json_object", Schema::flag().default(false)),
        ];
        structured.extend(unsupported::fields_of(unsupported::STRUCTURED));
        let structured = Schema::request(Vec::new(), structured).closed().about("vLLM's; one form at most");
        [
            ("response_format", response_format_schema(schema()).about("One form at most may be asked for")),
            ("structured_outputs", structured),
            ("guided_json", schema()),
            ("guided_regex", regex()),
            ("guided_choice", choice()),
        ]
    }

    /// Takes all fields that ask for a form; at most one may.
    pub(crate) fn parse(fields: &mut Fields) -> Result<Option<Self>, ApiError> {
        let mut found: Option<Self> = None;
        let ways: [(&'static str, Read); 5] = [
            ("response_format", response_format),
            ("structured_outputs", structured_outputs),
            ("guided_json", |value, path| schema(value, path).map(Some)),
            ("guided_regex", |value, path| regex(value, path).map(Some)),
            ("guided_choice", |value, path| choice(value, path).map(Some)),
        ];
        for (field, read) in ways {
            let Some(value) = fields.take(field) else { continue };
            let Some(kind) = read(value, field)? else { continue };
            if let Some(first) = &found {
                let message = format!("'{field}' and '{}' cannot both be given", first.field);
                return Err(ApiError::invalid(field, message));
            }
            found = Some(Self { field, kind });
        }
        Ok(found)
    }
}

/// Reads a value that stands at a path.
type Read = fn(Value, &str) -> Result<Option<FormKind>, ApiError>;
/// The same, of a value that always asks for a form.
type ReadKind = fn(Value, &str) -> Result<FormKind, ApiError>;

fn response_format_schema(schema: Schema) -> Schema {
    let kind = |kind: &str| ("type", Schema::one_of_words(&[kind]));
    let inner = Schema::request(
        vec![("name", Schema::text(1..=MAX_NAME_BYTES)), ("schema", schema)],
        vec![
            ("description", Schema::text(0..=MAX_DESCRIPTION_BYTES)),
            ("strict", Schema::flag().about("A schema is kept to whether or not it is asked to be")),
        ],
    );
    Schema::any_of([
        Schema::request(vec![kind("text")], Vec::new()),
        Schema::request(
            vec![kind("json_object")],
            unsupported::fields_of(unsupported::JSON_OBJECT).collect(),
        ),
        Schema::request(vec![kind("json_schema"), ("json_schema", inner)], Vec::new()),
    ])
}

fn response_format(value: Value, path: &str) -> Result<Option<FormKind>, ApiError> {
    let mut fields = Fields::of(value, path)?;
    match fields.take("type") {
        Some(Value::Text(kind)) if kind == "text" => Ok(None),
        Some(Value::Text(kind)) if kind == "json_object" => {
            unsupported::refuse(&mut fields, unsupported::JSON_OBJECT)?;
            Ok(Some(FormKind::JsonObject))
        }
        Some(Value::Text(kind)) if kind == "json_schema" => {
            let inner = fields.take("json_schema").ok_or_else(|| fields.missing("json_schema"))?;
            named_schema(&mut Fields::of(inner, &fields.path("json_schema"))?).map(Some)
        }
        None => Err(fields.missing("type")),
        Some(_) => Err(ApiError::unsupported(fields.path("type"))),
    }
}

/// `text.format` of `/v1/responses` in a schema.
pub(crate) fn flat_format_schema() -> Schema {
    let kind = |kind: &str| ("type", Schema::one_of_words(&[kind]));
    let about = format!("A JSON schema of up to {MAX_SCHEMA_BYTES} bytes");
    let schema = Schema::any_of([Schema::object(), Schema::text(2..=MAX_SCHEMA_BYTES)]).about(about);
    Schema::any_of([
        Schema::request(vec![kind("text")], Vec::new()),
        Schema::request(
            vec![kind("json_object")],
            unsupported::fields_of(unsupported::JSON_OBJECT).collect(),
        ),
        Schema::request(
            vec![kind("json_schema"), ("name", Schema::text(1..=MAX_NAME_BYTES)), ("schema", schema)],
            vec![("description", Schema::text(0..=MAX_DESCRIPTION_BYTES)), ("strict", Schema::flag())],
        ),
    ])
}

/// `text.format` of `/v1/responses`: what is inside `json_schema` elsewhere stands beside `type`.
pub(crate) fn flat_format(value: Value, path: &str) -> Result<Option<FormKind>, ApiError> {
    let mut fields = Fields::of(value, path)?;
    match fields.take("type") {
        Some(Value::Text(kind)) if kind == "text" => Ok(None),
        Some(Value::Text(kind)) if kind == "json_object" => {
            unsupported::refuse(&mut fields, unsupported::JSON_OBJECT)?;
            Ok(Some(FormKind::JsonObject))
        }
        Some(Value::Text(kind)) if kind == "json_schema" => named_schema(&mut fields).map(Some),
        None => Err(fields.missing("type")),
        Some(_) => Err(ApiError::unsupported(fields.path("type"))),
    }
}

fn named_schema(fields: &mut Fields) -> Result<FormKind, ApiError> {
    fields.text("name", 1..=MAX_NAME_BYTES)?.ok_or_else(|| fields.missing("name"))?;
    fields.text("description", 0..=MAX_DESCRIPTION_BYTES)?;
    // A schema is kept to whether or not it is asked to be.
    fields.flag("strict")?;
    let path = fields.path("schema");
    schema(fields.take("schema").ok_or_else(|| fields.missing("schema"))?, &path)
}

/// The fields of `structured_outputs` that ask for a form.
const KNOWN: &str = "'json', 'regex', 'choice' and 'json_object'";

fn structured_outputs(value: Value, path: &str) -> Result<Option<FormKind>, ApiError> {
    let mut fields = Fields::of(value, path)?;
    unsupported::refuse(&mut fields, unsupported::STRUCTURED)?;
    let mut kinds = Vec::new();
    if fields.flag("json_object")?.unwrap_or(false) {
        kinds.push(FormKind::JsonObject);
    }
    let ways: [(&str, ReadKind); 3] = [("json", schema), ("regex", regex), ("choice", choice)];
    for (name, read) in ways {
        if let Some(value) = fields.take(name) {
            kinds.push(read(value, &fields.path(name))?);
        }
    }
    // Elsewhere an unknown field is harmless; here it may be all that the caller asks of the text.
    if !fields.is_empty() {
        let message = format!("'{path}' has a field that this server does not know; it knows {KNOWN}");
        return Err(ApiError::invalid(path, message));
    }
    match kinds.len() {
        0 | 1 => Ok(kinds.pop()),
        _ => Err(ApiError::invalid(path, format!("'{path}' asks for more than one form"))),
    }
}

/// A schema as an object, or as the text of one.
fn schema(value: Value, path: &str) -> Result<FormKind, ApiError> {
    let wanted = || {
        let message = format!("'{path}' must be a JSON schema of at most {MAX_SCHEMA_BYTES} bytes");
        ApiError::invalid(path, message)
    };
    let text = match &value {
        Value::Object(_) => serde_json::to_string(&value).map_err(|_| wanted())?,
        Value::Text(text) if text.trim_start().starts_with('{') => text.clone(),
        _ => return Err(wanted()),
    };
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(wanted());
    }
    Ok(FormKind::JsonSchema(text))
}

fn regex(value: Value, path: &str) -> Result<FormKind, ApiError> {
    match value {
        Value::Text(text) if (1..=MAX_REGEX_BYTES).contains(&text.len()) => {
            plain(path, &text)?;
            // Half an escape is no expression, and an engine may pass over it.
            if text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
                return Err(ApiError::invalid(
                    path,
                    format!("'{path}' ends in a backslash that escapes nothing"),
                ));
            }
            Ok(FormKind::Regex(text))
        }
        _ => {
            let message = format!("'{path}' must be a regular expression of 1 to {MAX_REGEX_BYTES} bytes");
            Err(ApiError::invalid(path, message))
        }
    }
}

fn choice(value: Value, path: &str) -> Result<FormKind, ApiError> {
    let wanted = || {
        let message = format!(
            "'{path}' must be a list of 1 to {MAX_CHOICE_TEXTS} texts, none empty, of at most {MAX_CHOICE_BYTES} bytes together"
        );
        ApiError::invalid(path, message)
    };
    let Value::List(list) = value else { return Err(wanted()) };
    let texts = list.into_iter().map(|item| match item {
        Value::Text(text) if !text.is_empty() && !text.contains('\0') => Some(text),
        _ => None,
    });
    let texts: Vec<String> = texts.collect::<Option<_>>().ok_or_else(wanted)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    if !(1..=MAX_CHOICE_TEXTS).contains(&texts.len()) || bytes > MAX_CHOICE_BYTES {
        return Err(wanted());
    }
    Ok(FormKind::Choice(texts))
}
