//! A task from its rows to graded answers.

use super::{
    data::TaskData,
    lm::{Ear, Heard, Lm, Pair},
    programs::{self, Execute, Order as Run},
    prompt::Form,
    python_random::PythonRandom,
};
use crate::{
    EvalError,
    tasks::{Document, Grade, Order, Question, Reply, Score, Task, Verdict},
};
use lowbit_engine::sampler::SamplingParams;
use lowbit_io::texts::Row;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

/// How a task is put to a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Examples before each question.
    pub shots: usize,
    /// Documents, from the first on; all where it is `None`.
    pub limit: Option<usize>,
    /// Decides which examples are drawn, and texts where they are sampled.
    pub seed: u64,
    /// How questions are put.
    pub style: Style,
    /// Texts that are written for every question that asks for one.
    pub samples: usize,
    /// 0: the likeliest token each time; else tokens are drawn.
    pub temperature: f32,
}

/// How questions are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As plain text.
    Plain,
    /// By the model's chat template, examples as turns of the conversation.
    Chat,
}

impl Settings {
    /// Those of a task, of the harness's seed.
    pub fn of(task: &Task) -> Self {
        Self { shots: task.shots, limit: None, seed: 1234, style: Style::Plain, samples: 1, temperature: 0.0 }
    }
}

/// A graded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its place in the data, from 0.
    pub place: usize,
    /// What it belongs to within the task.
    pub group: Option<String>,
    /// What the model read, with what was scored after it.
    pub asked: Vec<(String, String)>,
    /// What came of each.
    pub replies: Vec<Reply>,
    /// How the program that each makes ended, where programs are run.
    pub verdicts: Vec<Verdict>,
    /// What that is worth.
    pub scores: Vec<Score>,
    /// Tokens that were cut off at the beginning of prompts.
    pub cut_tokens: usize,
}

/// What a run needs beside the task.
pub struct Bench<'a> {
    /// The model.
    pub lm: &'a Lm,
    /// Runs programs; without it, tasks that have some are refused.
    pub execute: Option<&'a Execute<'a>>,
}

/// Puts a task's documents to a model, but those that are `done`, and hands each to `seen` when it is graded, in no particular
/// order; `seen` ends the run by breaking it.
///
/// # Errors
/// Where a row cannot be read, the model refuses, or programs would have to be run and may not.
pub fn evaluate(
    bench: &Bench<'_>,
    task: &Task,
    data: &TaskData,
    settings: &Settings,
    done: &dyn Fn(usize) -> bool,
    seen: &mut dyn FnMut(Answer) -> Result<ControlFlow<()>, EvalError>,
) -> Result<(), EvalError> {
    let form = match settings.style {
        Style::Plain => Form::Plain,
        Style::Chat => Form::chat(bench.lm.model())?,
    };
    let mut shots = Shots::new(task, data, settings)?;
    let (sender, receiver) = channel();
    let gone = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let programs = bench.execute.map(|execute| programs::start(scope, execute, &sender, &gone));
        let asking = Asking { bench, task, settings, form, sender, programs, gone: gone.clone() };
        let answered = asking.answer(data, &mut shots, &receiver, done, seen);
        gone.store(true, Relaxed);
        answered
    })
}

/// Documents that `settings` ask for.
pub fn documents(data: &TaskData, settings: &Settings) -> usize {
    data.rows.rows.len().min(settings.limit.unwrap_or(usize::MAX))
}

/// Chooses the examples.
struct Shots<'a> {
    task: &'a Task,
    rows: &'a [Row],
    /// The group of each row, where groups decide.
    groups: Vec<Option<String>>,
    count: usize,
    random: PythonRandom,
}

impl<'a> Shots<'a> {
    fn new(task: &'a Task, data: &'a TaskData, settings: &Settings) -> Result<Self, EvalError> {
        let (count, rows) = (settings.shots, data.examples.as_slice());
        if rows.len() < count {
            return Err(EvalError::TooFewExamples { task: task.name, asked: count, found: rows.len() });
        }
        let by_group = count > 0 && task.examples.is_some_and(|examples| examples.order == Order::First);
        let grouped = if by_group { rows } else { &[] };
        let groups = grouped.iter().map(|row| Ok((task.document)(row)?.group));
        let groups = groups.collect::<Result<Vec<_>, EvalError>>()?;
        Ok(Self { task, rows, groups, count, random: PythonRandom::new(settings.seed) })
    }

