//! Many answers at once: the text of each is the text alone, whoever comes and goes beside it.

use lowbit_engine::{
    EngineError, Event, Finish, GenerateRequest, LoadOptions, Model, Session, Speculation,
    sampler::SamplingParams,
    scheduler::{
        Done, Failure, History, Listener, PromptScores, Refused, Request, Scheduler, SchedulerOptions,
        Scored, Stats, Update,
    },
};
use lowbit_kernels::{Ctx, Isa};
use lowbit_model::{KvElement, Logits};
use lowbit_testing::{GgufValue, Template, tiny_gguf};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

struct Place {
    ctx: Arc<Ctx>,
    model: Arc<Model>,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny_gguf(Template::None).write(&path).unwrap();
        let ctx = Arc::new(Ctx::new(Isa::detect(), 2));
        let model = Arc::new(Model::load(&ctx, &path, LoadOptions::default()).unwrap());
        Self { ctx, model, _folder: folder }
    }

    fn scheduler(&self, options: SchedulerOptions) -> Scheduler {
        Scheduler::start(self.model.clone(), self.ctx.clone(), options).unwrap()
    }

    /// Tokens and text of a session of its own.
    fn alone(&self, request: &Request) -> (Vec<u32>, String) {
        let mut session = Session::new(&self.model, &self.ctx, 0, KvElement::F16).unwrap();
        let answer = session.generate(&request.generate, |_| ControlFlow::Continue(())).unwrap();
        (answer.tokens, answer.text)
    }
}

struct Channel(Sender<Update>, Arc<AtomicBool>);

impl Listener for Channel {
    fn update(&mut self, update: Update) {
        let _ = self.0.send(update);
    }

