//! The routes, one file for each API or group of them.

mod anthropic;
mod chat;
mod completions;
mod embeddings;
mod health;
mod messages;
mod metrics;
mod models;
mod ollama;
mod openapi;
pub(crate) mod page;
mod responses;
mod tokens;

use crate::{
    answer::{Asked, answer},
    app::{App, Required},
    body,
    connection::Peer,
    error::ApiError,
    fields::Fields,
    guard::{errors_in_form, guard},
    served::Served,
};
use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
    routing::{get, post},
};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// All routes, behind the guard. A panic in one becomes a status of 500.
pub(crate) fn router(app: Arc<App>) -> Router {
    let page = page::FILES
        .iter()
        .fold(Router::new(), |router, file| router.route(file.path, get(async move || file.response())));
    page.route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/responses", post(responses::responses))
        .route("/v1/embeddings", post(embeddings::openai))
        .route("/v1/messages", post(anthropic::messages))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(embeddings::ollama))
        .route("/api/tags", get(ollama::tags))
        .route("/api/ps", get(ollama::running))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/openapi.json", get(openapi::description))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics))
        .fallback(async || {
            ApiError::new(StatusCode::NOT_FOUND, "no such route; see docs/serve.md").into_response()
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route has another method").into_response()
        })
        .layer(from_fn_with_state(app.clone(), guard))
        .layer(CatchPanicLayer::custom(|_| -> Response<Body> { ApiError::internal().into_response() }))
        .layer(from_fn(errors_in_form))
        .with_state(app)
}

/// Answers a request: reads it, finds its model, and lets `prepare` make of the fields what is asked of the scheduler. It is
/// told whose turn it is where the request does not say.
async fn ask(
    app: Arc<App>,
    Peer(peer): Peer,
    request: Request<Body>,
    prepare: impl FnOnce(&App, &Served, Fields, String) -> Result<Asked, ApiError> + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    let served = app.model(&mut fields, Required::Yes).await?;
    let (preparing, model) = (app.clone(), served.clone());
    let asked = beside(move || prepare(&preparing, &model, fields, peer.to_string())).await?;
    answer(app, served, asked).await
}

/// Runs what takes time for long prompts - templates, tokenizers - beside the connections.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())?
}
