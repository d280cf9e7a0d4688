-- How far each consumer group has come: all of the topic's events before the position are done.
CREATE TABLE consumer_offsets (
    topic       text COLLATE "C" NOT NULL,
    group_name  text COLLATE "C" NOT NULL,
    position    bigint NOT NULL, -- an offset in the log
    PRIMARY KEY (topic, group_name)
);
