//! `POST /v1/completions`.

use crate::ApiError;
use crate::fields::Fields;
use crate::generation::{Delivery, Generation, model, model_schema};
use crate::input::{Input, inputs, inputs_schema};
use crate::json::parse_object;
use crate::openapi::schema::Schema;
use crate::unsupported;
use std::fmt;

/// The most prompts of one request.
pub const MAX_PROMPTS: usize = 16;
/// The most texts of one request, over all its prompts.
pub const MAX_TEXTS: usize = 128;
/// The most `logprobs`.
pub const MAX_LOGPROBS: u8 = 5;
/// What `max_tokens` is when it is not given.
pub const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// A completion request in which every field is within its range. Made only by [`CompletionRequest::parse`].
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct CompletionRequest {
    /// The model's name.
    pub model: String,
    /// 1 to [`MAX_PROMPTS`] prompts; the choices come in their order, those of one prompt together.
    pub prompts: Vec<Input>,
    /// How to generate; `max_tokens` is always given.
    pub generation: Generation,
    /// How the answer leaves.
    pub delivery: Delivery,
}

impl fmt::Debug for CompletionRequest {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionRequest")
            .field("prompts", &self.prompts)
            .field("generation", &self.generation)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl CompletionRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let mut fields = vec![("logprobs", Schema::integer(&(0..=MAX_LOGPROBS)))];
        fields.extend(Delivery::schema());
        fields.extend(Generation::schema(&["max_tokens"], Some(DEFAULT_COMPLETION_TOKENS)));
        fields.extend(unsupported::fields_of(unsupported::COMPLETION));
        Schema::request(vec![("model", model_schema()), ("prompt", inputs_schema(MAX_PROMPTS))], fields)
            .about(format!("At most {MAX_TEXTS} texts: prompts times `n`"))
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::COMPLETION)?;
        let delivery = Delivery::parse(&mut fields)?;
        let logprobs = fields.integer("logprobs", 0..=MAX_LOGPROBS)?;
        let mut generation = Generation::parse(&mut fields, None, logprobs)?;
        let max_tokens = *generation.max_tokens.get_or_insert(DEFAULT_COMPLETION_TOKENS);
        if generation.min_tokens > max_tokens {
            return Err(fields.wrong("min_tokens", "no more than 'max_tokens'"));
        }
        let prompts = inputs(&mut fields, "prompt", MAX_PROMPTS)?;
        if prompts.len().saturating_mul(generation.n.into()) > MAX_TEXTS {
            let message = format!("'prompt' and 'n' ask for more than {MAX_TEXTS} texts");
            return Err(ApiError::invalid("n", message));
        }
        Ok(Self { model, prompts, generation, delivery })
    }
}
