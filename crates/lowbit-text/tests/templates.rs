//! Chat templates against Python's Jinja, and templates that mean harm.

mod support;

use std::fmt::Write as _;

use lowbit_text::chat::{LocalTime, TemplateLimits};
use lowbit_text::{ChatInput, ChatTemplate, GenerationPrompt, Message, TextError};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/templates.json");

#[test]
fn templates_render_as_python_renders_them() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let models: Vec<(&str, Option<String>)> =
        support::MODELS.into_iter().map(|name| (name, model_template(name))).collect();
    let mut report = String::new();
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let (name, source) = match (case["template"].as_str(), case["model"].as_str()) {
            (Some(name), _) => (name, golden["templates"][name].as_str()),
            (_, Some(name)) => (name, models.iter().find(|(model, _)| *model == name).unwrap().1.as_deref()),
            _ => panic!("case without a template: {case}"),
        };
        let Some(source) = source else { continue };
        compared += 1;
        let given = case["input"].as_str().unwrap();
        let found = match render(source, &golden["inputs"][given]) {
            Ok(text) => serde_json::json!({ "text": text }),
            Err(TextError::TemplateRefused(message)) => serde_json::json!({ "refused": message }),
            Err(TextError::TemplateFailed(_)) => serde_json::json!({ "fails": true }),
            Err(other) => panic!("{name} {given}: {other}"),
        };
        let key = found.as_object().unwrap().keys().next().unwrap();
        if found[key] != case[key] {
            writeln!(report, "{name} {given}:\nfound    {found}\nexpected {case}").unwrap();
        }
    }
    println!("{compared} cases compared");
    assert!(report.is_empty(), "\n{report}");
}

fn model_template(name: &str) -> Option<String> {
    support::vocab(&support::metadata(name)?).chat_template.map(str::to_owned)
}

fn render(source: &str, given: &Value) -> Result<String, TextError> {
    let messages: Vec<Message> = serde_json::from_value(given["messages"].clone()).unwrap();
    let tools = given["tools"].as_array().cloned().unwrap_or_default();
    let mut extra = given.as_object().unwrap().clone();
    extra.retain(|key, _| key == "enable_thinking");
    ChatTemplate::new(source)?.render(&ChatInput {
        tools: &tools,
        generation_prompt: match given["add_generation_prompt"].as_bool() {
            Some(true) => GenerationPrompt::Add,
            _ => GenerationPrompt::Omit,
        },
        bos: "<s>",
        eos: "</s>",
        now: Some(LocalTime { year: 2026, month: 11, day: 3, hour: 9, minute: 4, second: 5 }),
        extra: Some(&extra),
        ..ChatInput::new(&messages)
    })
}

fn small(source: &str) -> Result<String, TextError> {
    let limits = TemplateLimits { fuel: 200_000, output_bytes: 1 << 16, ..TemplateLimits::default() };
    ChatTemplate::with_limits(source, limits)?.render(&ChatInput::new(&[Message::new("user", "hi")]))
}

#[test]
fn hostile_templates_are_stopped() {
    let cases = [
        ("endless loop", "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
        ("huge output", "{% for i in range(9999) %}0123456789012345678901234567890123456789{% endfor %}"),
        ("string multiplication", "{{ 'a' * 1000000000000 }}"),
        (
            "repeated doubling",
            "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        ),
        ("list multiplication", "{{ ([0] * 1000000000) | length }}"),
        ("deep recursion", "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"),
        ("recursive loop", "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}"),
        ("padding", "{{ 'a'.center(1000000000000) }}{{ 'a' | indent(1000000000000) }}"),
        ("formatting", "{{ '%1000000000000d' % 1 }}"),
        ("big power", "{{ 10 ** 1000000 }}"),
        ("wide range", "{{ range(1000000000000) | list | length }}"),
        ("replacement", "{% set a = 'a' * 2000 %}{{ a.replace('a', a).replace('a', a).replace('a', a) }}"),
        ("include", "{% include 'other' %}"),
        ("import", "{% import 'os' as os %}"),
        ("extends", "{% extends 'base' %}"),
        ("host object", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    ];
    let start = std::time::Instant::now();
    for (name, source) in cases {
        let result = small(source);
        println!("{name}: {result:?}");
        assert!(result.is_err(), "{name} was rendered");
    }
    // Fuel and caps bound the work; without them any one of these runs for hours.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn each_limit_is_named() {
    let message = |source: &str| small(source).unwrap_err().to_string();
    assert!(
        message("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
            .contains("work")
    );
    assert!(message("{% for i in range(9999) %}0123456789{% endfor %}").contains("output in bytes"));
    assert!(message("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}").contains("nesting"));
    let limits = TemplateLimits { source_bytes: 10, ..TemplateLimits::default() };
    assert!(ChatTemplate::with_limits("0123456789x", limits).unwrap_err().to_string().contains("source"));
}

#[test]
fn deeply_nested_source_is_refused_before_it_fills_the_stack() {
    let tag = |code: String| format!("{{{{ {code}1 }}}}");
    let parts = ["(", "[", "not ", "-", "1+", "1~", "1**", "1 and ", "1 if 1 else ", "1<"];
    let in_tags = parts
        .iter()
        .flat_map(|part| [tag(part.repeat(50_000)), tag(part.repeat(500_000 / part.len() / 250))]);
    let chains = ["|upper", ".a", "[0]", "()"].map(|part| format!("{{{{ x{} }}}}", part.repeat(30_000)));
    let blocks = ["{% if x %}", "{% for x in y %}", "{% set x %}", "{% filter upper %}", "{% with %}"];
    let blocks = blocks.map(|block| block.repeat((1 << 18) / block.len()));
    for source in in_tags.chain(chains).chain(blocks) {
        // Some of the shorter ones are harmless; none may bring the process down.
        let result = small(&source);
        assert!(source.len() < 10_000 || result.is_err(), "{}", &source[..40]);
    }
    let elifs = format!("{{% if x %}}{}{{% endif %}}", "{%elif x%}".repeat(26_000));
    assert!(small(&elifs).unwrap_err().to_string().contains("elif"));
}

#[test]
fn a_model_without_a_template_is_refused_with_the_next_step() {
    for none in [None, Some(""), Some(" \n")] {
        let error = ChatTemplate::of_model(none).unwrap_err().to_string();
        assert!(error.contains("no chat template") && error.contains("template of your own"), "{error}");
    }
}

#[test]
fn further_variables_do_not_replace_the_messages() {
    let extra = serde_json::json!({"messages": "mine", "bos_token": "mine", "flag": 3});
    let input = ChatInput { extra: extra.as_object(), ..ChatInput::new(&[]) };
    let template = ChatTemplate::new("{{ messages }}{{ bos_token }}{{ flag }}").unwrap();
    assert_eq!(template.render(&input).unwrap(), "[]3");
}

#[test]
fn the_time_is_the_callers_or_an_error() {
    let error = small("{{ strftime_now('%Y') }}").unwrap_err().to_string();
    assert!(error.contains("none was given"), "{error}");
}
