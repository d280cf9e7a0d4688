-- What webhooks are to be sent, from the transaction on that stores what it tells of; and what became of it.
-- Times here are the machine's.
CREATE TABLE outbox (
    delivery_id  uuid PRIMARY KEY, -- sent as the Idempotency-Key
    pipeline     text COLLATE "C" NOT NULL,
    webhook      text COLLATE "C" NOT NULL,
    body         json NOT NULL,
    epoch        bigint NOT NULL,
    state        text COLLATE "C" NOT NULL DEFAULT 'waiting', -- or delivered, given_up
    attempts     bigint NOT NULL DEFAULT 0,
    first_at     timestamptz, -- the first attempt
    last_at      timestamptz, -- the last one
    next_at      timestamptz, -- not before then; null: at once
    last_error   text
);
CREATE INDEX outbox_by_epoch ON outbox (epoch, delivery_id);
CREATE INDEX outbox_due ON outbox (state, pipeline, webhook, next_at);