    fn is_gone(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

/// What is heard of an answer, and a flag by which its listener goes away.
struct Heard(Receiver<Update>, Arc<AtomicBool>);

impl Heard {
    fn new() -> (Box<dyn Listener>, Self) {
        let (sender, receiver) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        (Box::new(Channel(sender, gone.clone())), Self(receiver, gone))
    }

    /// Tokens without the one that ended it, text, and the end.
    fn answer(&self) -> (Vec<u32>, String, Done) {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        for update in self.0.iter() {
            match update {
                Update::Token(token, more) => {
                    tokens.push(token.id);
                    text.push_str(&more);
                }
                Update::Done(done) => {
                    text.push_str(&done.text);
                    return (tokens, text, done);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("no end")
    }
}

fn submit(scheduler: &Scheduler, client: &str, requests: Vec<Request>) -> Vec<Heard> {
    let (listeners, heard): (Vec<_>, Vec<_>) = requests.iter().map(|_| Heard::new()).unzip();
    scheduler.submit(client, requests.into_iter().zip(listeners).collect()).unwrap();
    heard
}

/// Figures when all that was submitted is over: who listens hears of the end before it is counted.
fn settled(scheduler: &Scheduler) -> Stats {
    loop {
        let stats = scheduler.stats();
        if stats.running + stats.waiting == 0 {
            return stats;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn request(text: &str, seed: u64, max_tokens: usize) -> Request {
    let prompt = text.bytes().map(|byte| u32::from(byte) + 3).collect();
    let sampling = SamplingParams { seed, temperature: 1.5, ..SamplingParams::default() };
    let generate = GenerateRequest { prompt, sampling, max_tokens: Some(max_tokens), ..Default::default() };
    Request { generate, ..Request::default() }
}

/// Prompts of many lengths, some of which begin alike.
fn mixed(count: usize) -> Vec<Request> {
    let shared = "You are a helpful assistant that answers in as few words as it can. ".repeat(2);
    let text = |i: usize| match i % 3 {
        0 => format!("{shared} Question {i}: what is {i} times {i}?"),
        1 => "word ".repeat(1 + 7 * i),
        _ => format!("{i}"),
    };
    (0..count).map(|i| request(&text(i), i as u64, 3 + 5 * (i % 7))).collect()
}

#[test]
fn the_text_in_a_batch_is_the_text_alone() {
    let place = Place::new();
    let requests = mixed(16);
    let alone: Vec<_> = requests.iter().map(|request| place.alone(request)).collect();
    for parallel in [1, 5, 16] {
        let scheduler = place.scheduler(SchedulerOptions { parallel, ..SchedulerOptions::default() });
        // Twice: the second time there are prefixes of the first.
        for round in 0..2 {
            let heard = submit(&scheduler, "one", requests.clone());
            for ((heard, alone), request) in heard.iter().zip(&alone).zip(&requests) {
                let (tokens, text, done) = heard.answer();
                let ended = usize::from(done.finish == Finish::EndOfText);
                assert_eq!(tokens, alone.0[..alone.0.len() - ended], "{parallel} at once, round {round}");
                assert_eq!(text, alone.1);
                assert_eq!(done.prompt_tokens, request.generate.prompt.len());
                assert!(round == 0 || done.prompt_tokens < 20 || done.cached_tokens > 0, "{done:?}");
            }
        }
        let stats = settled(&scheduler);
        assert_eq!((stats.counters.completed, stats.counters.panics), (32, 0));
        if parallel == 16 {
            assert!(stats.counters.steps < stats.counters.generated_tokens / 3, "{stats:?}");
        }
    }
}

#[test]
fn requests_that_begin_alike_compute_their_beginning_once() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions::default());
    let shared = "The same long system prompt for everybody. ".repeat(8);
    let requests: Vec<Request> = (0..6).map(|i| request(&format!("{shared}{i}"), i, 4)).collect();
    let alone: Vec<_> = requests.iter().map(|request| place.alone(request).1).collect();
    let heard = submit(&scheduler, "one", requests);
    for (heard, alone) in heard.iter().zip(alone) {
        assert_eq!(heard.answer().1, alone);
    }
    let counters = settled(&scheduler).counters;
    assert_eq!(counters.panics, 0);
    assert!(counters.cached_tokens >= 5 * shared.len() as u64, "{counters:?}");
    assert!(counters.prompt_tokens < shared.len() as u64 + 20, "{counters:?}");
}

#[test]
fn want_of_memory_makes_sequences_step_back_and_changes_no_text() {
    let place = Place::new();
    // Two contexts of 600 tokens, as memory comes in steps of 256.
    let kv_bytes = 2 * place.model.decoder().cache_bytes(600, KvElement::F16);
    let options = SchedulerOptions { kv_bytes, ..SchedulerOptions::default() };
    let requests: Vec<Request> = (0..6).map(|i| request(&format!("{i} "), i, 590)).collect();
    // A model with random weights hardly ends by itself; what ends it then is the context.
    let ban = |mut request: Request| {
        request.generate.sampling.logit_bias = [(2, -100.0)].into();
        request
    };
    let requests: Vec<Request> = requests.into_iter().map(ban).collect();
    let alone: Vec<_> = requests.iter().map(|request| place.alone(request)).collect();
    let scheduler = place.scheduler(options);
    let heard = submit(&scheduler, "one", requests);
    for (heard, alone) in heard.iter().zip(&alone) {
        let (tokens, text, _) = heard.answer();
        assert_eq!((tokens, text), *alone);
    }
    let stats = settled(&scheduler);
    assert!(stats.counters.preempted > 0 && stats.counters.panics == 0, "{stats:?}");
    assert!(stats.kv_bytes <= kv_bytes, "{stats:?}");
    let small = SchedulerOptions { kv_bytes: kv_bytes / 2 - 1, context: 600, ..options };
    let refused = Scheduler::start(place.model.clone(), place.ctx.clone(), small).err().unwrap().to_string();
    assert!(refused.contains("a context of 600 needs"), "{refused}");
    // Where no context is asked for, it is what memory holds.
    assert_eq!(place.scheduler(SchedulerOptions { context: 0, ..small }).options().context, 512);
}

#[test]
fn a_client_that_goes_away_frees_its_place_at_once() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions { parallel: 1, ..SchedulerOptions::default() });
    let mut endless = request("on and on", 1, 590);
    endless.generate.sampling.logit_bias = [(2, -100.0)].into();
    let running = submit(&scheduler, "one", vec![endless.clone()]).remove(0);
    let waiting = submit(&scheduler, "one", vec![endless]).remove(0);
    running.0.recv().unwrap();
    for heard in [&running, &waiting] {
        heard.1.store(true, Ordering::Relaxed);
    }
    let start = Instant::now();
    let next = submit(&scheduler, "one", vec![request("short", 2, 3)]).remove(0);
    next.answer();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(settled(&scheduler).counters.cancelled, 2);
    // Nothing more is heard of them.
    assert!(!running.0.iter().any(|update| matches!(update, Update::Done(_))));
    assert_eq!(waiting.0.iter().count(), 0);
}

#[test]
fn a_full_queue_refuses_and_a_drained_one_answers_what_it_took() {
    let place = Place::new();
    let options = SchedulerOptions { parallel: 1, queue: 2, ..SchedulerOptions::default() };
    let scheduler = place.scheduler(options);
    let taken = submit(&scheduler, "one", (0..5).map(|i| request("words and words", i, 300)).collect());
    let refused = scheduler.submit("two", vec![(request("x", 0, 1), Heard::new().0)]);
    match refused {
        Err(Refused::Full { waiting, retry_after_s }) => {
            assert!(waiting >= 2 && (1..=60).contains(&retry_after_s), "{waiting} {retry_after_s}");
        }
        other => panic!("{other:?}"),
    }
    scheduler.drain();
    assert!(!scheduler.is_open());
    let refused = scheduler.submit("two", vec![(request("x", 0, 1), Heard::new().0)]);
    assert!(matches!(refused, Err(Refused::Closing)));
    taken.iter().for_each(|heard| drop(heard.answer()));
    assert_eq!(scheduler.stats().counters.refused, 1);
}

#[test]
fn stopping_tells_everyone() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions { parallel: 1, ..SchedulerOptions::default() });
    let mut long = request("words", 3, 590);
    long.generate.sampling.logit_bias = [(2, -100.0)].into();
    let heard = submit(&scheduler, "one", vec![long.clone(), long]);
    drop(scheduler);
    for heard in heard {
        assert_eq!(heard.0.iter().last(), Some(Update::Failed(Failure::Stopped)));
    }
}

#[test]
fn the_client_with_the_fewest_answers_is_next() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions { parallel: 2, ..SchedulerOptions::default() });
    let many = submit(&scheduler, "greedy", (0..8).map(|i| request(&format!("{i}"), i, 100)).collect());
    let one = submit(&scheduler, "modest", vec![request("me too", 1, 5)]);
    one[0].answer();
    let done = many.iter().filter(|heard| heard.0.try_iter().any(|update| matches!(update, Update::Done(_))));
    // Those that ran when it came, and perhaps one that was let in just before.
    assert!(done.count() <= 3);
}

