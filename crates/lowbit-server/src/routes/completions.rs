//! `/v1/completions`: text or tokens continued, with exact scores of the prompt where they are asked for.

use super::ask;
use crate::{
    answer::Asked,
    app::App,
    connection::Peer,
    error::ApiError,
    fields::{Fields, expected},
    forms::Completion,
    parts::Parts,
    sampling::Common,
    served::Served,
};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Request, Response},
};
use lowbit_engine::{
    GenerateRequest,
    scheduler::{History, PromptScores, Request as Sequence},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Tokens of an answer where nobody says, as in OpenAI's API.
const DEFAULT_TOKENS: u64 = 16;
/// Answers that one request may ask for, over all of its prompts.
const MOST_ANSWERS: usize = 256;

pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, prepare).await
}

fn prepare(app: &App, served: &Served, mut fields: Fields, peer: String) -> Result<Asked, ApiError> {
    let Common { mut sampling, stop, n, stream, include_usage, user } =
        Common::take(&mut fields, app, served)?;
    let top = fields.count("logprobs", 0..=20)?;
    sampling.top_logprobs = top.unwrap_or(0) as u32;
    let echo = fields.flag("echo")?.unwrap_or(false);
    let most = served.context() as u64;
    let max_tokens = fields.count("max_tokens", 0..=most)?.unwrap_or(DEFAULT_TOKENS);
    if max_tokens == 0 && !echo {
        return Err(ApiError::field("max_tokens", "0 leaves nothing to answer without echo = true"));
    }
    // The best of as many as are returned are all of them.
    fields.only("best_of", &[json!(n)])?;
    fields.only("suffix", &[json!("")])?;
    let prompts = prompts(served, fields.take("prompt"))?;
    fields.finish("")?;
    if prompts.len() * n as usize > MOST_ANSWERS {
        let message =
            format!("{} prompts with n = {n}, expected at most {MOST_ANSWERS} answers", prompts.len());
        return Err(ApiError::field("prompt", message));
    }

    let (mut requests, mut texts) = (Vec::new(), Vec::new());
    for Prompt { text, tokens } in prompts {
        for choice in 0..n {
            requests.push(Sequence {
                generate: GenerateRequest {
                    prompt: tokens.clone(),
                    sampling: sampling.choice(choice),
                    max_tokens: Some(max_tokens as usize),
                    stop: stop.clone(),
                    grammar: None,
                },
                history: History::Nothing,
                prompt_scores: if echo && top.is_some() { PromptScores::From(1) } else { PromptScores::Skip },
            });
            texts.push((tokens.clone(), echo.then(|| text.clone())));
        }
    }
    Ok(Asked {
        client: user.unwrap_or(peer),
        parts: requests.iter().map(|_| Parts::plain()).collect(),
        requests,
        n: n as usize,
        stream,
        form: Box::new(Completion::new(&served.id, texts, top.is_some(), include_usage)),
    })
}

struct Prompt {
    text: String,
    tokens: Vec<u32>,
}

/// A text, tokens, or a list of either.
fn prompts(served: &Served, value: Option<Value>) -> Result<Vec<Prompt>, ApiError> {
    let what = "a string, a list of token ids, or a list of at least one of these";
    match value {
        None => Err(ApiError::field("prompt", "missing")),
        Some(Value::Array(list)) if list.iter().any(|one| one.is_string() || one.is_array()) => {
            if list.len() > MOST_ANSWERS {
                let message = format!("{} prompts, expected at most {MOST_ANSWERS}", list.len());
                return Err(ApiError::field("prompt", message));
            }
            list.into_iter()
                .enumerate()
                .map(|(place, one)| prompt(served, &format!("prompt[{place}]"), one))
                .collect()
        }
        Some(one @ (Value::String(_) | Value::Array(_))) => Ok(vec![prompt(served, "prompt", one)?]),
        Some(other) => Err(expected("prompt", what, &other)),
    }
}

fn prompt(served: &Served, path: &str, value: Value) -> Result<Prompt, ApiError> {
    match value {
        Value::String(text) => {
            let tokens = served.model().encode(&text).map_err(|error| ApiError::field(path, error))?;
            Ok(Prompt { text, tokens })
        }
        value => {
            let tokens = super::tokens::ids(served, path, value)?;
            Ok(Prompt { text: served.decode(&tokens)?, tokens })
        }
    }
}
