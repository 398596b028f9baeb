//! Documented fields that this server does not offer. Each is refused by name, except with the one value that asks
//! for nothing, because generated clients send defaults.

use crate::ApiError;
use crate::fields::{Fields, as_number};
use crate::json::Value;
use crate::openapi::schema::{Field, Schema};
use serde_json::json;

/// The value, besides null, with which a field asks for nothing.
#[derive(Clone, Copy)]
pub(crate) enum Neutral {
    Null,
    False,
    True,
    Zero,
    One,
    /// An empty list, object or text.
    Empty,
    /// One of these texts, or a list of nothing else.
    Words(&'static [&'static str]),
}

impl Neutral {
    /// The values that are taken.
    fn schema(self) -> Schema {
        let empty = |kind: &str, most: &str| json!({"type": kind, (most): 0});
        let value = match self {
            Self::Null => return Schema::null(),
            Self::False => json!({"const": false}),
            Self::True => json!({"const": true}),
            Self::Zero => json!({"const": 0}),
            Self::One => json!({"const": 1}),
            Self::Empty => json!({"anyOf": [
                empty("array", "maxItems"),
                empty("object", "maxProperties"),
                empty("string", "maxLength"),
            ]}),
            Self::Words(words) => {
                let word = json!({"enum": words});
                json!({"anyOf": [word, {"type": "array", "items": word}]})
            }
        };
        Schema::new(value)
    }

    fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::False, Value::Bool(flag)) => !flag,
            (Self::True, Value::Bool(flag)) => *flag,
            (Self::Zero, number) => as_number(number) == Some(0.0),
            (Self::One, number) => as_number(number) == Some(1.0),
            (Self::Empty, Value::List(list)) => list.is_empty(),
            (Self::Empty, Value::Object(object)) => object.is_empty(),
            (Self::Empty, Value::Text(text)) => text.is_empty(),
            (Self::Words(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Self::Words(_), Value::List(list)) => {
                list.iter().all(|item| matches!(item, Value::Text(_)) && self.accepts(item))
            }
            _ => false,
        }
    }
}

