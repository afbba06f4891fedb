//! The file of results: SQLite, `schema.sql`.

use crate::{
    EvalError,
    harness::Answer,
    tasks::{Metric, Reply, Summary, Verdict},
};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Params, Row, Transaction, TransactionBehavior, params,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// "lbev": tells the file from other SQLite files.
const APPLICATION: i32 = 0x6c62_6576;
/// Of the schema.
const VERSION: i32 = 1;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file of results.
pub struct Results {
    connection: Connection,
    path: PathBuf,
}

/// What a run is of.
#[derive(Clone, Debug, PartialEq)]
pub struct RunAbout {
    /// What the user called the model.
    pub model: String,
    /// SHA-256 of its files.
    pub model_sha256: String,
    /// The task.
    pub task: String,
    /// Its version.
    pub task_version: String,
    /// Examples before each question.
    pub shots: usize,
    /// What else decides the answers.
    pub settings: Value,
    /// The file of data.
    pub data: String,
    /// SHA-256 of it.
    pub data_sha256: String,
    /// SHA-256 of the file of examples.
    pub examples_sha256: Option<String>,
    /// Rows of the file of data.
    pub rows: usize,
    /// Program, machine, size of the model.
    pub about: Value,
}

/// A run that is in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its number in the file.
    pub id: i64,
    /// When it began, in UTC.
    pub created: String,
    /// What it is of.
    pub about: RunAbout,
    /// Time it took.
    pub seconds: f64,
    /// Documents that are graded.
    pub documents: usize,
}

/// A document of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDocument {
    /// Its place in the data, from 0.
    pub place: usize,
    /// What it belongs to within the task.
    pub category: Option<String>,
    /// Of the texts that were read and scored.
    pub asked_sha256: String,
    /// These texts, where they were kept.
    pub asked: Option<Value>,
    /// What came of them.
    pub replies: Value,
    /// The value and the weight for each metric.
    pub scores: BTreeMap<String, (f64, f64)>,
}

impl RunAbout {
    /// The same for runs that must give the same answers.
    pub fn key(&self) -> String {
        let Self { model_sha256, task, task_version, shots, settings, data_sha256, examples_sha256, .. } =
            self;
        let all = json!([model_sha256, task, task_version, shots, settings, data_sha256, examples_sha256]);
        sha256(all.to_string().as_bytes())
    }
}

