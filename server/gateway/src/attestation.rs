//! What proves to callers whom they talk to: the attestation document, and authenticators of connections. Needs no key.

use crate::App;
use crate::refuse::{json, refuse};
use crate::words::unix_seconds;
use anchorhold_api::ApiError;
use anchorhold_channel::authenticator::{CONTENT_TYPE, Exporters, MAX_REQUEST_BYTES, Request, Unsigned};
use anchorhold_channel::server::read_body;
use anchorhold_rats::Nonce;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header;
use http::{HeaderValue, StatusCode, Uri};
use std::sync::Arc;
use std::time::Duration;

/// How long the request for an authenticator may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(5);

fn busy() -> ApiError {
    ApiError::unavailable("attestation_busy", "too many attestations are being made")
}

/// The evidence for a nonce that the caller chose, byte for byte as the keeper made it.
pub(crate) async fn document(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let nonce = uri.query().and_then(|query| query.strip_prefix("nonce="));
    let Some(nonce) = nonce.and_then(|hex| hex.parse::<Nonce>().ok()) else {
        let message = "the query must be 'nonce=' and 64 lower-case hex digits, nothing else";
        return refuse(&ApiError::invalid("nonce", message));
    };
    let Ok(_permit) = app.attestations.try_acquire() else {
        return refuse(&busy());
    };
    match app.keeper.attest(*nonce.as_bytes()).await {
        Ok(document) => {
            app.metrics.attested(unix_seconds());
            json(StatusCode::OK, document)
        }
        Err(_) => refuse(&ApiError::unavailable("attestation_unavailable", "evidence could not be made")),
    }
}

/// An authenticator of the connection over which it is asked for.
pub(crate) async fn authenticator(
    State(app): State<Arc<App>>,
    exporters: Option<Extension<Arc<Exporters>>>,
    body: Body,
) -> Response {
    match authenticate(&app, exporters.map(|Extension(exporters)| exporters), body).await {
        Ok(authenticator) => {
            app.metrics.authenticators.inc();
            let mut response = Response::new(authenticator.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            response
        }
        Err(error) => refuse(&error),
    }
}

async fn authenticate(app: &App, exporters: Option<Arc<Exporters>>, body: Body) -> Result<Vec<u8>, ApiError> {
    let unread =
        || ApiError::malformed("the body is not a ClientCertificateRequest that takes ed25519 (RFC 9261)");
    let body = read_body(body, MAX_REQUEST_BYTES, BODY_WAIT).await.map_err(|_| unread())?;
    let request = Request::parse(&body).map_err(|_| unread())?;
    let exporters = exporters.ok_or_else(|| ApiError::malformed("this connection is not TLS 1.3"))?;
    let _permit = app.authenticators.try_acquire().map_err(|_| busy())?;
    let unsigned = Unsigned::new(&exporters, &request, &app.authenticator_certificate);
    let signature = app.keeper.authenticate(unsigned.transcript_hash()).await;
    let signature = signature.map_err(|_| {
        ApiError::unavailable("attestation_unavailable", "the authenticator could not be signed")
    })?;
    Ok(unsigned.finish(&signature))
}
