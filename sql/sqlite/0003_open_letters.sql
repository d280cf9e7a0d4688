-- The dead letters that may still be retried, by what is wrong with them.
CREATE INDEX dead_letters_open ON dead_letters (reason, log_offset) WHERE retried_as IS NULL;