impl Results {
    /// Opens a file, which is made where there is none.
    ///
    /// # Errors
    /// Where it cannot be opened, or is something else.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let wrong = |source| EvalError::Results { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(wrong)?;
        let mut results = Self { connection, path: path.to_owned() };
        results.prepare()?;
        Ok(results)
    }

    fn prepare(&mut self) -> Result<(), EvalError> {
        let set_up = |connection: &Connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            // A killed process loses no row; a machine without power may lose the last ones.
            write_ahead(connection)?;
            connection.pragma_update(None, "synchronous", "normal")
        };
        set_up(&self.connection).map_err(|error| self.wrong(error))?;
        self.make().map_err(|error| self.wrong(error))?;
        let number = |name: &str| -> Result<i32, EvalError> {
            self.connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| self.wrong(e))
        };
        let (application, version) = (number("application_id")?, number("user_version")?);
        if application != APPLICATION {
            return Err(self.content("no file of results; choose another with --results"));
        }
        if version != VERSION {
            return Err(
                self.content(format!("a file of results of version {version}, this program reads {VERSION}"))
            );
        }
        Ok(())
    }

    /// Makes the tables of a file that has nothing in it. Of two processes that find it so, the second waits for the first.
    fn make(&self) -> rusqlite::Result<()> {
        let nothing = "SELECT (SELECT application_id = 0 FROM pragma_application_id) \
                       AND (SELECT user_version = 0 FROM pragma_user_version) \
                       AND NOT EXISTS (SELECT * FROM sqlite_master)";
        let is_empty = || self.connection.query_row(nothing, [], |row| row.get::<_, bool>(0));
        if !is_empty()? {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        if is_empty()? {
            transaction.execute_batch(include_str!("schema.sql"))?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()
    }

    /// The run of these settings: the one that is there, or a new one.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn begin(&self, about: &RunAbout) -> Result<i64, EvalError> {
        let key = about.key();
        let known = self
            .connection
            .query_row("SELECT id FROM run WHERE key = ?1", [&key], |row| row.get(0))
            .optional()
            .map_err(|error| self.wrong(error))?;
        if let Some(id) = known {
            return Ok(id);
        }
        let inserted = self.connection.execute(
            "INSERT INTO run (key, model, model_sha256, task, task_version, shots, settings, data, data_sha256, \
             examples_sha256, rows, about) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                key,
                about.model,
                about.model_sha256,
                about.task,
                about.task_version,
                about.shots as i64,
                about.settings.to_string(),
                about.data,
                about.data_sha256,
                about.examples_sha256,
                about.rows as i64,
                about.about.to_string(),
            ],
        );
        inserted.map_err(|error| self.wrong(error))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Places of the documents that are graded.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn done(&self, run: i64) -> Result<HashSet<usize>, EvalError> {
        self.all("SELECT place FROM document WHERE run = ?1", [run], |row| place(row, 0))
            .map(HashSet::from_iter)
    }

    /// Adds documents, all of them or none, and their texts where they are kept.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(&mut self, run: i64, answers: &[Answer], texts: Texts) -> Result<(), EvalError> {
        let path = self.path.clone();
        let write = |transaction: rusqlite::Transaction<'_>| {
            answers.iter().try_for_each(|answer| insert(&transaction, run, answer, texts))?;
            transaction.commit()
        };
        let written = self.connection.transaction().and_then(write);
        written.map_err(|source| EvalError::Results { path, source })
    }

    /// Adds time to a run.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add_seconds(&self, run: i64, seconds: f64) -> Result<(), EvalError> {
        let update = "UPDATE run SET seconds = seconds + ?2 WHERE id = ?1";
        self.connection.execute(update, params![run, seconds]).map_err(|error| self.wrong(error))?;
        Ok(())
    }

    /// Takes a run away; whether it was there.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn remove(&self, run: i64) -> Result<bool, EvalError> {
        let removed = self.connection.execute("DELETE FROM run WHERE id = ?1", [run]);
        Ok(removed.map_err(|error| self.wrong(error))? > 0)
    }

    /// All runs, the oldest first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn runs(&self) -> Result<Vec<Run>, EvalError> {
        self.all(
            "SELECT id, created, model, model_sha256, task, task_version, shots, settings, data, data_sha256, \
             examples_sha256, rows, about, seconds, (SELECT count(*) FROM document WHERE run = run.id) \
             FROM run ORDER BY id",
            [],
            run,
        )
    }

    /// The run of a number.
    ///
    /// # Errors
    /// Where there is none, or the file cannot be read.
    pub fn run(&self, id: i64) -> Result<Run, EvalError> {
        let found = self.runs()?.into_iter().find(|run| run.id == id);
        found.ok_or_else(|| {
            self.content(format!("no run {id}; lowbit results list shows those that are there"))
        })
    }

    /// The documents of a run, in the order of the data.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn documents(&self, run: i64) -> Result<Vec<StoredDocument>, EvalError> {
        let scores =
            self.all("SELECT place, metric, value, weight FROM score WHERE run = ?1", [run], |row| {
                Ok((place(row, 0)?, row.get::<_, String>(1)?, (row.get(2)?, row.get(3)?)))
            })?;
        let mut of: BTreeMap<usize, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
        for (place, metric, score) in scores {
            of.entry(place).or_default().insert(metric, score);
        }
        self.all(
            "SELECT place, category, asked_sha256, asked, replies FROM document WHERE run = ?1 ORDER BY place",
            [run],
            |row| {
                let place = place(row, 0)?;
                let asked: Option<String> = row.get(3)?;
                Ok(StoredDocument {
                    place,
                    category: row.get(1)?,
                    asked_sha256: row.get(2)?,
                    asked: asked.map(|text| value(&text)),
                    replies: value(&row.get::<_, String>(4)?),
                    scores: of.get(&place).cloned().unwrap_or_default(),
                })
            },
        )
    }

    /// A metric over the documents of a run before place `limit`.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn summary(&self, run: i64, metric: &Metric, limit: Option<usize>) -> Result<Summary, EvalError> {
        let scores = self.all(
            "SELECT value, weight FROM score WHERE run = ?1 AND metric = ?2 AND place < ?3 ORDER BY place",
            params![run, metric.name, limit.map_or(i64::MAX, |limit| limit as i64)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(metric.aggregate.of(&scores))
    }

    fn all<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, EvalError> {
        self.query(query, params, read).map_err(|error| self.wrong(error))
    }

    fn query<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare_cached(query)?.query_map(params, read)?.collect()
    }

    fn wrong(&self, source: rusqlite::Error) -> EvalError {
        EvalError::Results { path: self.path.clone(), source }
    }

    fn content(&self, problem: impl Into<String>) -> EvalError {
        EvalError::ResultsContent { path: self.path.clone(), problem: problem.into() }
    }
}

