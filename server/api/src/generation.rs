//! The fields that chat and completions share: how tokens are drawn, when to end, how the answer leaves.

use crate::ApiError;
use crate::fields::{Fields, as_integer, as_number, plain};
use crate::form::Form;
use crate::json::Value;
use crate::openapi::schema::{Field, Schema};
use crate::unsupported;
use std::fmt;
use std::ops::RangeInclusive;

/// The longest name of a model, in bytes.
pub const MAX_MODEL_NAME_BYTES: usize = 256;
/// The most tokens that may be asked for.
pub const MAX_OUTPUT_TOKENS: u32 = 1 << 24;
/// The most stop texts.
pub const MAX_STOPS: usize = 4;
/// The longest stop text, in bytes.
pub const MAX_STOP_BYTES: usize = 256;
/// The most entries of `logit_bias`.
pub const MAX_LOGIT_BIAS: usize = 1024;
/// The most texts after one prompt.
pub const MAX_N: u16 = 16;
/// The most `stop_token_ids`.
pub const MAX_STOP_TOKENS: usize = 64;
/// The lowest `repetition_penalty`. A logit over it, or under it, stays a finite number.
pub const MIN_REPETITION_PENALTY: f32 = 0.01;
/// The highest `repetition_penalty`.
pub const MAX_REPETITION_PENALTY: f32 = 10.0;
const PENALTIES: RangeInclusive<f32> = MIN_REPETITION_PENALTY..=MAX_REPETITION_PENALTY;
const SEEDS: RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;
/// The longest `cache_salt`, in bytes.
const MAX_SALT_BYTES: usize = 1024;
/// Below this a temperature means argmax: dividing by it would overflow.
const ARGMAX_BELOW: f32 = 1e-5;

/// How to generate. Made only by parsing a request.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Generation {
    /// 0 (argmax) to 2; 1 when not given.
    pub temperature: f32,
    /// Over 0, up to 1.
    pub top_p: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 0 to 1.
    pub min_p: f32,
    /// [`MIN_REPETITION_PENALTY`] to [`MAX_REPETITION_PENALTY`]; 1 changes nothing.
    pub repetition_penalty: f32,
    /// -2 to 2.
    pub frequency_penalty: f32,
    /// -2 to 2.
    pub presence_penalty: f32,
    /// Token ids and what is added to their logits, -100 to 100; ids ascend and are unique.
    pub logit_bias: Vec<(u32, f32)>,
    /// The bits of the caller's seed.
    pub seed: Option<u64>,
    /// The most tokens to generate, at least 1.
    pub max_tokens: Option<u32>,
    /// Up to [`MAX_STOPS`] texts, none empty.
    pub stop: Vec<String>,
    /// Up to [`MAX_STOP_TOKENS`] token ids that end the text.
    pub stop_token_ids: Vec<u32>,
    /// How many tokens come before one that ends the text; at most `max_tokens`.
    pub min_tokens: u32,
    /// Go on past the end-of-sequence token.
    pub ignore_eos: bool,
    /// How many texts after each prompt: 1 to [`MAX_N`].
    pub n: u16,
    /// How many of the likeliest tokens are told at each place; `None` tells of no token.
    pub logprobs: Option<u8>,
    /// The form that each text must have.
    pub form: Option<Form>,
}

impl fmt::Debug for Generation {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("n", &self.n)
            .field("max_tokens", &self.max_tokens)
            .field("min_tokens", &self.min_tokens)
            .field("temperature", &self.temperature)
            .field("stop", &self.stop.len())
            .field("stop_token_ids", &self.stop_token_ids.len())
            .field("logit_bias", &self.logit_bias.len())
            .field("logprobs", &self.logprobs)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// How the answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// One JSON object.
    Whole,
    /// Events.
    Stream {
        /// End with an event that holds the usage.
        include_usage: bool,
    },
}

/// The name of the model, which every request needs.
pub(crate) fn model(fields: &mut Fields) -> Result<String, ApiError> {
    fields.text("model", 1..=MAX_MODEL_NAME_BYTES)?.ok_or_else(|| fields.missing("model"))
}

/// The schema of the name of the model.
pub(crate) fn model_schema() -> Schema {
    Schema::text(1..=MAX_MODEL_NAME_BYTES).about("The model's id; see `/v1/models`")
}

