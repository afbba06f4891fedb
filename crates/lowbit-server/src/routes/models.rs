//! `/v1/models`: the one that is served.

use crate::{
    app::App,
    error::{ApiError, json_response},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{Response, StatusCode},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    json_response(&json!({ "object": "list", "data": [model(&app)] }))
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    if id == app.model_id {
        return Ok(json_response(&model(&app)));
    }
    let message = format!("no such model; this server has {:?}", app.model_id);
    Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"))
}

fn model(app: &App) -> Value {
    json!({
        "id": app.model_id,
        "object": "model",
        "created": app.started,
        "owned_by": "lowbit",
        "max_model_len": app.scheduler.options().context,
    })
}