    /// Those of a row; the rows before it have drawn theirs.
    fn of(&mut self, row: &Row) -> Result<Vec<Document>, EvalError> {
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let places: Vec<usize> = if self.groups.is_empty() {
            self.random.sample(self.rows.len(), self.count)
        } else {
            let group = (self.task.document)(row)?.group;
            let same = (0..self.rows.len()).filter(|i| self.groups[*i] == group);
            same.take(self.count).collect()
        };
        if places.len() < self.count {
            let (task, asked, found) = (self.task.name, self.count, places.len());
            return Err(EvalError::TooFewExamples { task, asked, found });
        }
        Ok(places.into_iter().map(|i| (self.task.document)(&self.rows[i])).collect::<Result<_, _>>()?)
    }
}

/// A document that is being answered.
struct Open {
    document: Document,
    asked: Vec<(String, String)>,
    /// Which of the texts each request belongs to; a long text has several.
    of: Vec<usize>,
    replies: Vec<Option<Reply>>,
    /// Of each reply, where programs are run.
    verdicts: Vec<Option<Verdict>>,
    cut_tokens: usize,
}

impl Open {
    fn missing(&self) -> usize {
        self.replies.iter().filter(|reply| reply.is_none()).count()
    }

    fn is_complete(&self) -> bool {
        self.missing() == 0 && self.verdicts.iter().all(Option::is_some)
    }

    /// A reply for every text, those of parts added up; of several samples each is one.
    fn joined(&self) -> Vec<Reply> {
        let mut joined: Vec<(usize, Reply)> = Vec::new();
        for (of, reply) in self.of.iter().zip(self.replies.iter().flatten()) {
            match (joined.last_mut(), reply) {
                (
                    Some((last, Reply::Likelihood { logprob, greedy, tokens })),
                    Reply::Likelihood { logprob: more, greedy: also, tokens: count },
                ) if *last == *of => {
                    *logprob += more;
                    *greedy &= also;
                    *tokens += count;
                }
                _ => joined.push((*of, reply.clone())),
            }
        }
        joined.into_iter().map(|(_, reply)| reply).collect()
    }
}

struct Asking<'a> {
    bench: &'a Bench<'a>,
    task: &'a Task,
    settings: &'a Settings,
    form: Form<'a>,
    sender: Sender<Heard>,
    programs: Option<Sender<Run>>,
    gone: Arc<AtomicBool>,
}