impl Generation {
    /// The shared fields in a schema; `max_tokens` are the names of its field.
    pub(crate) fn schema(max_tokens: &[&'static str], default: Option<u32>) -> Vec<Field> {
        let most = |name: &'static str| {
            let schema = Schema::integer(&(1..=MAX_OUTPUT_TOKENS)).about("The most tokens to generate");
            (name, if let Some(tokens) = default { schema.default(tokens) } else { schema })
        };
        let one = |range: RangeInclusive<f32>, default: f32| Schema::number(&range).default(default);
        let tokens = Schema::list(Schema::integer(&(0..=u32::MAX)), &(0..=MAX_STOP_TOKENS));
        let stop = Schema::text(1..=MAX_STOP_BYTES);
        let bias = Schema::map(Schema::number(&(-100.0..=100.0)), MAX_LOGIT_BIAS);
        let mut fields: Vec<Field> = max_tokens.iter().copied().map(most).collect();
        fields.extend([
            (
                "cache_salt",
                Schema::text(1..=MAX_SALT_BYTES).about("Taken; no cache is shared between tenants"),
            ),
            ("temperature", one(0.0..=2.0, 1.0).about("0 is the likeliest token")),
            ("top_p", one(0.0..=1.0, 1.0)),
            ("top_k", Schema::integer(&(-1..=i64::from(u32::MAX))).about("0 and -1 keep all").default(0)),
            ("min_p", one(0.0..=1.0, 0.0)),
            ("repetition_penalty", one(PENALTIES, 1.0)),
            ("frequency_penalty", one(-2.0..=2.0, 0.0)),
            ("presence_penalty", one(-2.0..=2.0, 0.0)),
            ("logit_bias", bias.about("Token ids, and what is added to their logits")),
            ("seed", Schema::integer(&SEEDS).about("The same seed, the same text")),
            ("stop", Schema::any_of([stop.clone(), Schema::list(stop, &(0..=MAX_STOPS))])),
            ("stop_token_ids", tokens),
            ("min_tokens", Schema::integer(&(0..=MAX_OUTPUT_TOKENS)).default(0)),
            ("ignore_eos", Schema::flag().default(false)),
            ("n", Schema::integer(&(1..=MAX_N)).default(1)),
        ]);
        fields.extend(Form::schema());
        fields.extend(unsupported::fields_of(unsupported::GENERATION));
        fields
    }

    /// Takes the shared fields; `max_tokens` is the name of the field, and `newer` its newer name if it has one.
    pub(crate) fn parse(
        fields: &mut Fields,
        newer: Option<&'static str>,
        logprobs: Option<u8>,
    ) -> Result<Self, ApiError> {
        unsupported::refuse(fields, unsupported::GENERATION)?;
        // Accepted and checked, and without effect: no cache is shared between requests of different callers.
        fields.text("cache_salt", 1..=MAX_SALT_BYTES)?;
        let temperature = fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0);
        // A top_p of 0 means the most likely token alone, which the smallest positive share keeps too.
        let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0).max(f32::MIN_POSITIVE);
        let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?.unwrap_or(0);
        let max_tokens = max_tokens(fields, newer)?;
        Ok(Self {
            temperature: if temperature < ARGMAX_BELOW { 0.0 } else { temperature },
            top_p,
            top_k: u32::try_from(top_k).unwrap_or(0),
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            repetition_penalty: fields.number("repetition_penalty", PENALTIES)?.unwrap_or(1.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            logit_bias: logit_bias(fields)?,
            seed: seed(fields)?,
            max_tokens,
            stop: stop(fields)?,
            stop_token_ids: stop_token_ids(fields)?,
            min_tokens: min_tokens(fields, max_tokens)?,
            ignore_eos: fields.flag("ignore_eos")?.unwrap_or(false),
            n: fields.integer("n", 1..=MAX_N)?.unwrap_or(1),
            logprobs,
            form: Form::parse(fields)?,
        })
    }
}