#[test]
fn prompt_scores_are_those_of_one_pass_over_the_prompt() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions::default());
    let mut asked = request(&"What a prompt says. ".repeat(20), 0, 1);
    asked.prompt_scores = PromptScores::From(1);
    asked.generate.sampling.top_logprobs = 2;
    let prompt = asked.generate.prompt.clone();
    let mut session = Session::new(&place.model, &place.ctx, 0, KvElement::F16).unwrap();
    let vocab = place.model.spec().vocab;
    let logits = session.feed(&prompt, Logits::All).unwrap();
    let expected: Vec<f64> = logits
        .chunks_exact(vocab)
        .zip(&prompt[1..])
        .map(|(row, id)| {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            f64::from(row[*id as usize]) - sum.ln()
        })
        .collect();
    // A second time, with the whole prompt in the cache, and with no token to be drawn.
    for max_tokens in [1, 1, 0] {
        asked.generate.max_tokens = Some(max_tokens);
        let heard = submit(&scheduler, "one", vec![asked.clone()]).remove(0);
        let Update::Prompt(scores) = heard.0.recv().unwrap() else { panic!("no scores") };
        assert_eq!(scores.len(), prompt.len() - 1);
        for ((Scored { id, logprob, top }, expected), token) in scores.iter().zip(&expected).zip(&prompt[1..])
        {
            assert_eq!((id, top.len()), (token, 2));
            assert!((f64::from(*logprob) - expected).abs() < 1e-4, "{logprob} {expected}");
            assert!(top[0].1 >= top[1].1 && top[0].1 >= *logprob);
        }
        let (tokens, _, done) = heard.answer();
        assert!(tokens.len() <= max_tokens && done.cached_tokens == 0);
    }
}

