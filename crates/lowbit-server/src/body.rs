//! The body of a request, with limits on its size and on the time it takes to come.

use crate::{app::App, error::ApiError, fields::Fields};
use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};

/// Reads a JSON object.
pub(crate) async fn read(app: &App, request: Request<Body>) -> Result<Fields, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    // A page of another site may post other kinds without asking first.
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        let message = "expected a body of Content-Type application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let limit = app.limits.body_bytes;
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than the {limit} bytes allowed"),
        )
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let reading = to_bytes(request.into_body(), limit);
    match tokio::time::timeout(app.limits.body, reading).await {
        Ok(Ok(bytes)) => Fields::parse(&bytes),
        Ok(Err(error)) if error.to_string().contains("limit") => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}