impl Delivery {
    /// Its fields in a schema.
    pub(crate) fn schema() -> [Field; 2] {
        let options = Schema::request(
            Vec::new(),
            vec![("include_usage", Schema::flag().default(false)), ("include_obfuscation", Schema::flag())],
        );
        [
            ("stream", Schema::flag().default(false)),
            ("stream_options", options.about("Only where `stream` is true")),
        ]
    }

    pub(crate) fn parse(fields: &mut Fields) -> Result<Self, ApiError> {
        let stream = fields.flag("stream")?.unwrap_or(false);
        let options = fields.take("stream_options");
        match (stream, options) {
            (false, None) => Ok(Self::Whole),
            (false, Some(_)) => Err(ApiError::invalid(
                "stream_options",
                "'stream_options' is only allowed with 'stream': true",
            )),
            (true, None) => Ok(Self::Stream { include_usage: false }),
            (true, Some(options)) => {
                let mut options = Fields::of(options, "stream_options")?;
                // Padding against length analysis is of the transport's; the field is accepted and ignored.
                options.flag("include_obfuscation")?;
                Ok(Self::Stream { include_usage: options.flag("include_usage")?.unwrap_or(false) })
            }
        }
    }
}

fn max_tokens(fields: &mut Fields, newer: Option<&'static str>) -> Result<Option<u32>, ApiError> {
    let older = fields.integer("max_tokens", 1..=MAX_OUTPUT_TOKENS)?;
    let newer = newer.map(|name| fields.integer(name, 1..=MAX_OUTPUT_TOKENS)).transpose()?.flatten();
    match (older, newer) {
        (Some(older), Some(newer)) if older != newer => {
            Err(ApiError::invalid("max_tokens", "'max_tokens' and 'max_completion_tokens' differ"))
        }
        (older, newer) => Ok(newer.or(older)),
    }
}

fn min_tokens(fields: &mut Fields, max_tokens: Option<u32>) -> Result<u32, ApiError> {
    let least = fields.integer("min_tokens", 0..=MAX_OUTPUT_TOKENS)?.unwrap_or(0);
    match max_tokens {
        Some(most) if least > most => Err(fields.wrong("min_tokens", "no more than 'max_tokens'")),
        _ => Ok(least),
    }
}

fn stop_token_ids(fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let wanted = format!("a list of up to {MAX_STOP_TOKENS} token ids");
    match fields.take("stop_token_ids") {
        None => Ok(Vec::new()),
        Some(Value::List(list)) if list.len() <= MAX_STOP_TOKENS => list
            .iter()
            .map(as_integer)
            .collect::<Option<_>>()
            .ok_or_else(|| fields.wrong("stop_token_ids", wanted)),
        Some(_) => Err(fields.wrong("stop_token_ids", wanted)),
    }
}

fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let Some(seed) = fields.integer("seed", SEEDS)? else { return Ok(None) };
    Ok(u64::try_from(seed).ok().or_else(|| i64::try_from(seed).ok().map(i64::cast_unsigned)))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let wanted = format!("text or a list of up to {MAX_STOPS} texts, each of 1 to {MAX_STOP_BYTES} bytes");
    let list = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::List(list)) if list.len() <= MAX_STOPS => list,
        Some(text @ Value::Text(_)) => vec![text],
        Some(_) => return Err(fields.wrong("stop", wanted)),
    };
    list.into_iter()
        .map(|item| match item {
            Value::Text(text) if (1..=MAX_STOP_BYTES).contains(&text.len()) => {
                plain("stop", &text).map(|()| text)
            }
            _ => Err(fields.wrong("stop", &wanted)),
        })
        .collect()
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let wanted =
        format!("an object of up to {MAX_LOGIT_BIAS} token ids, each with a number from -100 to 100");
    let entries = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) if entries.len() <= MAX_LOGIT_BIAS => entries,
        Some(_) => return Err(fields.wrong("logit_bias", wanted)),
    };
    let read = |key: &str, value: &Value| {
        let id = key.parse().ok().filter(|id: &u32| id.to_string() == key)?;
        let bias = as_number(value).filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((id, bias))
    };
    let mut biases = entries
        .iter()
        .map(|(key, value)| read(key, value).ok_or_else(|| fields.wrong("logit_bias", &wanted)))
        .collect::<Result<Vec<_>, _>>()?;
    biases.sort_by_key(|(id, _)| *id);
    Ok(biases)
}