#[test]
fn scores_of_the_end_of_a_prompt_are_those_of_all_of_it_and_its_beginning_may_come_from_the_cache() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions::default());
    let beginning = "What a prompt says. ".repeat(10);
    let score = |end: &str, from, max_tokens| {
        let mut asked = request(&format!("{beginning}{end}"), 0, max_tokens);
        asked.prompt_scores = PromptScores::From(from);
        let heard = submit(&scheduler, "one", vec![asked]).remove(0);
        let Update::Prompt(scores) = heard.0.recv().unwrap() else { panic!("no scores") };
        (scores, heard.answer().2)
    };
    let ends = ["yes, it does", "no", "!"];
    let all = ends.map(|end| score(end, 0, 0).0);
    for (end, all) in ends.iter().zip(&all) {
        for max_tokens in [0, 1] {
            let (scores, done) = score(end, beginning.len(), max_tokens);
            assert_eq!(scores, all[beginning.len() - 1..], "{end}");
            assert_eq!((scores.len(), done.prompt_tokens), (end.len(), beginning.len() + end.len()));
            assert_eq!(done.cached_tokens, beginning.len() - 1);
        }
    }
    // Nothing is at or after the end.
    assert_eq!(score("no", beginning.len() + 2, 1).0, []);
}

#[test]
fn the_token_that_ends_an_answer_is_told_and_is_no_part_of_it() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions::default());
    let mut asked = request("the end", 0, 5);
    asked.generate.sampling = SamplingParams { top_logprobs: 1, ..SamplingParams::greedy() };
    // The end of a text, and nothing else.
    asked.generate.sampling.logit_bias = [(2, 100.0)].into();
    let (tokens, text, done) = submit(&scheduler, "one", vec![asked.clone()])[0].answer();
    let end = done.end.unwrap();
    assert_eq!((tokens.len(), text.as_str(), end.id, end.top.len()), (0, "", 2, 1));
    assert_eq!((done.finish, done.generated_tokens), (Finish::EndOfText, 1));
    asked.generate.sampling.logit_bias = [(2, -100.0)].into();
    assert_eq!(submit(&scheduler, "one", vec![asked])[0].answer().2.end, None);
}

#[test]
fn penalties_count_the_prompt_or_do_not() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions::default());
    let mut asked = request("aaaaaaaa", 0, 1);
    asked.generate.sampling = SamplingParams::greedy();
    // Without the prompt there is nothing to penalize yet.
    asked.generate.sampling.logit_bias = [(u32::from(b'a') + 3, 100.0)].into();
    asked.generate.sampling.penalties.frequency = 2.0;
    asked.generate.sampling.penalties.presence = 2.0;
    asked.generate.prompt = asked.generate.prompt.repeat(8);
    let first = |history| {
        let heard = submit(&scheduler, "one", vec![Request { history, ..asked.clone() }]);
        heard[0].answer().0
    };
    assert_eq!(first(History::Nothing), [u32::from(b'a') + 3]);
    assert_ne!(first(History::Prompt), [u32::from(b'a') + 3]);
}

