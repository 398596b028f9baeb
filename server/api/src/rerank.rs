//! `POST /v1/rerank`, as Jina, Cohere and vLLM have it.

use crate::ApiError;
use crate::fields::{Fields, plain};
use crate::generation::{model, model_schema};
use crate::json::{MAX_BODY_BYTES, Value, parse_object};
use crate::openapi::schema::Schema;
use crate::unsupported;
use serde::Serialize;
use std::fmt;

/// The most documents of one request.
pub const MAX_DOCUMENTS: usize = 2048;

/// A rerank request in which every field is within its range. Made only by [`RerankRequest::parse`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RerankRequest {
    /// The model's name.
    pub model: String,
    /// What is looked for; not empty.
    pub query: String,
    /// 1 to [`MAX_DOCUMENTS`] texts, none of them empty.
    pub documents: Vec<String>,
    /// How many of the best are answered; all when there are fewer.
    pub top_n: usize,
    /// Whether the answer repeats the documents.
    pub echo: Echo,
}

impl fmt::Debug for RerankRequest {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model: _, query, documents, top_n, echo } = self;
        f.debug_struct("RerankRequest")
            .field("query", &query.len())
            .field("documents", &documents.len())
            .field("top_n", top_n)
            .field("echo", echo)
            .finish_non_exhaustive()
    }
}

/// Whether an answer repeats what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// Numbers only.
    Nothing,
    /// The documents too.
    Documents,
}

impl RerankRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let text = || Schema::text(1..=MAX_BODY_BYTES);
        let document = Schema::any_of([text(), Schema::request(vec![("text", text())], Vec::new())]);
        let mut fields = vec![
            ("top_n", Schema::integer(&(1..=u32::MAX)).about("How many of the best; all when not given")),
            ("return_documents", Schema::flag().default(false)),
        ];
        fields.extend(unsupported::fields_of(unsupported::RERANK));
        let documents = Schema::list(document, &(1..=MAX_DOCUMENTS));
        Schema::request(vec![("model", model_schema()), ("query", text()), ("documents", documents)], fields)
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::RERANK)?;
        let query = fields.text("query", 1..=MAX_BODY_BYTES)?.ok_or_else(|| fields.missing("query"))?;
        let documents = documents(&mut fields)?;
        let top_n = fields.integer("top_n", 1..=u32::MAX)?;
        let top_n = top_n.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let echo = match fields.flag("return_documents")? {
            Some(true) => Echo::Documents,
            Some(false) | None => Echo::Nothing,
        };
        Ok(Self { model, query, documents, top_n, echo })
    }
}

/// Takes the documents: a list of texts, or of objects with a text.
fn documents(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    match fields.take("documents") {
        None => Err(fields.missing("documents")),
        Some(Value::List(list)) if (1..=MAX_DOCUMENTS).contains(&list.len()) => {
            let document = |(at, value)| document(value, &format!("documents[{at}]"));
            list.into_iter().enumerate().map(document).collect()
        }
        Some(_) => Err(fields.wrong("documents", format!("a list of 1 to {MAX_DOCUMENTS} texts"))),
    }
}

fn document(value: Value, path: &str) -> Result<String, ApiError> {
    match value {
        Value::Text(text) if !text.is_empty() => plain(path, &text).map(|()| text),
        Value::Object(_) => {
            let mut fields = Fields::of(value, path)?;
            fields.text("text", 1..=MAX_BODY_BYTES)?.ok_or_else(|| fields.missing("text"))
        }
        _ => Err(ApiError::invalid(path, format!("'{path}' must be a text that is not empty, or have one"))),
    }
}

#[derive(Serialize)]
struct Reranking<'a> {
    id: &'a str,
    model: &'a str,
    results: Vec<Ranked<'a>>,
    usage: Usage,
}

#[derive(Serialize)]
struct Ranked<'a> {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document<'a>>,
}

#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The answer of `POST /v1/rerank`: the best documents, the best one first; of equal ones the earlier. Presumes a finite score for each
/// document of the request: JSON has no other numbers.
#[must_use]
pub fn reranking(id: &str, request: &RerankRequest, scores: &[f32], tokens: u64) -> Vec<u8> {
    let mut order: Vec<(usize, f32, &String)> = scores
        .iter()
        .zip(&request.documents)
        .enumerate()
        .map(|(index, (&score, document))| (index, score, document))
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let results = order
        .into_iter()
        .take(request.top_n)
        .map(|(index, relevance_score, text)| Ranked {
            index,
            relevance_score,
            document: (request.echo == Echo::Documents).then_some(Document { text }),
        })
        .collect();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let answer = Reranking { id, model: &request.model, results, usage };
    serde_json::to_vec(&answer).expect("plain structs with string keys are always JSON")
}
