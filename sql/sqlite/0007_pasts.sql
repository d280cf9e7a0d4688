-- With `audit: full`: the pipeline whose past alone an event, or what it went into, is kept for; NULL: the job's own. What is kept for a past that is given up goes with it.
ALTER TABLE events_in ADD COLUMN past TEXT;
ALTER TABLE trace ADD COLUMN past TEXT;
CREATE INDEX events_in_by_past ON events_in (past) WHERE past IS NOT NULL;
CREATE INDEX trace_by_past ON trace (past) WHERE past IS NOT NULL;
