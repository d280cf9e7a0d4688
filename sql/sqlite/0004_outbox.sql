-- What webhooks are to be sent, from the transaction on that stores what it tells of; and what became of it.
-- Times here are the machine's, in microseconds since 1970.
CREATE TABLE outbox (
    delivery_id  TEXT PRIMARY KEY, -- sent as the Idempotency-Key
    pipeline     TEXT NOT NULL,
    webhook      TEXT NOT NULL,
    body         TEXT NOT NULL, -- JSON
    epoch        INTEGER NOT NULL,
    state        TEXT NOT NULL DEFAULT 'waiting', -- or delivered, given_up
    attempts     INTEGER NOT NULL DEFAULT 0,
    first_at     INTEGER, -- the first attempt
    last_at      INTEGER, -- the last one
    next_at      INTEGER, -- not before then; null: at once
    last_error   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_by_epoch ON outbox (epoch, delivery_id);
CREATE INDEX outbox_due ON outbox (state, pipeline, webhook, next_at);
