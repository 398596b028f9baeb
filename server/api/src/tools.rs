//! Tools that a model may call, and the calls that a conversation tells of.

use crate::ApiError;
use crate::fields::{Fields, plain};
use crate::form::MAX_SCHEMA_BYTES;
use crate::json::{Object, Value, parse_object};
use crate::openapi::schema::{Field, Schema};
use std::fmt;

/// The most tools of one request.
pub const MAX_TOOLS: usize = 128;
/// The most calls of one message.
pub const MAX_CALLS: usize = 128;
/// The longest description of a tool, in bytes.
pub const MAX_TOOL_DESCRIPTION_BYTES: usize = 16 * 1024;
/// The longest arguments of one call, in bytes of JSON.
pub const MAX_ARGUMENTS_BYTES: usize = 256 * 1024;
/// The longest name of a tool, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest id of a call, in bytes.
pub(crate) const MAX_CALL_ID_BYTES: usize = 256;

/// A function that the model may call.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tool {
    /// 1 to 64 ASCII letters, digits, `_` and `-`; no two tools of a request have one name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A JSON schema, an object of at most [`MAX_SCHEMA_BYTES`], of its arguments.
    pub parameters: Option<String>,
    /// Whether calls must fit the schema.
    pub strict: bool,
}

/// A call that an earlier answer made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// The call's own name.
    pub id: String,
    /// The tool's.
    pub name: String,
    /// A JSON object of at most [`MAX_ARGUMENTS_BYTES`], without white space.
    pub arguments: String,
}

/// Whether the model is to call.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It is not.
    None,
    /// As it likes.
    #[default]
    Auto,
    /// It must call some tool.
    Required,
    /// It must call this one, which is among the tools.
    Named(String),
}

/// What may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tools {
    /// Up to [`MAX_TOOLS`].
    pub list: Vec<Tool>,
    /// Whether it must be.
    pub choice: ToolChoice,
    /// Whether one answer may make several calls.
    pub parallel: bool,
}

impl ToolCall {
    /// A call that begins.
    #[must_use]
    pub fn begun(id: String, name: String) -> Self {
        Self { id, name, arguments: String::new() }
    }
}

// None of these shows any text of the caller.

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tool")
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToolCall")
    }
}

impl fmt::Debug for ToolChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Auto => "Auto",
            Self::Required => "Required",
            Self::Named(_) => "Named",
        })
    }
}

/// The schema of a tool's name.
fn name_schema() -> Schema {
    Schema::text(1..=MAX_NAME_BYTES).about("Letters of ASCII, digits, `_` and `-`")
}

/// The schema of arguments.
fn arguments_schema() -> Schema {
    Schema::text(0..=MAX_ARGUMENTS_BYTES).about("A JSON object, as text")
}

/// The schema of the calls of an assistant's message.
pub(crate) fn calls_schema() -> Schema {
    let function = Schema::request(vec![("name", name_schema())], vec![("arguments", arguments_schema())]);
    let call = Schema::request(
        vec![("type", kind()), ("id", Schema::text(1..=MAX_CALL_ID_BYTES)), ("function", function)],
        Vec::new(),
    );
    Schema::list(call, &(0..=MAX_CALLS))
}

/// The fields of a call in the items of `/v1/responses`.
pub(crate) fn call_item_schema(kind: Schema) -> Schema {
    Schema::request(
        vec![("type", kind), ("call_id", Schema::text(1..=MAX_CALL_ID_BYTES)), ("name", name_schema())],
        vec![("arguments", arguments_schema())],
    )
}

fn kind() -> Schema {
    Schema::one_of_words(&["function"])
}

/// Where the two routes write a function's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// In an object of their own, `function`: chat.
    Inner,
    /// Beside `type`: responses.
    Flat,
}

impl Nesting {
    /// An object about a function, in a schema.
    fn schema(self, needed: Vec<Field>, optional: Vec<Field>) -> Schema {
        match self {
            Self::Flat => {
                Schema::request(std::iter::once(("type", kind())).chain(needed).collect(), optional)
            }
            Self::Inner => {
                let function = Schema::request(needed, optional);
                Schema::request(vec![("type", kind()), ("function", function)], Vec::new())
            }
        }
    }

