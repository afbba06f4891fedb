//! `/metrics`: figures in Prometheus' text format.

use crate::app::App;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Response, header},
};
use lowbit_engine::scheduler::{Histogram, Stats};
use std::{fmt::Write, sync::Arc};

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let loaded = app.models.all_loaded();
    let stats: Vec<(&str, Stats)> =
        loaded.iter().map(|served| (served.id.as_str(), served.scheduler.stats())).collect();
    let mut response = Response::new(Body::from(page(&stats)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Name, kind, meaning and value of a figure.
type Figure = (&'static str, &'static str, &'static str, fn(&Stats) -> u64);

const FIGURES: &[Figure] = &[
    ("requests_running", "gauge", "Answers being computed.", |stats| stats.running as u64),
    ("requests_waiting", "gauge", "Requests in the queue.", |stats| stats.waiting as u64),
    ("kv_bytes", "gauge", "Bytes of keys and values, those of finished answers included.", |stats| {
        stats.kv_bytes as u64
    }),
    ("kv_budget_bytes", "gauge", "Bytes that keys and values may take.", |stats| {
        stats.kv_budget_bytes as u64
    }),
    ("requests_completed_total", "counter", "Answers completed.", |stats| stats.counters.completed),
    ("requests_cancelled_total", "counter", "Requests whose client went away.", |stats| {
        stats.counters.cancelled
    }),
    ("requests_failed_total", "counter", "Requests that ended in an error.", |stats| stats.counters.failed),
    ("requests_refused_total", "counter", "Requests that found the queue full.", |stats| {
        stats.counters.refused
    }),
    ("preemptions_total", "counter", "Answers put back into the queue for want of memory.", |stats| {
        stats.counters.preempted
    }),
    ("panics_total", "counter", "Passes through the model that a panic ended.", |stats| {
        stats.counters.panics
    }),
    ("prompt_tokens_total", "counter", "Tokens of prompts computed.", |stats| stats.counters.prompt_tokens),
    ("cached_prompt_tokens_total", "counter", "Tokens of prompts found in a cache.", |stats| {
        stats.counters.cached_tokens
    }),
    ("generated_tokens_total", "counter", "Tokens drawn.", |stats| stats.counters.generated_tokens),
    ("guessed_tokens_total", "counter", "Tokens guessed ahead.", |stats| stats.counters.guessed_tokens),
    ("guessed_right_total", "counter", "Tokens guessed ahead that were right.", |stats| {
        stats.counters.guessed_right
    }),
    ("steps_total", "counter", "Passes through the model.", |stats| stats.counters.steps),
];

/// Name, meaning and value of a histogram.
type Times = (&'static str, &'static str, fn(&Stats) -> &Histogram);

const TIMES: &[Times] = &[
    ("first_token_seconds", "From the request to the first token.", |stats| &stats.first_token_s),
    ("next_token_seconds", "From one token of an answer to the next.", |stats| &stats.next_token_s),
];

/// All figures of every loaded model.
fn page(models: &[(&str, Stats)]) -> String {
    let mut page = String::new();
    for (name, kind, help, value) in FIGURES {
        let _ = writeln!(page, "# HELP lowbit_{name} {help}\n# TYPE lowbit_{name} {kind}");
        for (model, stats) in models {
            let _ = writeln!(page, "lowbit_{name}{{model={model:?}}} {}", value(stats));
        }
    }
    for (name, help, times) in TIMES {
        let _ = writeln!(page, "# HELP lowbit_{name} {help}\n# TYPE lowbit_{name} histogram");
        for (model, stats) in models {
            histogram(&mut page, name, model, times(stats));
        }
    }
    page
}

fn histogram(page: &mut String, name: &str, model: &str, seen: &Histogram) {
    let mut sum = 0;
    for (bound, count) in Histogram::BOUNDS.iter().zip(seen.counts) {
        sum += count;
        let _ = writeln!(page, "lowbit_{name}_bucket{{model={model:?},le=\"{bound}\"}} {sum}");
    }
    let Histogram { count, sum_s, .. } = seen;
    let _ = writeln!(page, "lowbit_{name}_bucket{{model={model:?},le=\"+Inf\"}} {count}");
    let _ = writeln!(
        page,
        "lowbit_{name}_sum{{model={model:?}}} {sum_s}\nlowbit_{name}_count{{model={model:?}}} {count}"
    );
}
