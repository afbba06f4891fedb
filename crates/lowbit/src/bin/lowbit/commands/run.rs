//! `lowbit run`: one answer, or a chat.

use crate::{
    Outcome,
    chat::{Chat, ChatOptions},
    interrupt::Interrupt,
    open::{self, DEFAULT_MODEL, Naming},
    options::{Compute, Context, Guesses},
    report,
    sampling::{Purpose, Sampling},
    stdin::{Expected, Input},
};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use lowbit::{
    ChatTemplate, Ctx, Event, Finish, GenerateRequest, Generated, Grammar, GrammarSource, Message, Model,
    Session, SpecialText, Timing,
    hub::Store,
    sampler::{MAX_TOP_LOGPROBS, SamplingParams},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where plain text is continued the model rarely ends by itself.
const CONTINUATION_TOKENS: usize = 256;

/// Most tokens of a single answer where nobody says: a greedy answer can run in circles.
const ANSWER_TOKENS: usize = 1024;

/// Ask a model, or chat with it.
///
/// With a prompt, or text on standard input, the model answers once; text on standard input follows the prompt. Else
/// a chat begins. One argument that names no model is a prompt for the default model, smollm2. A model that brings
/// no chat template continues the prompt as plain text.
#[derive(Args)]
pub(crate) struct Run {
    /// The model; fetched where it is not here [default: smollm2]
    model: Option<String>,
    /// What to ask; - takes it from standard input
    prompt: Option<String>,
    /// Instructions that come before the conversation
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as plain text, without the chat template
    #[arg(long)]
    raw: bool,
    /// Most tokens of an answer [default: 1024 for a single answer, 256 where plain text is continued; in a chat until
    /// the model ends it or the context is full]
    #[arg(short = 'n', long = "n-predict", visible_alias = "max-tokens", value_name = "TOKENS")]
    max_tokens: Option<usize>,
    /// End the answer before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Answers are JSON that this schema describes
    #[arg(long, value_name = "FILE", conflicts_with = "grammar")]
    json_schema: Option<PathBuf>,
    /// Answers follow this grammar, written in llguidance's kind of Lark
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
    /// With --json: the most probable tokens at each step, with the logarithms of their probabilities
    #[arg(long, value_name = "N", requires = "json",
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_TOP_LOGPROBS)))]
    logprobs: Option<u32>,
    /// Report the answer as JSON
    #[arg(long)]
    json: bool,
    /// Say more on standard error: the seed, times
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    context: Context,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    guesses: Guesses,
    #[command(flatten)]
    sampling: Sampling,
}