    /// The fields of the function that `fields` are about.
    fn function(self, mut fields: Fields) -> Result<Fields, ApiError> {
        match self {
            Self::Flat => Ok(fields),
            Self::Inner => {
                let inner = fields.take("function").ok_or_else(|| fields.missing("function"))?;
                Fields::of(inner, &fields.path("function"))
            }
        }
    }
}

impl Tools {
    /// Their fields in a schema.
    pub(crate) fn schema(nesting: Nesting) -> [Field; 3] {
        let parameters = format!("A JSON schema of up to {MAX_SCHEMA_BYTES} bytes");
        let tool = nesting.schema(
            vec![("name", name_schema())],
            vec![
                ("description", Schema::text(0..=MAX_TOOL_DESCRIPTION_BYTES)),
                ("parameters", Schema::object().about(parameters)),
                ("strict", Schema::flag().default(false)),
            ],
        );
        let named = nesting.schema(vec![("name", name_schema())], Vec::new());
        let choice = Schema::any_of([Schema::one_of_words(&["none", "auto", "required"]), named]);
        [
            ("tools", Schema::list(tool, &(0..=MAX_TOOLS))),
            ("tool_choice", choice.default("auto")),
            ("parallel_tool_calls", Schema::flag().default(true)),
        ]
    }

    /// Takes `tools`, `tool_choice` and `parallel_tool_calls`.
    pub(crate) fn parse(fields: &mut Fields, nesting: Nesting) -> Result<Self, ApiError> {
        let list = match fields.take("tools") {
            None => Vec::new(),
            Some(Value::List(list)) if list.len() <= MAX_TOOLS => list,
            Some(_) => return Err(fields.wrong("tools", format!("a list of up to {MAX_TOOLS} tools"))),
        };
        let mut tools: Vec<Tool> = Vec::with_capacity(list.len());
        for (at, value) in list.into_iter().enumerate() {
            let (tool, path) = tool(value, &format!("tools[{at}]"), nesting)?;
            if tools.iter().any(|other| other.name == tool.name) {
                return Err(ApiError::invalid(&path, format!("'{path}' is the name of another tool too")));
            }
            tools.push(tool);
        }
        let choice = choice(fields, nesting, &tools)?;
        let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
        Ok(Self { list: tools, choice, parallel })
    }

    /// Whether the model may call anything.
    #[must_use]
    pub fn may_be_called(&self) -> bool {
        !self.list.is_empty() && self.choice != ToolChoice::None
    }
}

impl Tool {
    /// The function in the form of chat, which chat templates expect: `{"type": "function", "function": {..}}`.
    #[must_use]
    pub fn chat_json(&self) -> String {
        let mut function = vec![("name".to_owned(), Value::Text(self.name.clone()))];
        if let Some(description) = &self.description {
            function.push(("description".to_owned(), Value::Text(description.clone())));
        }
        // Templates ask for the schema's properties without looking whether there are any.
        let parameters = self.parameters.as_ref().and_then(|text| parse_object(text.as_bytes()).ok());
        function.push(("parameters".to_owned(), Value::Object(parameters.unwrap_or_else(nothing))));
        let tool = vec![
            ("type".to_owned(), Value::Text("function".to_owned())),
            ("function".to_owned(), Value::Object(function)),
        ];
        serde_json::to_string(&Value::Object(tool)).expect("plain values with string keys are always JSON")
    }
}

/// The schema of a function without parameters.
fn nothing() -> Object {
    let properties = Value::Object(Object::new());
    vec![("type".to_owned(), Value::Text("object".to_owned())), ("properties".to_owned(), properties)]
}

