-- A task put to a model under settings. The same key means the same answers are expected.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    task TEXT NOT NULL,
    task_version TEXT NOT NULL,
    shots INTEGER NOT NULL,
    settings TEXT NOT NULL,        -- JSON: what else decides the answers
    data TEXT NOT NULL,            -- the file
    data_sha256 TEXT NOT NULL,
    examples_sha256 TEXT,
    rows INTEGER NOT NULL,         -- of the file
    about TEXT NOT NULL,           -- JSON: program, machine, size of the model; decides nothing
    seconds REAL NOT NULL DEFAULT 0
);

-- One row a document.
CREATE TABLE document (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,        -- in the file, from 0
    category TEXT,                 -- a subject or the like
    asked_sha256 TEXT NOT NULL,    -- of the texts that were read and scored
    asked TEXT,                    -- JSON: these texts, where they were to be kept
    replies TEXT NOT NULL,         -- JSON: log-likelihoods, or what was written and how it ran
    cut_tokens INTEGER NOT NULL,   -- cut off at the beginning, as they did not fit
    PRIMARY KEY (run, place)
) WITHOUT ROWID;

-- What a document adds to each metric.
CREATE TABLE score (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL NOT NULL,
    weight REAL NOT NULL,
    PRIMARY KEY (run, metric, place)
) WITHOUT ROWID;
