//! `POST /v1/rerank`: from the body to the worker and back.

use crate::exchange::{Answer, Exchange};
use crate::flight::{Tokens, Update};
use crate::refuse::{self, Named};
use anchorhold_api::{ApiError, RerankRequest, reranking};
use anchorhold_ipc::{ModelKind, WorkKind};
use axum::extract::Request;

/// Asks for the scores and sorts the documents by them.
pub(crate) async fn rerank(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = RerankRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Rerank)?;
    let work = WorkKind::Rerank {
        tenancy: exchange.tenancy(),
        query: asked.query.clone(),
        documents: asked.documents.clone(),
    };
    let mut flight = worker.submit(vec![work], 1).map_err(refuse::flight)?;
    let (scores, tokens) = match flight.next().await.map_err(refuse::flight)?.1 {
        Update::Ranked { scores, tokens_in } => (scores, tokens_in),
        Update::Failed(error) => return Err(refuse::worker(&error, Named { prompt: "documents", form: "" })),
        _ => return Err(ApiError::internal()),
    };
    if scores.len() != asked.documents.len() || !scores.iter().all(|score| score.is_finite()) {
        return Err(ApiError::internal());
    }
    exchange.count(Tokens { read: tokens, ..Tokens::default() });
    let id = format!("rerank-{}", exchange.rid());
    Ok(Answer::Whole(reranking(&id, &asked, &scores, tokens)))
}
