//! Who may ask: the Host header, against pages that give this machine another name, and the key.

use crate::{app::App, error::ApiError, routes::page};
use axum::{
    body::Body,
    extract::State,
    http::{Method, Request, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq;

/// Around everything: errors in the form of the API that a path belongs to.
pub(crate) async fn errors_in_form(request: Request<Body>, next: Next) -> Response<Body> {
    let path = request.uri().path();
    let form: fn(&ApiError) -> Value = match path {
        _ if path.starts_with("/v1/messages") => ApiError::anthropic,
        _ if path.starts_with("/api/") => ApiError::ollama,
        _ => return next.run(request).await,
    };
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(form(&error).to_string());
    }
    response
}

/// Before every route.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response<Body> {
    match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(app: &App, request: &Request<Body>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() || !is_known(host, &app.hosts) {
        let message = "the Host header names no host of this server; --allow-host adds one";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message).with_code("unknown_host"));
    }
    let path = request.uri().path();
    let open = request.method() == Method::GET && (path == "/health" || page::has(path));
    match &app.api_key {
        Some(key) if !open && !has_key(request, key) => {
            let message = "this server needs a key: Authorization: Bearer KEY, or x-api-key: KEY";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key"))
        }
        _ => Ok(()),
    }
}

/// Names by which this server may be called: addresses, which no page can give another meaning, `localhost`, and those
/// that were allowed.
fn is_known(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn has_key(request: &Request<Body>, key: &str) -> bool {
    let headers = request.headers();
    let bearer =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // How Anthropic's clients send it.
    let given = bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes())).unwrap_or_default();
    given.ct_eq(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn addresses_and_allowed_names_are_known_and_others_are_not() {
        let allowed = ["box.example".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "10.1.2.3",
            "Box.example:1",
        ] {
            assert!(is_known(host, &allowed), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil", "[evil]"]
        {
            assert!(!is_known(host, &allowed), "{host}");
        }
    }
}
