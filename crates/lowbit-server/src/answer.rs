//! From the scheduler's updates to what a client reads: one object, or a stream of events, in the form of its API.

use crate::{
    app::App,
    error::{ApiError, json_response},
    parts::{Part, Parts},
    served::Served,
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
use serde_json::Value;
use std::{convert::Infallible, sync::Arc};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};

/// What is asked of the scheduler, and in which form the client wants it.
pub(crate) struct Asked {
    pub(crate) form: Box<dyn Form>,
    /// Whose turn it is in the queue.
    pub(crate) client: String,
    /// The choices, in their order; those of one prompt together.
    pub(crate) requests: Vec<Request>,
    /// What reads the text of each.
    pub(crate) parts: Vec<Parts>,
    /// Choices for each prompt.
    pub(crate) n: usize,
    pub(crate) stream: bool,
}

/// What an API makes of an answer.
pub(crate) trait Form: Send {
    /// One object, when all is there.
    fn whole(&mut self, served: &Served, choices: Vec<Whole>, usage: Usage) -> Value;
    /// The events of a piece, those of the beginning before the first.
    fn events(&mut self, served: &Served, more: More) -> String;
    /// The last events.
    fn end(&mut self, usage: Usage) -> String;
    /// What is said of an error after the first event.
    fn failure(&mut self, error: &ApiError) -> String {
        event(&error.json())
    }
    /// Of the stream.
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }
}

/// More of a choice.
#[derive(Debug, Default)]
pub(crate) struct More {
    pub(crate) index: usize,
    pub(crate) parts: Vec<Part>,
    /// Tokens that were drawn.
    pub(crate) tokens: Vec<Scored>,
    /// The prompt's tokens from the second on, where they were to be scored.
    pub(crate) prompt: Option<Vec<Scored>>,
    pub(crate) finish: Option<Finish>,
    /// The stop string that ended it.
    pub(crate) stop: Option<String>,
    /// The token by which the model ended it.
    pub(crate) end: Option<Scored>,
}

/// A choice that is complete.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) tokens: Vec<Scored>,
    pub(crate) prompt: Option<Vec<Scored>>,
    pub(crate) finish: Option<Finish>,
    pub(crate) stop: Option<String>,
    pub(crate) end: Option<Scored>,
}

/// A call of a tool.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON.
    pub(crate) arguments: String,
}

/// Tokens that were read and drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    /// Of the prompts' tokens, those that were there already.
    pub(crate) cached: usize,
    pub(crate) answers: usize,
}

