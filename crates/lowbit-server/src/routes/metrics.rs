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
    let mut response = Response::new(Body::from(page(&app.scheduler.stats())));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn page(stats: &Stats) -> String {
    let mut page = String::new();
    let counters = &stats.counters;
    for (name, kind, help, value) in [
        ("requests_running", "gauge", "Answers being computed.", stats.running as u64),
        ("requests_waiting", "gauge", "Requests in the queue.", stats.waiting as u64),
        (
            "kv_bytes",
            "gauge",
            "Bytes of keys and values, those of finished answers included.",
            stats.kv_bytes as u64,
        ),
        ("kv_budget_bytes", "gauge", "Bytes that keys and values may take.", stats.kv_budget_bytes as u64),
        ("requests_completed_total", "counter", "Answers completed.", counters.completed),
        ("requests_cancelled_total", "counter", "Requests whose client went away.", counters.cancelled),
        ("requests_failed_total", "counter", "Requests that ended in an error.", counters.failed),
        ("requests_refused_total", "counter", "Requests that found the queue full.", counters.refused),
        (
            "preemptions_total",
            "counter",
            "Answers put back into the queue for want of memory.",
            counters.preempted,
        ),
        ("panics_total", "counter", "Passes through the model that a panic ended.", counters.panics),
        ("prompt_tokens_total", "counter", "Tokens of prompts computed.", counters.prompt_tokens),
        (
            "cached_prompt_tokens_total",
            "counter",
            "Tokens of prompts found in a cache.",
            counters.cached_tokens,
        ),
        ("generated_tokens_total", "counter", "Tokens drawn.", counters.generated_tokens),
        ("steps_total", "counter", "Passes through the model.", counters.steps),
    ] {
        let _ =
            writeln!(page, "# HELP lowbit_{name} {help}\n# TYPE lowbit_{name} {kind}\nlowbit_{name} {value}");
    }
    histogram(&mut page, "first_token_seconds", "From the request to the first token.", &stats.first_token_s);
    histogram(
        &mut page,
        "next_token_seconds",
        "From one token of an answer to the next.",
        &stats.next_token_s,
    );
    page
}

fn histogram(page: &mut String, name: &str, help: &str, seen: &Histogram) {
    let _ = writeln!(page, "# HELP lowbit_{name} {help}\n# TYPE lowbit_{name} histogram");
    let mut sum = 0;
    for (bound, count) in Histogram::BOUNDS.iter().zip(seen.counts) {
        sum += count;
        let _ = writeln!(page, "lowbit_{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let Histogram { count, sum_s, .. } = seen;
    let _ = writeln!(page, "lowbit_{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(page, "lowbit_{name}_sum {sum_s}\nlowbit_{name}_count {count}");
}