/// The fields of `table` in a schema.
pub(crate) fn fields_of(table: &[(&'static str, Neutral)]) -> impl Iterator<Item = Field> {
    table.iter().map(|(name, neutral)| (*name, neutral.schema().not_offered()))
}

/// The same, of a table that says what took their place.
pub(crate) fn older_fields_of(
    table: &[(&'static str, Neutral, &'static str)],
) -> impl Iterator<Item = Field> {
    table.iter().map(|(name, neutral, newer)| {
        (*name, neutral.schema().not_offered().about(format!("Not offered: use `{newer}`")))
    })
}

/// Refuses the first field of `table` that asks for something.
pub(crate) fn refuse(fields: &mut Fields, table: &[(&'static str, Neutral)]) -> Result<(), ApiError> {
    for (name, neutral) in table {
        if fields.take(name).is_some_and(|value| !neutral.accepts(&value)) {
            return Err(ApiError::unsupported(fields.path(name)));
        }
    }
    Ok(())
}

/// Refuses the first older field of `table` that asks for something, and says what took its place.
pub(crate) fn refuse_older(
    fields: &mut Fields,
    table: &[(&'static str, Neutral, &'static str)],
) -> Result<(), ApiError> {
    for (name, neutral, newer) in table {
        if fields.take(name).is_some_and(|value| !neutral.accepts(&value)) {
            return Err(ApiError::superseded(fields.path(name), newer));
        }
    }
    Ok(())
}

/// Of chat, with what took their place.
pub(crate) const CHAT_OLDER: &[(&str, Neutral, &str)] = &[
    ("functions", Neutral::Empty, "tools"),
    ("function_call", Neutral::Words(&["none", "auto"]), "tool_choice"),
];

/// Of both kinds of generation.
pub(crate) const GENERATION: &[(&str, Neutral)] = &[
    ("use_beam_search", Neutral::False),
    ("length_penalty", Neutral::One),
    ("include_stop_str_in_output", Neutral::False),
    ("skip_special_tokens", Neutral::True),
    ("bad_words", Neutral::Empty),
    ("allowed_token_ids", Neutral::Null),
    ("logits_processors", Neutral::Empty),
    ("prompt_logprobs", Neutral::Null),
    ("truncate_prompt_tokens", Neutral::Null),
    ("return_token_ids", Neutral::False),
    ("return_tokens_as_token_ids", Neutral::False),
    ("guided_grammar", Neutral::Null),
    ("priority", Neutral::Zero),
    ("prompt_embeds", Neutral::Null),
    ("mm_processor_kwargs", Neutral::Empty),
    ("media_io_kwargs", Neutral::Empty),
    ("kv_transfer_params", Neutral::Empty),
    ("vllm_xargs", Neutral::Empty),
];

/// Of chat only. A caller's chat template would run in the model's process: never.
pub(crate) const CHAT: &[(&str, Neutral)] = &[
    ("chat_template", Neutral::Null),
    ("chat_template_kwargs", Neutral::Empty),
    ("documents", Neutral::Empty),
    ("add_generation_prompt", Neutral::True),
    ("continue_final_message", Neutral::False),
    ("echo", Neutral::False),
    ("audio", Neutral::Null),
    ("modalities", Neutral::Words(&["text"])),
    ("web_search_options", Neutral::Null),
    ("moderation", Neutral::Null),
];

/// Of responses only: nothing is kept between requests, and no tool runs here.
pub(crate) const RESPONSES: &[(&str, Neutral)] = &[
    ("previous_response_id", Neutral::Null),
    ("conversation", Neutral::Null),
    ("prompt", Neutral::Null),
    ("background", Neutral::False),
    ("max_tool_calls", Neutral::Null),
    ("truncation", Neutral::Words(&["disabled"])),
    ("context_management", Neutral::Empty),
    ("background_options", Neutral::Empty),
    ("access_programs", Neutral::Empty),
    ("image", Neutral::Null),
    ("moderation", Neutral::Null),
    ("n", Neutral::One),
    ("chat_template", Neutral::Null),
    ("chat_template_kwargs", Neutral::Empty),
];

/// Of responses, with what took their place.
pub(crate) const RESPONSES_OLDER: &[(&str, Neutral, &str)] = &[
    ("messages", Neutral::Null, "input"),
    ("max_tokens", Neutral::Null, "max_output_tokens"),
    ("max_completion_tokens", Neutral::Null, "max_output_tokens"),
    ("response_format", Neutral::Null, "text.format"),
    ("functions", Neutral::Empty, "tools"),
];

/// Of completions only.
pub(crate) const COMPLETION: &[(&str, Neutral)] = &[
    ("best_of", Neutral::One),
    ("echo", Neutral::False),
    ("suffix", Neutral::Empty),
    ("chat_template", Neutral::Null),
    ("add_special_tokens", Neutral::True),
];

/// Of `structured_outputs`.
pub(crate) const STRUCTURED: &[(&str, Neutral)] = &[
    ("grammar", Neutral::Null),
    ("structural_tag", Neutral::Null),
    ("whitespace_pattern", Neutral::Null),
    // Ours has no white space and never did.
    ("disable_any_whitespace", Neutral::True),
    ("disable_additional_properties", Neutral::False),
    ("disable_fallback", Neutral::True),
];

/// Of `response_format` with the type `json_object`. Some servers take a schema there; ours stands in `json_schema`.
pub(crate) const JSON_OBJECT: &[(&str, Neutral)] =
    &[("schema", Neutral::Null), ("json_schema", Neutral::Null)];

/// Of embeddings.
pub(crate) const EMBEDDING: &[(&str, Neutral)] = &[
    ("messages", Neutral::Empty),
    ("chat_template", Neutral::Null),
    ("chat_template_kwargs", Neutral::Empty),
    ("truncate_prompt_tokens", Neutral::Null),
    ("truncate", Neutral::False),
    ("add_special_tokens", Neutral::True),
    ("normalize", Neutral::True),
    ("prompt_embeds", Neutral::Null),
];

/// Of reranking. What does not fit is refused and never cut.
pub(crate) const RERANK: &[(&str, Neutral)] = &[
    ("rank_fields", Neutral::Empty),
    ("max_chunks_per_doc", Neutral::Null),
    ("max_tokens_per_doc", Neutral::Null),
    ("truncate_prompt_tokens", Neutral::Null),
    ("truncate", Neutral::False),
    ("truncation", Neutral::False),
    ("raw_scores", Neutral::False),
    ("return_embeddings", Neutral::False),
];

/// Of a chat message.
pub(crate) const MESSAGE: &[(&str, Neutral)] = &[("function_call", Neutral::Null), ("audio", Neutral::Null)];

/// Of tokenizing.
pub(crate) const TOKENIZE: &[(&str, Neutral)] = &[
    ("chat_template", Neutral::Null),
    ("chat_template_kwargs", Neutral::Empty),
    ("add_generation_prompt", Neutral::True),
    ("continue_final_message", Neutral::False),
    ("mm_processor_kwargs", Neutral::Empty),
];
