//! What a task asks about one row of its data, and how the answers are graded.

use super::metric::{ACC, ACC_NORM, Score};
use lowbit_sandbox::Program;

/// A question with the way its answers are graded.
pub struct Document {
    /// What stands before everything, examples included.
    pub description: String,
    /// What the model reads, up to where it goes on.
    pub prompt: String,
    /// What the answer begins with, given to the model as if it had written it.
    pub begun: String,
    /// What stands between the prompt and what follows it.
    pub delimiter: &'static str,
    /// What follows where the document is shown as an example.
    pub answer: String,
    /// What it belongs to within the task: a subject, a category.
    pub group: Option<String>,
    /// What is asked.
    pub question: Question,
    /// How the replies are graded.
    pub grade: Grade,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How likely is each of these after the prompt?
    Continuations(Vec<String>),
    /// How likely is a text after each of these, which stand in place of the prompt?
    Prompts {
        /// What is read.
        prompts: Vec<String>,
        /// What is scored.
        continuation: String,
    },
    /// How likely is a whole text, nothing before it?
    Whole(String),
    /// What comes after the prompt?
    Generate(Generate),
}

/// How a text is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generate {
    /// It ends before any of these.
    pub until: Vec<String>,
    /// Or after so many tokens.
    pub max_tokens: usize,
}

/// One answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// How likely a text is.
    Likelihood {
        /// Natural logarithm of its probability.
        logprob: f64,
        /// Whether every token of it is the likeliest at its place.
        greedy: bool,
        /// Its tokens.
        tokens: usize,
    },
    /// A text that was written.
    Text {
        /// Without what ended it.
        text: String,
        /// Its tokens.
        tokens: usize,
    },
}

impl Reply {
    /// Of a likelihood; NaN of a text.
    pub fn logprob(&self) -> f64 {
        match self {
            Self::Likelihood { logprob, .. } => *logprob,
            Self::Text { .. } => f64::NAN,
        }
    }

    /// Whether a likelihood is that of the likeliest text.
    pub fn is_greedy(&self) -> bool {
        matches!(self, Self::Likelihood { greedy: true, .. })
    }

    /// A text; empty of a likelihood.
    pub fn text(&self) -> &str {
        match self {
            Self::Likelihood { .. } => "",
            Self::Text { text, .. } => text,
        }
    }
}

/// What replies are worth.
pub type Judge = dyn Fn(&[Reply]) -> Vec<Score> + Send + Sync;
/// The program that a reply makes.
pub type Assemble = dyn Fn(&str) -> Program + Send + Sync;

/// How replies become scores.
pub enum Grade {
    /// By what they say.
    Replies(Box<Judge>),
    /// By running the program that each of them makes: it passes or does not.
    Program(Box<Assemble>),
}

impl Document {
    /// Which of `choices` is the likeliest after the prompt: graded by accuracy, as it is and by the choices' lengths.
    pub fn choices(prompt: impl Into<String>, choices: Vec<String>, right: usize) -> Self {
        let characters: Vec<f64> = choices.iter().map(|choice| choice.chars().count() as f64).collect();
        Self {
            description: String::new(),
            prompt: prompt.into(),
            begun: String::new(),
            delimiter: " ",
            answer: choices.get(right).cloned().unwrap_or_default(),
            group: None,
            question: Question::Continuations(choices),
            grade: Grade::Replies(Box::new(move |replies| {
                let plain = largest(replies.iter().map(Reply::logprob));
                let normal =
                    largest(replies.iter().zip(&characters).map(|(reply, length)| reply.logprob() / length));
                let right = |place| f64::from(u8::from(place == right));
                vec![Score::new(ACC, right(plain)), Score::new(ACC_NORM, right(normal))]
            })),
        }
    }

    /// What a model writes after the prompt. As an example it is followed by `answer`.
    pub fn generate(
        prompt: impl Into<String>,
        answer: impl Into<String>,
        generate: Generate,
        grade: Grade,
    ) -> Self {
        Self {
            description: String::new(),
            prompt: prompt.into(),
            begun: String::new(),
            delimiter: " ",
            answer: answer.into(),
            group: None,
            question: Question::Generate(generate),
            grade,
        }
    }

    /// Another delimiter.
    pub fn delimiter(self, delimiter: &'static str) -> Self {
        Self { delimiter, ..self }
    }

    /// As part of a group.
    pub fn of_group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// Graded otherwise.
    pub fn graded(self, grade: impl Fn(&[Reply]) -> Vec<Score> + Send + Sync + 'static) -> Self {
        Self { grade: Grade::Replies(Box::new(grade)), ..self }
    }
}

/// The place of the largest number, the first where there are several; 0 where there is none.
pub fn largest(numbers: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, number) in numbers.enumerate() {
        if number > best.1 {
            best = (place, number);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_choice_counts_and_of_equals_the_first() {
        let document = Document::choices("q", ["a", "four", "xyzw"].map(String::from).into(), 1);
        assert_eq!(document.answer, "four");
        let Grade::Replies(grade) = &document.grade else { panic!() };
        let grade = |logprobs: [f64; 3]| {
            let reply = |logprob| Reply::Likelihood { logprob, greedy: false, tokens: 1 };
            grade(&logprobs.map(reply)).iter().map(|score| score.value).collect::<Vec<_>>()
        };
        assert_eq!(grade([-3.0, -2.0, -5.0]), [1.0, 1.0]);
        // By the character, four at -4 are better than one at -2.
        assert_eq!(grade([-2.0, -4.0, -5.0]), [0.0, 1.0]);
        assert_eq!(grade([-2.0, -2.0, -2.0]), [0.0, 1.0]);
    }
}
