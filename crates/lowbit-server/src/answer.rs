//! From the scheduler's updates to what a client reads: one object, or a stream of server-sent events.

use crate::{
    app::{App, now},
    error::{ApiError, json_response},
    logprobs::{Lists, Offsets, chat_token},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use futures_util::stream;
use lowbit_engine::{
    Finish,
    scheduler::{Done, Listener, Request, Scored, Update},
};
use lowbit_text::TextStart;
use serde_json::{Value, json};
use std::{collections::VecDeque, convert::Infallible, sync::Arc};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};

/// What is asked of the scheduler, and in which shape the client wants it.
pub(crate) struct Asked {
    pub(crate) shape: Shape,
    /// Whose turn it is in the queue.
    pub(crate) client: String,
    /// The choices, in their order; those of one prompt together.
    pub(crate) requests: Vec<Request>,
    /// Choices for each prompt.
    pub(crate) n: usize,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) logprobs: bool,
    /// The prompts' texts where they come before the answers, one for each choice.
    pub(crate) echo: Option<Vec<String>>,
}

/// Which of OpenAI's answers it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
}

/// Sends updates of one choice to where the answer is put together.
struct Sender(usize, UnboundedSender<(usize, Update)>);

impl Listener for Sender {
    fn update(&mut self, update: Update) {
        // Where nobody receives, `is_gone` ends the sequence.
        let _ = self.1.send((self.0, update));
    }

    fn is_gone(&self) -> bool {
        self.1.is_closed()
    }
}

