-- Results of the epochs up to progress.epoch, each table in absolute values.
-- Names that are sorted have the byte order of COLLATE "C", so that pages have one order whatever the database's language.

-- The newest generation that writes here; locked first by every transaction that writes.
CREATE TABLE generation (
    one        bigint PRIMARY KEY CHECK (one = 1),
    generation bigint NOT NULL
);
INSERT INTO generation (one, generation) VALUES (1, 0);

-- How far the results have come, with the fates of the events so far; empty before the first commit.
CREATE TABLE progress (
    one        bigint PRIMARY KEY CHECK (one = 1),
    log_id     text NOT NULL,
    generation bigint NOT NULL,
    epoch      bigint NOT NULL,
    log_end    bigint NOT NULL,
    counted    bigint NOT NULL,
    duplicate  bigint NOT NULL,
    filtered   bigint NOT NULL,
    invalid    bigint NOT NULL,
    late       bigint NOT NULL
);

-- json, not jsonb: it keeps the order of the keys and each number as it was written.
CREATE TABLE metrics_out (
    metric_id    uuid PRIMARY KEY,
    pipeline     text NOT NULL,
    window_name  text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    group_key    json NOT NULL,
    metrics      json NOT NULL,
    event_count  bigint NOT NULL,
    revision     bigint NOT NULL,
    closed       boolean NOT NULL,
    digest       bigint NOT NULL, -- 64 bits, read as signed
    epoch        bigint NOT NULL
);
CREATE INDEX metrics_out_by_start ON metrics_out (window_start, window_name, metric_id);
CREATE INDEX metrics_out_by_window ON metrics_out (window_name, window_start, metric_id);

CREATE TABLE dead_letters (
    log_offset  bigint PRIMARY KEY,
    topic       text,
    reason      text NOT NULL,
    detail      text NOT NULL,
    body        bytea NOT NULL,
    received_at timestamptz NOT NULL,
    retried_as  bigint
);

-- With `audit: full` only: each counted event, and which rows it went into.
CREATE TABLE events_in (
    log_offset  bigint PRIMARY KEY,
    topic       text NOT NULL,
    event_id    text NOT NULL,
    event_time  timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    body        bytea NOT NULL
);
-- Of the hash only equality is asked, and an id may be longer than a B-tree's entry.
CREATE INDEX events_in_by_id ON events_in USING hash (event_id);

CREATE TABLE trace (
    metric_id  uuid NOT NULL,
    log_offset bigint NOT NULL,
    event_id   text NOT NULL,
    PRIMARY KEY (metric_id, log_offset)
);
CREATE INDEX trace_by_offset ON trace (log_offset);

-- For each key of a view the latest values, field by field.
CREATE TABLE views (
    view       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      json NOT NULL, -- a JSON object
    events     bigint NOT NULL,
    event_time timestamptz NOT NULL,
    log_offset bigint NOT NULL,
    epoch      bigint NOT NULL,
    PRIMARY KEY (view, key)
);

-- What each event said to a view that keeps its history.
CREATE TABLE view_history (
    view       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    event_time timestamptz NOT NULL,
    value      json NOT NULL, -- a JSON object: the fields that the event has
    PRIMARY KEY (view, key, log_offset)
);
