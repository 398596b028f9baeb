//! `POST /v1/embeddings`: from the body to the worker and back.

use crate::ask::prompt;
use crate::exchange::{Answer, Exchange};
use crate::flight::{Tokens, Update};
use crate::refuse::{self, Named};
use anchorhold_api::{ApiError, EmbeddingRequest, embeddings};
use anchorhold_ipc::{ModelInfo, ModelKind, Shorter, WorkKind};
use axum::extract::Request;

/// Asks for the vectors, and cuts them where that is asked and the model allows it.
pub(crate) async fn embedding(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = EmbeddingRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Embedding)?;
    let dimensions = worker.info.dimensions;
    let wanted = asked.dimensions.unwrap_or(dimensions);
    if wanted != dimensions && !worker.info.shorter.allows(dimensions, wanted) {
        return Err(ApiError::invalid("dimensions", cannot_be_cut(&worker.info)));
    }
    let count = asked.inputs.len();
    let inputs = asked.inputs.into_iter().map(prompt).collect();
    let mut flight = worker
        .submit(vec![WorkKind::Embed { tenancy: exchange.tenancy(), inputs }], 1)
        .map_err(refuse::flight)?;
    let (vectors, tokens) = match flight.next().await.map_err(refuse::flight)?.1 {
        Update::Embedded { vectors, tokens_in } => (vectors, tokens_in),
        Update::Failed(error) => {
            return Err(refuse::worker(&error, Named { prompt: "input", form: "" }));
        }
        _ => return Err(ApiError::internal()),
    };
    let whole = |vector: &Vec<f32>| {
        u32::try_from(vector.len()) == Ok(dimensions) && vector.iter().all(|number| number.is_finite())
    };
    if vectors.len() != count || !vectors.iter().all(whole) {
        return Err(ApiError::internal());
    }
    exchange.count(Tokens { read: tokens, ..Tokens::default() });
    let vectors: Vec<Vec<f32>> = vectors.into_iter().map(|vector| cut(vector, wanted)).collect();
    Ok(Answer::Whole(embeddings(&asked.model, &vectors, asked.encoding, tokens)))
}

/// What a caller is told who asks for another length.
fn cannot_be_cut(info: &ModelInfo) -> String {
    let own = info.dimensions;
    match &info.shorter {
        Shorter::No => format!("this model's embeddings have {own} dimensions and cannot be shortened"),
        Shorter::Any => format!("this model's embeddings have 1 to {own} dimensions"),
        Shorter::To(lengths) => {
            let lengths: Vec<String> = lengths.iter().chain([&own]).map(ToString::to_string).collect();
            format!("this model's embeddings have one of these numbers of dimensions: {}", lengths.join(", "))
        }
    }
}

/// The first `wanted` numbers of a vector, brought to length 1 again; the whole vector as it is.
#[expect(clippy::cast_possible_truncation, reason = "a number of at most 1 is rounded to f32")]
fn cut(mut vector: Vec<f32>, wanted: u32) -> Vec<f32> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if wanted >= vector.len() {
        return vector;
    }
    vector.truncate(wanted);
    let norm = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / norm) as f32);
    }
    vector
}
