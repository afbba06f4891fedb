//! `/openapi.json`: what the routes take, for tools that read it.

use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};

/// Kept by hand, and held against the routes by a test.
pub(crate) const DESCRIPTION: &str = include_str!("openapi.json");

pub(crate) async fn description() -> Response<Body> {
    let mut response = Response::new(Body::from(DESCRIPTION));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
