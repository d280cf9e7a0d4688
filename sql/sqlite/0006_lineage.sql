-- With `audit: compact` only: which events of an epoch went into a slice of a window, by group.
-- A row of metrics_out has the slices from its start to before its end, of its group, where it ends after late_to.
CREATE TABLE lineage (
    pipeline     TEXT NOT NULL,
    window_name  TEXT NOT NULL,
    slice_start  INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    part         INTEGER NOT NULL, -- 1: the row has all groups. Otherwise a 1 and the first bits of the series of those that it has: an xxh3-128 of pipeline, window and group as JSON
    first_offset INTEGER NOT NULL, -- of the epoch
    last_offset  INTEGER NOT NULL, -- of the events
    late_to      INTEGER NOT NULL, -- microseconds since 1970-01-01T00:00:00Z: rows that end by then were late for them
    -- For each group: the id (16 bytes) that a row of it would have which begins with the slice; of hopping windows, whose rows have several slices, the group, as ids are made from it
    -- (length, bytes; otherwise the length is 0); a Roaring bitmap (portable format) of what is to be added to first_offset (length, bytes). Lengths are 4 bytes, little-endian.
    entries      BLOB NOT NULL,
    PRIMARY KEY (pipeline, window_name, slice_start, epoch, part)
) STRICT;
CREATE INDEX lineage_by_epoch ON lineage (first_offset);