/// The tool, and how an error names its name.
fn tool(value: Value, place: &str, nesting: Nesting) -> Result<(Tool, String), ApiError> {
    let mut fields = Fields::of(value, place)?;
    function_only(&mut fields)?;
    let mut function = nesting.function(fields)?;
    let name = name(&mut function)?;
    let description = function.text("description", 0..=MAX_TOOL_DESCRIPTION_BYTES)?;
    let strict = function.flag("strict")?.unwrap_or(false);
    let wanted = format!("a JSON schema of at most {MAX_SCHEMA_BYTES} bytes");
    let parameters = match function.take("parameters") {
        None => None,
        Some(value @ Value::Object(_)) => {
            let text = serde_json::to_string(&value).ok().filter(|text| text.len() <= MAX_SCHEMA_BYTES);
            Some(text.ok_or_else(|| function.wrong("parameters", &wanted))?)
        }
        Some(_) => return Err(function.wrong("parameters", &wanted)),
    };
    Ok((Tool { name, description, parameters, strict }, function.path("name")))
}

/// Refuses every kind of tool but functions, by name.
fn function_only(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.take("type") {
        Some(Value::Text(kind)) if kind == "function" => Ok(()),
        None => Err(fields.missing("type")),
        Some(_) => Err(ApiError::unsupported(fields.path("type"))),
    }
}

fn name(fields: &mut Fields) -> Result<String, ApiError> {
    let fits = |name: &str| {
        (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    match fields.take("name") {
        Some(Value::Text(name)) if fits(&name) => Ok(name),
        None => Err(fields.missing("name")),
        Some(_) => {
            let wanted = format!("a name of 1 to {MAX_NAME_BYTES} letters of ASCII, digits, '_' and '-'");
            Err(fields.wrong("name", wanted))
        }
    }
}

fn choice(fields: &mut Fields, nesting: Nesting, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let asked = match fields.take("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::Text(word)) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return Err(fields.wrong("tool_choice", "none, auto, required or a function")),
        },
        Some(value @ Value::Object(_)) => {
            let mut choice = Fields::of(value, &fields.path("tool_choice"))?;
            function_only(&mut choice)?;
            let mut function = nesting.function(choice)?;
            let name = name(&mut function)?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(function.wrong("name", "the name of one of the tools"));
            }
            ToolChoice::Named(name)
        }
        Some(_) => return Err(fields.wrong("tool_choice", "none, auto, required or a function")),
    };
    match asked {
        ToolChoice::Required if tools.is_empty() => {
            Err(fields.wrong("tool_choice", "none or auto where there are no 'tools'"))
        }
        // Without tools both say the same.
        ToolChoice::None if tools.is_empty() => Ok(ToolChoice::Auto),
        asked => Ok(asked),
    }
}

/// The calls of an assistant's message.
pub(crate) fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    let path = fields.path("tool_calls");
    let list = match fields.take("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Value::List(list)) if list.len() <= MAX_CALLS => list,
        Some(_) => return Err(fields.wrong("tool_calls", format!("a list of up to {MAX_CALLS} calls"))),
    };
    let read = |(at, value)| {
        let mut fields = Fields::of(value, &format!("{path}[{at}]"))?;
        function_only(&mut fields)?;
        let id = fields.text("id", 1..=MAX_CALL_ID_BYTES)?.ok_or_else(|| fields.missing("id"))?;
        call(id, &mut Nesting::Inner.function(fields)?)
    };
    list.into_iter().enumerate().map(read).collect()
}

/// A call whose name and arguments are in these fields.
pub(crate) fn call(id: String, function: &mut Fields) -> Result<ToolCall, ApiError> {
    let name = name(function)?;
    let path = function.path("arguments");
    let refused = || {
        let message =
            format!("'{path}' must be text of a JSON object of at most {MAX_ARGUMENTS_BYTES} bytes");
        ApiError::invalid(&path, message)
    };
    let arguments = match function.take("arguments") {
        // What a model may write that has nothing to say.
        None => "{}".to_owned(),
        Some(Value::Text(text)) if text.trim().is_empty() => "{}".to_owned(),
        Some(Value::Text(text)) if text.len() <= MAX_ARGUMENTS_BYTES => {
            plain(&path, &text)?;
            let object = parse_object(text.as_bytes()).map_err(|_| refused())?;
            serde_json::to_string(&Value::Object(object)).map_err(|_| refused())?
        }
        Some(_) => return Err(refused()),
    };
    Ok(ToolCall { id, name, arguments })
}