impl Asking<'_> {
    fn answer(
        &self,
        data: &TaskData,
        shots: &mut Shots<'_>,
        receiver: &Receiver<Heard>,
        done: &dyn Fn(usize) -> bool,
        seen: &mut dyn FnMut(Answer) -> Result<ControlFlow<()>, EvalError>,
    ) -> Result<(), EvalError> {
        let mut open = BTreeMap::new();
        let limit = self.settings.limit.unwrap_or(usize::MAX);
        let mut rows = data.rows.rows.iter().enumerate().take(limit);
        let mut left = true;
        while left || !open.is_empty() {
            // As many requests as keep every sequence busy.
            while left && open.values().map(Open::missing).sum::<usize>() < 2 * self.bench.lm.parallel() {
                let Some((place, row)) = rows.next() else {
                    left = false;
                    break;
                };
                let examples = shots.of(row)?;
                if !done(place) {
                    open.insert(place, self.ask(place, row, &examples)?);
                }
            }
            if let Some(answer) = self.hear(receiver, &mut open)?
                && seen(answer)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn ask(&self, place: usize, row: &Row, examples: &[Document]) -> Result<Open, EvalError> {
        let document = (self.task.document)(row)?;
        let runs = matches!(document.grade, Grade::Program(_));
        if runs && self.programs.is_none() {
            return Err(EvalError::CodeExecution { task: self.task.name });
        }
        let asked = self.form.texts(&document, examples)?;
        let lm = self.bench.lm;
        let (mut requests, mut cut_tokens): (Vec<(usize, Pair)>, usize) = (Vec::new(), 0);
        for (of, (context, continuation)) in asked.iter().enumerate() {
            match &document.question {
                Question::Generate(generate) => {
                    let pair = lm.prompt(context, generate.max_tokens)?;
                    requests.extend((0..self.settings.samples).map(|_| (of, pair.clone())));
                }
                Question::Whole(text) => requests.extend(lm.whole(text)?.into_iter().map(|pair| (of, pair))),
                _ => requests.push((of, lm.pair(context, continuation)?)),
            }
        }
        let of: Vec<usize> = requests.iter().map(|(of, _)| *of).collect();
        let replies = vec![None; requests.len()];
        for (request, (_, pair)) in requests.into_iter().enumerate() {
            cut_tokens += pair.cut;
            let ear = Ear::new((place, request), self.sender.clone(), self.gone.clone());
            match &document.question {
                Question::Generate(generate) => {
                    lm.write(pair, generate, self.sampling(place, request), ear)?;
                }
                _ => lm.score(pair, ear)?,
            }
        }
        let verdicts = vec![None; if runs { replies.len() } else { 0 }];
        Ok(Open { document, asked, of, replies, verdicts, cut_tokens })
    }

    /// Each text has a seed of its own, so that it depends neither on the order nor on others.
    fn sampling(&self, place: usize, sample: usize) -> SamplingParams {
        if self.settings.temperature == 0.0 {
            return SamplingParams::greedy();
        }
        let seed = self.settings.seed.wrapping_add((place as u64) << 20).wrapping_add(sample as u64);
        SamplingParams {
            temperature: self.settings.temperature,
            top_p: 0.95,
            top_k: 0,
            min_p: 0.0,
            seed,
            ..SamplingParams::default()
        }
    }

    /// The next reply; the document that it completes, graded.
    fn hear(
        &self,
        receiver: &Receiver<Heard>,
        open: &mut BTreeMap<usize, Open>,
    ) -> Result<Option<Answer>, EvalError> {
        if open.is_empty() {
            return Ok(None);
        }
        let stopped = |_| EvalError::Asking { why: "the scheduler has ended".to_owned() };
        let heard = receiver.recv().map_err(stopped)?;
        let (Heard::Reply { place, .. } | Heard::Verdict { place, .. }) = &heard;
        let (place, request) = *place;
        let Some(one) = open.get_mut(&place) else { return Ok(None) };
        match heard {
            Heard::Reply { reply, .. } => {
                let reply = reply.map_err(|failure| EvalError::Asking { why: failure.to_string() })?;
                if let (Grade::Program(program), Some(programs)) = (&one.document.grade, &self.programs) {
                    // Those who run them live as long as this.
                    let _ = programs.send(Run { place: (place, request), program: program(reply.text()) });
                }
                one.replies[request] = Some(reply);
            }
            Heard::Verdict { verdict, .. } => one.verdicts[request] = Some(verdict?),
        }
        if !one.is_complete() {
            return Ok(None);
        }
        let Some(one) = open.remove(&place) else { return Ok(None) };
        let replies = one.joined();
        let Open { document, asked, verdicts, cut_tokens, .. } = one;
        let verdicts: Vec<Verdict> = verdicts.into_iter().flatten().collect();
        let scores = match &document.grade {
            Grade::Replies(grade) => grade(&replies),
            Grade::Program(_) => self.pass_at_k(&verdicts),
        };
        Ok(Some(Answer { place, group: document.group, asked, replies, verdicts, scores, cut_tokens }))
    }

    /// The metrics of a task that runs programs are `pass@k`: of `n` programs `c` pass, and k of them drawn without putting
    /// back hold one that passes with probability `1 - C(n-c, k) / C(n, k)` (Chen et al., arXiv 2107.03374, equation 1).
    fn pass_at_k(&self, verdicts: &[Verdict]) -> Vec<Score> {
        let (n, c) = (verdicts.len(), verdicts.iter().filter(|verdict| **verdict == Verdict::Passed).count());
        let metrics = self.task.metrics.iter();
        metrics
            .filter_map(|metric| metric.pass_at().filter(|k| *k <= n).map(|k| (metric, k)))
            .map(|(metric, k)| Score::new(*metric, pass_at(n, c, k)))
            .collect()
    }
}

/// The estimator of [`Asking::pass_at_k`].
fn pass_at(n: usize, c: usize, k: usize) -> f64 {
    if n - c < k {
        return 1.0;
    }
    1.0 - (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_by_hand() {
        assert_eq!(pass_at(1, 1, 1), 1.0);
        assert_eq!(pass_at(1, 0, 1), 0.0);
        assert!((pass_at(4, 1, 1) - 0.25).abs() < 1e-12);
        // Two of four: one of three pairs of the wrong... C(2,2)/C(4,2) = 1/6 holds none.
        assert!((pass_at(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(pass_at(4, 3, 2), 1.0);
    }
}