/// Has changes written ahead. While another process changes to that, SQLite refuses instead of waiting.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            changed => return changed,
        }
    }
}

/// Whether the texts that a model read are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// Only their hash.
    Hashed,
    /// As they are.
    Kept,
}

fn insert(connection: &Connection, run: i64, answer: &Answer, texts: Texts) -> rusqlite::Result<()> {
    let asked = json!(answer.asked).to_string();
    let place = answer.place as i64;
    connection
        .prepare_cached("INSERT OR REPLACE INTO document VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            run,
            place,
            answer.group,
            sha256(asked.as_bytes()),
            (texts == Texts::Kept).then_some(&asked),
            replies_json(answer).to_string(),
            answer.cut_tokens as i64,
        ])?;
    for score in &answer.scores {
        connection
            .prepare_cached("INSERT OR REPLACE INTO score VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![run, place, score.metric, score.value, score.weight])?;
    }
    Ok(())
}

/// Replies as they are stored and exported, with how the programs that they made ended.
fn replies_json(answer: &Answer) -> Value {
    let verdicts = answer.verdicts.iter().map(Some).chain(std::iter::repeat(None));
    let replies = answer.replies.iter().zip(verdicts).map(|(reply, verdict)| {
        let mut json = reply_json(reply);
        if let Some(verdict) = verdict {
            json["passed"] = json!(*verdict == Verdict::Passed);
        }
        if let Some(Verdict::Failed(why)) = verdict {
            json["error"] = json!(why);
        }
        json
    });
    Value::from_iter(replies)
}

fn reply_json(reply: &Reply) -> Value {
    match reply {
        Reply::Likelihood { logprob, greedy, tokens } => {
            json!({ "logprob": logprob, "greedy": greedy, "tokens": tokens })
        }
        Reply::Text { text, tokens } => json!({ "text": text, "tokens": tokens }),
    }
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        created: row.get(1)?,
        about: RunAbout {
            model: row.get(2)?,
            model_sha256: row.get(3)?,
            task: row.get(4)?,
            task_version: row.get(5)?,
            shots: place(row, 6)?,
            settings: value(&row.get::<_, String>(7)?),
            data: row.get(8)?,
            data_sha256: row.get(9)?,
            examples_sha256: row.get(10)?,
            rows: place(row, 11)?,
            about: value(&row.get::<_, String>(12)?),
        },
        seconds: row.get(13)?,
        documents: place(row, 14)?,
    })
}

fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(column).map(|number| usize::try_from(number).unwrap_or(0))
}

/// JSON that this program wrote; null of what somebody else put in its place.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Score, Task};

    fn about(model: &str) -> RunAbout {
        RunAbout {
            model: model.to_owned(),
            model_sha256: sha256(model.as_bytes()),
            task: "piqa".to_owned(),
            task_version: "1.0".to_owned(),
            shots: 0,
            settings: json!({ "activations": "int16" }),
            data: "piqa.jsonl".to_owned(),
            data_sha256: "00".to_owned(),
            examples_sha256: None,
            rows: 3,
            about: json!({ "threads": 2 }),
        }
    }

    fn answer(place: usize, acc: f64) -> Answer {
        let metric = Task::named("piqa").unwrap().metric("acc").unwrap();
        Answer {
            place,
            group: Some("one".to_owned()),
            asked: vec![("q".to_owned(), " a".to_owned())],
            replies: vec![Reply::Likelihood { logprob: -1.5, greedy: true, tokens: 1 }],
            verdicts: Vec::new(),
            scores: vec![Score::new(*metric, acc)],
            cut_tokens: 0,
        }
    }

    #[test]
    fn what_was_added_is_there_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.sqlite");
        let mut results = Results::open(&path).unwrap();
        let run = results.begin(&about("a")).unwrap();
        results.add(run, &[answer(2, 1.0)], Texts::Hashed).unwrap();
        results.add(run, &[answer(0, 0.0)], Texts::Kept).unwrap();
        results.add_seconds(run, 1.5).unwrap();
        drop(results);
        let mut results = Results::open(&path).unwrap();
        // The same settings are the same run, others are not.
        assert_eq!(results.begin(&about("a")).unwrap(), run);
        let other = results.begin(&about("b")).unwrap();
        assert_ne!(other, run);
        assert_eq!(results.done(run).unwrap(), HashSet::from([0, 2]));
        results.add(run, &[answer(1, 1.0)], Texts::Hashed).unwrap();
        let metric = Task::named("piqa").unwrap().metric("acc").unwrap();
        let all = results.summary(run, metric, None).unwrap();
        assert_eq!((all.value, all.documents), (2.0 / 3.0, 3));
        assert_eq!(results.summary(run, metric, Some(2)).unwrap().value, 0.5);
        let found = results.run(run).unwrap();
        assert_eq!((found.documents, found.seconds, found.about), (3, 1.5, about("a")));
        let documents = results.documents(run).unwrap();
        assert_eq!(documents[0].asked, Some(json!([["q", " a"]])));
        assert_eq!(documents[2].asked, None);
        assert_eq!(documents[0].asked_sha256, documents[2].asked_sha256);
        assert_eq!(documents[1].replies, json!([{ "logprob": -1.5, "greedy": true, "tokens": 1 }]));
        assert_eq!(documents[2].scores["acc"], (1.0, 1.0));
        assert!(results.remove(run).unwrap() && !results.remove(run).unwrap());
        assert!(results.documents(run).unwrap().is_empty());
        assert_eq!(results.runs().unwrap().len(), 1);
    }

    #[test]
    fn many_may_find_the_file_empty_at_once() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("results.sqlite");
            std::thread::scope(|scope| {
                for name in ["a", "b", "c", "d"] {
                    let path = &path;
                    scope.spawn(move || Results::open(path).unwrap().begin(&about(name)).unwrap());
                }
            });
            assert_eq!(Results::open(&path).unwrap().runs().unwrap().len(), 4);
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
        let error = Results::open(&path).err().unwrap().to_string();
        assert!(error.contains("no file of results") && error.contains("other.sqlite"), "{error}");
        std::fs::write(&path, "text that is no database at all").unwrap();
        let error = Results::open(&path).err().unwrap().to_string();
        assert!(error.contains("not a database"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text that is no database at all");
    }
}
