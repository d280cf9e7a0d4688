-- Results of the epochs up to progress.epoch, each table in absolute values.
-- Times are integer microseconds since 1970-01-01T00:00:00Z; the view of each window shows them as text.

-- The newest generation that writes here; locked first by every transaction that writes.
CREATE TABLE generation (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO generation (one, generation) VALUES (1, 0);

-- How far the results have come, with the fates of the events so far; empty before the first commit.
CREATE TABLE progress (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    log_id     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    log_end    INTEGER NOT NULL,
    counted    INTEGER NOT NULL,
    duplicate  INTEGER NOT NULL,
    filtered   INTEGER NOT NULL,
    invalid    INTEGER NOT NULL,
    late       INTEGER NOT NULL
) STRICT;

CREATE TABLE metrics_out (
    metric_id    TEXT PRIMARY KEY,
    pipeline     TEXT NOT NULL,
    window_name  TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    group_key    TEXT NOT NULL, -- JSON
    metrics      TEXT NOT NULL, -- JSON
    event_count  INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    closed       INTEGER NOT NULL,
    digest       INTEGER NOT NULL, -- 64 bits, read as signed
    epoch        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_out_by_start ON metrics_out (window_start, window_name, metric_id);
CREATE INDEX metrics_out_by_window ON metrics_out (window_name, window_start, metric_id);

CREATE TABLE dead_letters (
    log_offset  INTEGER PRIMARY KEY,
    topic       TEXT,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    body        BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    retried_as  INTEGER
) STRICT;

-- With `audit: full` only: each counted event, and which rows it went into.
CREATE TABLE events_in (
    log_offset  INTEGER PRIMARY KEY,
    topic       TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    event_time  INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX events_in_by_id ON events_in (event_id);

CREATE TABLE trace (
    metric_id  TEXT NOT NULL,
    log_offset INTEGER NOT NULL,
    event_id   TEXT NOT NULL,
    PRIMARY KEY (metric_id, log_offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX trace_by_offset ON trace (log_offset);

-- For each key of a view the latest values, field by field.
CREATE TABLE views (
    view       TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL, -- a JSON object
    events     INTEGER NOT NULL,
    event_time INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    PRIMARY KEY (view, key)
) STRICT, WITHOUT ROWID;

-- What each event said to a view that keeps its history.
CREATE TABLE view_history (
    view       TEXT NOT NULL,
    key        TEXT NOT NULL,
    log_offset INTEGER NOT NULL,
    event_time INTEGER NOT NULL,
    value      TEXT NOT NULL, -- a JSON object: the fields that the event has
    PRIMARY KEY (view, key, log_offset)
) STRICT, WITHOUT ROWID;
