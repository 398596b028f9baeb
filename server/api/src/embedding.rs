//! `POST /v1/embeddings`.

use crate::ApiError;
use crate::fields::Fields;
use crate::generation::{model, model_schema};
use crate::input::{Input, inputs, inputs_schema};
use crate::json::{Value, parse_object};
use crate::openapi::schema::Schema;
use crate::unsupported;
use std::fmt;

/// The most inputs of one request.
pub const MAX_INPUTS: usize = 2048;

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

/// An embedding request in which every field is within its range. Made only by [`EmbeddingRequest::parse`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddingRequest {
    /// The model's name.
    pub model: String,
    /// 1 to [`MAX_INPUTS`] inputs; the answer keeps their order.
    pub inputs: Vec<Input>,
    /// How vectors are written.
    pub encoding: Encoding,
    /// The length that the caller wants; which can be had, the model says.
    pub dimensions: Option<u32>,
}

impl fmt::Debug for EmbeddingRequest {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingRequest")
            .field("inputs", &self.inputs)
            .field("encoding", &self.encoding)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

impl EmbeddingRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let encoding = Schema::one_of_words(&["float", "base64"]).default("float");
        let dimensions = Schema::integer(&(1..=u32::MAX)).about("Only what the model allows");
        let mut fields = vec![
            ("encoding_format", encoding.about("base64 is of little-endian f32")),
            ("dimensions", dimensions),
        ];
        fields.extend(unsupported::fields_of(unsupported::EMBEDDING));
        Schema::request(vec![("model", model_schema()), ("input", inputs_schema(MAX_INPUTS))], fields)
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::EMBEDDING)?;
        let encoding = match fields.take("encoding_format") {
            None => Encoding::Float,
            Some(Value::Text(word)) if word == "float" => Encoding::Float,
            Some(Value::Text(word)) if word == "base64" => Encoding::Base64,
            Some(_) => return Err(fields.wrong("encoding_format", "float or base64")),
        };
        let dimensions = fields.integer("dimensions", 1..=u32::MAX)?;
        let inputs = inputs(&mut fields, "input", MAX_INPUTS)?;
        Ok(Self { model, inputs, encoding, dimensions })
    }
}
