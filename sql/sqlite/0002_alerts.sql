-- Alerts, from when they were raised on; those that stand are not cleared.
CREATE TABLE alerts (
    alert_id     TEXT PRIMARY KEY,
    pipeline     TEXT NOT NULL,
    alert        TEXT NOT NULL,
    alert_key    TEXT NOT NULL, -- a JSON object: the group, or the key
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    raised_at    INTEGER NOT NULL, -- in event time, as is cleared_at
    cleared_at   INTEGER,
    active       INTEGER NOT NULL,
    details      TEXT NOT NULL, -- a JSON object: what raised it
    epoch        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (raised_at, alert_id);
CREATE INDEX alerts_by_name ON alerts (alert, active, raised_at, alert_id);