impl Whole {
    fn append(&mut self, more: More) {
        for part in more.parts {
            match part {
                Part::Content(text) => self.content.push_str(&text),
                Part::Reasoning(text) => self.reasoning.push_str(&text),
                Part::Call { name, .. } => self.calls.push(Call { name, arguments: String::new() }),
                Part::Arguments { index, text } => {
                    if let Some(call) = self.calls.get_mut(index) {
                        call.arguments.push_str(&text);
                    }
                }
            }
        }
        self.tokens.extend(more.tokens);
        self.prompt = self.prompt.take().or(more.prompt);
        self.finish = self.finish.or(more.finish);
        self.stop = self.stop.take().or(more.stop);
        self.end = self.end.take().or(more.end);
    }
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
pub(crate) async fn answer(
    app: Arc<App>,
    served: Arc<Served>,
    asked: Asked,
) -> Result<Response<Body>, ApiError> {
    let (sender, receiver) = unbounded_channel();
    let choices = asked.requests.len();
    let stops = asked.requests.first().map(|request| request.generate.stop.clone()).unwrap_or_default();
    let requests = asked.requests.into_iter().enumerate();
    let requests: Vec<(Request, Box<dyn Listener>)> = requests
        .map(|(index, request)| (request, Box::new(Sender(index, sender.clone())) as Box<dyn Listener>))
        .collect();
    drop(sender);
    let deadline = Instant::now() + app.limits.answer;
    let submitting = served.clone();
    let submitted = tokio::task::spawn_blocking(move || submitting.scheduler.submit(&asked.client, requests));
    submitted.await.map_err(|_| ApiError::internal())??;
    let mut answering = Answering {
        app,
        served,
        receiver,
        deadline,
        parts: asked.parts,
        stops,
        open: choices,
        n: asked.n,
        usage: Usage::default(),
    };
    // What goes wrong before anything was said has a status of its own, also of a stream.
    let first = answering.next().await;
    if let Piece::Failed(error) = first {
        return Err(error);
    }
    if asked.stream {
        Ok(stream(answering, asked.form, first))
    } else {
        answering.whole(asked.form, first).await
    }
}

/// Something to be told.
enum Piece {
    More(More),
    Failed(ApiError),
    /// All choices are complete.
    End,
}

struct Answering {
    app: Arc<App>,
    served: Arc<Served>,
    receiver: UnboundedReceiver<(usize, Update)>,
    deadline: Instant,
    parts: Vec<Parts>,
    /// Stop strings of all of them.
    stops: Vec<String>,
    /// Choices that are not complete.
    open: usize,
    n: usize,
    usage: Usage,
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
        let mut more = More { index, ..More::default() };
        match update {
            Update::Failed(failure) => return Piece::Failed(failure.into()),
            Update::Prompt(scores) => more.prompt = Some(scores),
            Update::Token(token, text) => {
                self.parts[index].push(&text, &mut more.parts);
                more.tokens.push(token);
            }
            Update::Done(Done {
                text,
                finish,
                stop,
                end,
                prompt_tokens,
                cached_tokens,
                generated_tokens,
            }) => {
                self.parts[index].push(&text, &mut more.parts);
                self.parts[index].finish(&mut more.parts);
                more.finish = Some(finish);
                more.end = end;
                more.stop = stop.and_then(|place| self.stops.get(place).cloned());
                self.open -= 1;
                // The choices of one prompt share it.
                if index.is_multiple_of(self.n) {
                    self.usage.prompt += prompt_tokens;
                    self.usage.cached += cached_tokens;
                }
                self.usage.answers += generated_tokens;
            }
        }
        Piece::More(more)
    }

    /// One object, when all is there.
    async fn whole(mut self, mut form: Box<dyn Form>, first: Piece) -> Result<Response<Body>, ApiError> {
        let mut choices: Vec<Whole> = self.parts.iter().map(|_| Whole::default()).collect();
        let mut piece = first;
        loop {
            match piece {
                Piece::End => break,
                Piece::Failed(error) => return Err(error),
                Piece::More(more) => choices[more.index].append(more),
            }
            piece = self.next().await;
        }
        Ok(json_response(&form.whole(&self.served, choices, self.usage)))
    }
}

/// A stream of events. One that fails half-way ends with an error.
fn stream(answering: Answering, form: Box<dyn Form>, first: Piece) -> Response<Body> {
    let kind = HeaderValue::from_static(form.content_type());
    let state = Some((answering, form, Some(first)));
    let events = stream::unfold(state, move |state| async move {
        let (mut answering, mut form, mut piece) = state?;
        loop {
            let now = match piece.take() {
                Some(piece) => piece,
                None => answering.next().await,
            };
            let (events, ended) = match now {
                Piece::Failed(error) => (form.failure(&error), true),
                Piece::End => (form.end(answering.usage), true),
                Piece::More(more) => (form.events(&answering.served, more), false),
            };
            if ended || !events.is_empty() {
                let next = (!ended).then_some((answering, form, None));
                return Some((Ok::<_, Infallible>(Bytes::from(events)), next));
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A server-sent event without a name.
pub(crate) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A server-sent event with a name, which its data has as `type`.
pub(crate) fn named_event(value: &Value) -> String {
    format!("event: {}\n{}", value["type"].as_str().unwrap_or("message"), event(value))
}

/// A name of its own for an answer or a part of one.
pub(crate) fn fresh_id(prefix: &str) -> String {
    // Without chance there are other troubles than two equal names.
    format!("{prefix}{:016x}", getrandom::u64().unwrap_or(0))
}
