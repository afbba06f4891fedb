//! `/health`: whether requests are taken. It needs no key.

use crate::{
    app::App,
    error::{ApiError, json_response},
};
use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use serde_json::json;
use std::sync::Arc;

pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Response<Body>, ApiError> {
    if app.models.is_open() {
        return Ok(json_response(&json!({ "status": "ok" })));
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server takes no more requests"))
}
