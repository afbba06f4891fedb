//! `/v1/models`: those that are served.

use crate::{
    app::App,
    error::{ApiError, json_response},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{Response, StatusCode},
};
use serde_json::json;
use std::sync::Arc;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    let models = app.models.describe();
    // Anthropic's clients read the other three.
    let (first, last) = (models.first().map(|model| &model["id"]), models.last().map(|model| &model["id"]));
    json_response(
        &json!({ "object": "list", "data": models, "first_id": first, "last_id": last, "has_more": false }),
    )
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    let models = app.models.describe();
    match models.iter().find(|model| model["id"] == id) {
        Some(model) => Ok(json_response(model)),
        None => {
            let message = "no such model; /v1/models lists those of this server";
            Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"))
        }
    }
}