/// Puts the requests into the queue and answers. Dropping what is returned gives the answer up.
pub(crate) async fn answer(app: Arc<App>, asked: Asked) -> Result<Response<Body>, ApiError> {
    let (sender, receiver) = unbounded_channel();
    let mut choices = Vec::with_capacity(asked.requests.len());
    let mut requests: Vec<(Request, Box<dyn Listener>)> = Vec::with_capacity(asked.requests.len());
    let mut echo = asked.echo.map(VecDeque::from);
    for (index, request) in asked.requests.into_iter().enumerate() {
        let echo = echo.as_mut().map(|texts| texts.pop_front().unwrap_or_default());
        let start = if echo.is_some() { TextStart::Beginning } else { TextStart::Continuation };
        let (prompt, offsets) = (request.generate.prompt.clone(), Offsets::new(start));
        choices.push(Choice { echo, prompt, offsets, begun: false });
        requests.push((request, Box::new(Sender(index, sender.clone()))));
    }
    let deadline = Instant::now() + app.limits.answer;
    let submitting = app.clone();
    let submitted = tokio::task::spawn_blocking(move || submitting.scheduler.submit(&asked.client, requests));
    submitted.await.map_err(|_| ApiError::internal())??;
    let (prefix, object) = match (asked.shape, asked.stream) {
        (Shape::Chat, false) => ("chatcmpl", "chat.completion"),
        (Shape::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
        (Shape::Completion, _) => ("cmpl", "text_completion"),
    };
    let number = getrandom::u64().map_err(|_| ApiError::internal())?;
    let mut answering = Answering {
        head: json!({
            "id": format!("{prefix}-{number:016x}"),
            "object": object,
            "created": now(),
            "model": app.model_id,
        }),
        app,
        shape: asked.shape,
        receiver,
        deadline,
        open: choices.len(),
        choices,
        n: asked.n,
        logprobs: asked.logprobs,
        usage: [0; 3],
    };
    // What goes wrong before anything was said has a status of its own, also of a stream.
    let first = answering.next().await;
    if let Piece::Failed(error) = first {
        return Err(error);
    }
    if asked.stream {
        Ok(stream(answering, first, asked.include_usage))
    } else {
        answering.whole(first).await
    }
}

/// What is known of a choice beside its text.
struct Choice {
    echo: Option<String>,
    prompt: Vec<u32>,
    offsets: Offsets,
    /// Whether something of it was sent.
    begun: bool,
}

/// Something to be told.
enum Piece {
    /// More of a choice.
    More {
        index: usize,
        text: String,
        logprobs: Vec<Value>,
        lists: Option<Lists>,
        finish: Option<Finish>,
    },
    Failed(ApiError),
    /// All choices are complete.
    End,
}

struct Answering {
    app: Arc<App>,
    shape: Shape,
    receiver: UnboundedReceiver<(usize, Update)>,
    deadline: Instant,
    /// Fields of every object.
    head: Value,
    choices: Vec<Choice>,
    /// Choices that are not complete.
    open: usize,
    n: usize,
    logprobs: bool,
    /// Tokens of prompts, of them cached, tokens of answers.
    usage: [usize; 3],
}

impl Answering {
    async fn next(&mut self) -> Piece {
        if self.open == 0 {
            return Piece::End;
        }
        let (index, update) = match timeout_at(self.deadline, self.receiver.recv()).await {
            Ok(Some(received)) => received,
            Ok(None) => return Piece::Failed(ApiError::internal()),
            Err(_) => {
                let message = format!("the answer took longer than {} s", self.app.limits.answer.as_secs());
                return Piece::Failed(ApiError::new(StatusCode::GATEWAY_TIMEOUT, message));
            }
        };
        let choice = &mut self.choices[index];
        let mut text = choice.echo.take().unwrap_or_default();
        let (mut logprobs, mut lists, mut finish) = (Vec::new(), None, None);
        let mut list = |app: &App, choice: &mut Choice, id: u32, scored: Option<&Scored>| {
            lists.get_or_insert_with(Lists::default).push(app, &mut choice.offsets, id, scored);
        };
        match update {
            Update::Failed(failure) => return Piece::Failed(failure.into()),
            Update::Prompt(scores) => {
                let prompt = std::mem::take(&mut choice.prompt);
                for (place, id) in prompt.iter().enumerate() {
                    list(&self.app, choice, *id, place.checked_sub(1).and_then(|place| scores.get(place)));
                }
            }
            Update::Token(token, more) => {
                text.push_str(&more);
                match self.shape {
                    Shape::Chat if self.logprobs => logprobs.push(chat_token(&self.app, &token)),
                    Shape::Completion if self.logprobs => list(&self.app, choice, token.id, Some(&token)),
                    _ => {}
                }
            }
            Update::Done(Done {
                text: rest,
                finish: why,
                prompt_tokens,
                cached_tokens,
                generated_tokens,
            }) => {
                text.push_str(&rest);
                self.open -= 1;
                finish = Some(why);
                // The choices of one prompt share it.
                if index % self.n == 0 {
                    self.usage[0] += prompt_tokens;
                    self.usage[1] += cached_tokens;
                }
                self.usage[2] += generated_tokens;
            }
        }
        Piece::More { index, text, logprobs, lists, finish }
    }

    fn usage(&self) -> Value {
        let [prompt, cached, answers] = self.usage;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": answers,
            "total_tokens": prompt + answers,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }

    fn object(&self, choices: Value) -> Value {
        let mut object = self.head.clone();
        object["choices"] = choices;
        object
    }

    /// One object, when all is there.
    async fn whole(mut self, first: Piece) -> Result<Response<Body>, ApiError> {
        struct Whole {
            text: String,
            logprobs: Vec<Value>,
            lists: Option<Lists>,
            finish: Option<Finish>,
        }
        let empty = || Whole { text: String::new(), logprobs: Vec::new(), lists: None, finish: None };
        let mut all: Vec<Whole> = self.choices.iter().map(|_| empty()).collect();
        let mut piece = first;
        loop {
            match piece {
                Piece::End => break,
                Piece::Failed(error) => return Err(error),
                Piece::More { index, text, logprobs, lists, finish } => {
                    let whole = &mut all[index];
                    whole.text.push_str(&text);
                    whole.logprobs.extend(logprobs);
                    whole.finish = finish;
                    match (&mut whole.lists, lists) {
                        (Some(all), Some(more)) => all.append(more),
                        (none, more) => *none = none.take().or(more),
                    }
                }
            }
            piece = self.next().await;
        }
        let choices = all.into_iter().enumerate().map(|(index, whole)| {
            let finish = whole.finish.map(finish_reason);
            match self.shape {
                Shape::Chat => json!({
                    "index": index,
                    "message": { "role": "assistant", "content": whole.text, "refusal": null },
                    "logprobs": self.logprobs.then(|| json!({ "content": whole.logprobs, "refusal": null })),
                    "finish_reason": finish,
                }),
                Shape::Completion => json!({
                    "index": index,
                    "text": whole.text,
                    "logprobs": self.logprobs.then(|| whole.lists.unwrap_or_default().json()),
                    "finish_reason": finish,
                }),
            }
        });
        let mut object = self.object(choices.collect());
        object["usage"] = self.usage();
        Ok(json_response(&object))
    }

    /// The events of a piece.
    fn events(&mut self, piece: Piece, include_usage: bool) -> String {
        let Piece::More { index, text, logprobs, lists, finish } = piece else { return String::new() };
        let choice = &mut self.choices[index];
        let begins = !std::mem::replace(&mut choice.begun, true);
        let mut chunks = Vec::new();
        let mut chunk = |delta: Value, logprobs: Value, finish: Option<&str>| {
            chunks.push(match self.shape {
                Shape::Chat => {
                    json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish }])
                }
                Shape::Completion => {
                    json!([{ "index": index, "text": delta, "logprobs": logprobs, "finish_reason": finish }])
                }
            });
        };
        if begins && self.shape == Shape::Chat {
            chunk(json!({ "role": "assistant", "content": "" }), Value::Null, None);
        }
        let says = !text.is_empty() || !logprobs.is_empty() || lists.is_some();
        match self.shape {
            Shape::Chat => {
                let logprobs = if logprobs.is_empty() {
                    Value::Null
                } else {
                    json!({ "content": logprobs, "refusal": null })
                };
                if says {
                    chunk(json!({ "content": text }), logprobs, None);
                }
                if let Some(finish) = finish {
                    chunk(json!({}), Value::Null, Some(finish_reason(finish)));
                }
            }
            Shape::Completion => {
                if says || finish.is_some() {
                    let logprobs = lists.map_or(Value::Null, Lists::json);
                    chunk(text.into(), logprobs, finish.map(finish_reason));
                }
            }
        }
        let mut events = String::new();
        for choices in chunks {
            let mut object = self.object(choices);
            if include_usage {
                object["usage"] = Value::Null;
            }
            events.push_str(&event(&object));
        }
        events
    }
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::EndOfText | Finish::StopString | Finish::Interrupted => "stop",
        Finish::MaxTokens | Finish::ContextFull => "length",
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A stream of events, ended by `[DONE]` or, where the answer fails half-way, by an error.
fn stream(answering: Answering, first: Piece, include_usage: bool) -> Response<Body> {
    let state = Some((answering, Some(first)));
    let events = stream::unfold(state, move |state| async move {
        let (mut answering, mut piece) = state?;
        loop {
            let now = match piece.take() {
                Some(piece) => piece,
                None => answering.next().await,
            };
            let (events, next) = match now {
                Piece::Failed(error) => (event(&error.json()), None),
                Piece::End => {
                    let mut events = String::new();
                    if include_usage {
                        let mut object = answering.object(json!([]));
                        object["usage"] = answering.usage();
                        events.push_str(&event(&object));
                    }
                    events.push_str("data: [DONE]\n\n");
                    (events, None)
                }
                more => (answering.events(more, include_usage), Some((answering, None))),
            };
            match next {
                Some((again, _)) if events.is_empty() => answering = again,
                next => return Some((Ok::<_, Infallible>(Bytes::from(events)), next)),
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