#[test]
fn what_cannot_be_answered_is_refused_before_it_waits() {
    let place = Place::new();
    let scheduler = place.scheduler(SchedulerOptions { context: 40, ..SchedulerOptions::default() });
    let refused = |change: &dyn Fn(&mut Request)| {
        let mut request = request("hello", 0, 4);
        change(&mut request);
        let good = self::request("a good one in the same call", 0, 1);
        let (listener, heard) = Heard::new();
        let requests = vec![(good, listener), (request, Heard::new().0)];
        let refused = scheduler.submit("one", requests).unwrap_err();
        assert_eq!(heard.0.iter().count(), 0, "{refused}");
        match refused {
            Refused::Invalid(error) => error,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(refused(&|r| r.generate.prompt.clear()), EngineError::EmptyPrompt));
    assert!(matches!(refused(&|r| r.generate.prompt.push(259)), EngineError::Decode(_)));
    let error = refused(&|r| r.generate.max_tokens = Some(36));
    assert!(matches!(error, EngineError::ContextFull { needed: 41, capacity: 40 }), "{error}");
    assert!(matches!(
        refused(&|r| r.generate.max_tokens = Some(usize::MAX)),
        EngineError::ContextFull { .. }
    ));
    assert!(matches!(refused(&|r| r.generate.sampling.top_p = 7.0), EngineError::Sampling(_)));
    assert!(matches!(refused(&|r| r.generate.stop.push(String::new())), EngineError::Sampling(_)));
}

/// What guesses, by name: look-up, the model itself, which is always right where tokens are not drawn by chance.
fn speculations(place: &Place) -> [(&'static str, Speculation); 2] {
    let of = |draft| Speculation { draft, most: 6 };
    [("look-up", of(None)), ("draft", of(Some(place.model.clone())))]
}

#[test]
fn guesses_change_no_token() {
    let place = Place::new();
    let mut requests = mixed(8);
    // Some greedily, which runs in circles that a look-up guesses well.
    requests.iter_mut().step_by(2).for_each(|request| request.generate.sampling = SamplingParams::greedy());
    requests.iter_mut().for_each(|request| request.generate.max_tokens = Some(60));
    requests[3].generate.stop = vec!["e".to_owned(), "a".to_owned()];
    let alone: Vec<_> = requests.iter().map(|request| place.alone(request)).collect();
    for (name, speculation) in speculations(&place) {
        for parallel in [1, 3, 8] {
            let options = SchedulerOptions { parallel, ..SchedulerOptions::default() };
            let (model, ctx) = (place.model.clone(), place.ctx.clone());
            let scheduler = Scheduler::speculating(model, ctx, options, Some(speculation.clone())).unwrap();
            for round in 0..2 {
                let heard = submit(&scheduler, "one", requests.clone());
                for (heard, alone) in heard.iter().zip(&alone) {
                    let (tokens, text, done) = heard.answer();
                    let ended = usize::from(done.finish == Finish::EndOfText);
                    assert_eq!(tokens, alone.0[..alone.0.len() - ended], "{name}, {parallel}, {round}");
                    assert_eq!(text, alone.1);
                }
            }
            let counters = settled(&scheduler).counters;
            assert!(
                0 < counters.guessed_right && counters.guessed_right < counters.guessed_tokens,
                "{counters:?}"
            );
            assert_eq!((counters.panics, counters.failed), (0, 0));
            let drawn: usize = alone.iter().map(|alone| 2 * alone.0.len()).sum();
            assert_eq!(counters.generated_tokens, drawn as u64);
            assert!(parallel > 1 || counters.steps < counters.generated_tokens, "{name}: {counters:?}");
        }
    }
}

#[test]
fn guesses_change_nothing_of_a_session() {
    let place = Place::new();
    for (name, speculation) in speculations(&place) {
        let mut session = Session::new(&place.model, &place.ctx, 0, KvElement::F16).unwrap();
        session.speculate(&speculation, &place.ctx).unwrap();
        for request in mixed(7) {
            let mut plain = Session::new(&place.model, &place.ctx, 0, KvElement::F16).unwrap();
            let mut events = [Vec::new(), Vec::new()];
            let answer = |session: &mut Session<'_>, events: &mut Vec<_>| {
                let watch = |event| {
                    if matches!(event, Event::Token { .. }) {
                        events.push(event);
                    }
                    ControlFlow::Continue(())
                };
                session.generate(&request.generate, watch).unwrap()
            };
            let (with, without) = (answer(&mut session, &mut events[0]), answer(&mut plain, &mut events[1]));
            assert_eq!(
                (&with.text, &with.tokens, with.finish),
                (&without.text, &without.tokens, without.finish)
            );
            assert_eq!(events[0], events[1], "{name}");
            assert_eq!(session.tokens(), plain.tokens(), "{name}");
            assert!(with.timing.guessed_right <= with.timing.guessed_tokens);
            assert_eq!(without.timing.guessed_tokens, 0);
        }
    }
}

#[test]
fn a_draft_model_of_another_vocabulary_is_refused() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.gguf");
    let mut other = tiny_gguf(Template::None);
    for (key, value) in &mut other.metadata {
        if let ("tokenizer.ggml.tokens", GgufValue::Array(_, tokens)) = (key.as_str(), value) {
            tokens.swap(40, 41);
        }
    }
    other.write(&path).unwrap();
    let draft = Arc::new(Model::load(&place.ctx, &path, LoadOptions::default()).unwrap());
    let speculation = Speculation { draft: Some(draft), most: 4 };
    let mut session = Session::new(&place.model, &place.ctx, 0, KvElement::F16).unwrap();
    let error = session.speculate(&speculation, &place.ctx).unwrap_err();
    assert!(matches!(error, EngineError::DraftVocabulary { differs: Some(40), .. }), "{error}");
}