impl Run {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        let interrupt = Interrupt::install()?;
        // What cannot work is said before a model is fetched.
        let answer_params = self.sampling.params(Purpose::Answer)?;
        let ctx = Arc::new(self.compute.ctx()?);
        let store = Store::from_env()?;
        let (target, prompt) = self.target(&store)?;
        let input = Input::start();
        if matches!(input, Input::Terminal) && self.json && prompt.is_none() {
            bail!("--json reports one answer, and there is no prompt; give one");
        }
        let model = open::load_from(&ctx, &store, target, &self.compute).map_err(|error| match self.may_be_prompt() {
            true => error.context(format!(
                "{target:?} was taken as the name of a model (for a prompt: lowbit run {DEFAULT_MODEL} PROMPT)"
            )),
            false => error,
        })?;
        model.tokenizer()?;
        if self.verbose {
            let stats = model.load_stats();
            eprintln!("loaded {} in {:.2} s", report::bytes(stats.file_bytes), stats.total_s);
        }
        let prompt = match (prompt.as_deref(), &input) {
            (None, Input::Terminal) => {
                let params = self.sampling.params(Purpose::Chat)?;
                return self.chat(&store, &model, &ctx, &interrupt, params, out);
            }
            (None | Some("-"), _) => input.text(Expected::AsPrompt)?,
            (Some(prompt), _) => match input.text(Expected::BesidePrompt)? {
                text if text.is_empty() => prompt.to_owned(),
                text => format!("{prompt}\n\n{text}"),
            },
        };
        if prompt.trim().is_empty() {
            bail!("the prompt is empty: give one as an argument or on standard input");
        }
        self.answer((&model, self.session(&store, &model, &ctx)?), &interrupt, &prompt, answer_params, out)
    }

    /// Which model, and the prompt if one was given.
    fn target(&self, store: &Store) -> Result<(&str, Option<String>)> {
        match (&self.model, &self.prompt) {
            (None, _) => Ok((DEFAULT_MODEL, None)),
            (Some(model), Some(prompt)) => Ok((model, Some(prompt.clone()))),
            (Some(only), None) if only == "-" => Ok((DEFAULT_MODEL, Some(only.clone()))),
            (Some(only), None) => match open::names_a_model(store, only)? {
                Naming::Model => Ok((only, None)),
                Naming::Nothing { suggestions } => {
                    if !suggestions.is_empty() && !only.contains(char::is_whitespace) {
                        let names = suggestions.join(" or ");
                        eprintln!(
                            "note: no model is called {only:?} (did you mean {names}?), taken as a prompt"
                        );
                    }
                    Ok((DEFAULT_MODEL, Some(only.clone())))
                }
            },
        }
    }

    /// Whether the model's name could have been meant as text, such as `and/or`.
    fn may_be_prompt(&self) -> bool {
        self.prompt.is_none() && self.model.as_deref().is_some_and(|model| model.contains('/'))
    }

    fn chat(
        &self,
        store: &Store,
        model: &Model,
        ctx: &Arc<Ctx>,
        interrupt: &Interrupt,
        params: SamplingParams,
        out: &mut dyn Write,
    ) -> Result<Outcome> {
        let template = if self.raw { None } else { Some(self.template(model)?) };
        if self.verbose {
            eprintln!("seed {}", params.seed);
        }
        let options = ChatOptions {
            template,
            system: self.system.clone(),
            request: GenerateRequest {
                prompt: Vec::new(),
                sampling: params,
                max_tokens: self.max_tokens.or(self.raw.then_some(CONTINUATION_TOKENS)),
                stop: self.stop.clone(),
                grammar: self.grammar(model)?,
            },
            history: store.settings().home.join("history.txt"),
        };
        Chat::new(self.session(store, model, ctx)?, options, interrupt)?.run(out)?;
        Ok(Outcome::Done)
    }

    fn session<'m>(&self, store: &Store, model: &'m Model, ctx: &'m Arc<Ctx>) -> Result<Session<'m>> {
        let mut session = self.context.session(model, ctx)?;
        if let Some(speculation) = self.guesses.speculation(ctx, store, &self.compute)? {
            session.speculate(&speculation, ctx)?;
        }
        Ok(session)
    }

    /// What answers have to look like.
    fn grammar(&self, model: &Model) -> Result<Option<Grammar>> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (path, source) = match (&self.json_schema, &self.grammar) {
            (Some(path), _) => {
                let schema = serde_json::from_str(&read(path)?);
                let schema = schema.with_context(|| format!("{} is not JSON", path.display()))?;
                (path, GrammarSource::JsonSchema(schema))
            }
            (None, Some(path)) => (path, GrammarSource::Lark(read(path)?)),
            (None, None) => return Ok(None),
        };
        Ok(Some(model.grammar(&source).with_context(|| path.display().to_string())?))
    }

    /// The chat template, or what to do without one.
    fn template(&self, model: &Model) -> Result<ChatTemplate> {
        model.chat_template().context("this model cannot chat; --raw continues plain text")
    }

    fn answer(
        &self,
        (model, mut session): (&Model, Session<'_>),
        interrupt: &Interrupt,
        prompt: &str,
        mut sampling: SamplingParams,
        out: &mut dyn Write,
    ) -> Result<Outcome> {
        sampling.top_logprobs = self.logprobs.unwrap_or(0);
        let plain = self.raw || model.tokenizer()?.chat_template().is_none();
        if plain && self.system.is_some() {
            bail!("--system needs a chat template, and this model brings none");
        }
        if plain && !self.raw {
            eprintln!("note: the model brings no chat template, so it continues the prompt as plain text");
        }
        let tokens = if plain {
            model.encode(prompt)?
        } else {
            let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
            let messages: Vec<Message> = system.chain([Message::new("user", prompt)]).collect();
            model.encode_chat(&self.template(model)?, &messages)?
        };
        let request = GenerateRequest {
            prompt: tokens,
            sampling,
            max_tokens: self.max_tokens.or(Some(if plain { CONTINUATION_TOKENS } else { ANSWER_TOKENS })),
            stop: self.stop.clone(),
            grammar: self.grammar(model)?,
        };
        let mut writer = Writer { out, printed: 0, quiet: self.json, failed: None };
        let mut steps = Vec::new();
        let answering = interrupt.answering();
        let answer = session.generate(&request, |event| {
            if let Event::Token { id, text, logprob, top } = event {
                writer.text(&text);
                if self.logprobs.is_some() {
                    steps.push(step(model, id, logprob, &top));
                }
            }
            if answering.is_over() || writer.failed.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        drop(answering);
        writer.finish(&answer)?;
        if self.json {
            report::json(out, &self.json_answer(model, &request, &answer, steps, session.threads()))?;
        } else {
            eprintln!("{}", speed(&answer));
        }
        if self.verbose {
            eprintln!("seed {}", request.sampling.seed);
        }
        Ok(if answer.finish == Finish::Interrupted { Outcome::Interrupted } else { Outcome::Done })
    }

    fn json_answer(
        &self,
        model: &Model,
        request: &GenerateRequest,
        answer: &Generated,
        steps: Vec<Value>,
        threads: usize,
    ) -> Value {
        let mut report = json!({
            "answer": answer.text,
            "model": model.path(),
            "finish": answer.finish,
            "seed": request.sampling.seed,
            "sampling": request.sampling,
            "prompt_tokens": request.prompt.len(),
            "tokens": answer.tokens,
            "timing": timing(&answer.timing),
            "load": model.load_stats(),
            "threads": threads,
        });
        if self.logprobs.is_some() {
            report["logprobs"] = Value::from(steps);
        }
        report
    }
}

/// One step with its alternatives.
fn step(model: &Model, id: u32, logprob: f32, top: &[(u32, f32)]) -> Value {
    let tokenizer = model.tokenizer().ok();
    let spell = |id: u32| tokenizer?.decode(&[id], SpecialText::Show).ok();
    let text = |id: u32| spell(id).unwrap_or_default();
    let top: Vec<Value> =
        top.iter().map(|&(id, logprob)| json!({ "id": id, "text": text(id), "logprob": logprob })).collect();
    json!({ "id": id, "text": text(id), "logprob": logprob, "top": top })
}

fn timing(timing: &Timing) -> Value {
    let mut value = json!(timing);
    value["prompt_tokens_per_s"] = timing.prompt_tokens_per_s().into();
    value["generated_tokens_per_s"] = timing.generated_tokens_per_s().into();
    value
}

/// What an answer took, in a line.
pub(crate) fn speed(answer: &Generated) -> String {
    let timing = &answer.timing;
    let guesses = match timing.guessed_tokens {
        0 => String::new(),
        guessed => format!(", {} of {guessed} guesses right", timing.guessed_right),
    };
    let why = match answer.finish {
        Finish::EndOfText | Finish::Grammar => String::new(),
        Finish::StopString => "; ended by a stop string".to_owned(),
        Finish::MaxTokens => "; ended by the limit of tokens (-n)".to_owned(),
        Finish::ContextFull => "; ended because the context is full (-c)".to_owned(),
        Finish::Interrupted => "; interrupted".to_owned(),
    };
    format!(
        "[{} read, {:.0} tokens/s; {} written, {:.1} tokens/s{guesses}{why}]",
        report::count(timing.prompt_tokens, "token"),
        timing.prompt_tokens_per_s(),
        report::count(timing.generated_tokens, "token"),
        timing.generated_tokens_per_s(),
    )
}

/// Writes an answer while it is made.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut dyn Write,
    /// Bytes of the answer written.
    pub(crate) printed: usize,
    pub(crate) quiet: bool,
    pub(crate) failed: Option<io::Error>,
}

impl Writer<'_> {
    pub(crate) fn text(&mut self, text: &str) {
        self.printed += text.len();
        if self.quiet || text.is_empty() {
            return;
        }
        if let Err(error) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            self.failed = Some(error);
        }
    }

    /// Writes what was held back until the answer ended, and ends the line.
    pub(crate) fn finish(&mut self, answer: &Generated) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        self.text(answer.text.get(self.printed..).unwrap_or_default());
        if !self.quiet && !answer.text.ends_with('\n') {
            self.text("\n");
        }
        self.failed.take().map_or(Ok(()), |error| Err(error.into()))
    }
}
