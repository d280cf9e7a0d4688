-- How far each consumer group has come: all of the topic's events before the position are done.
CREATE TABLE consumer_offsets (
    topic       TEXT NOT NULL,
    group_name  TEXT NOT NULL,
    position    INTEGER NOT NULL, -- an offset in the log
    PRIMARY KEY (topic, group_name)
) STRICT, WITHOUT ROWID;
