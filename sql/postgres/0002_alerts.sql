-- Alerts, from when they were raised on; those that stand are not cleared.
CREATE TABLE alerts (
    alert_id     uuid PRIMARY KEY,
    pipeline     text COLLATE "C" NOT NULL,
    alert        text COLLATE "C" NOT NULL,
    alert_key    json NOT NULL, -- a JSON object: the group, or the key
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    raised_at    timestamptz NOT NULL, -- in event time, as is cleared_at
    cleared_at   timestamptz,
    active       boolean NOT NULL,
    details      json NOT NULL, -- a JSON object: what raised it
    epoch        bigint NOT NULL
);
CREATE INDEX alerts_by_time ON alerts (raised_at, alert_id);
CREATE INDEX alerts_by_name ON alerts (alert, active, raised_at, alert_id);
