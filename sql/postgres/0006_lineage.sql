-- With `audit: compact` only: which events of an epoch went into a slice of a window, for one group.
-- A row of metrics_out has the slices from its start to before its end, of its series (pipeline, window and group; groups that differ in U+0000 and U+2400 alone are one series), where it ends after late_to.
CREATE TABLE lineage (
    series_id    uuid NOT NULL,
    slice_start  timestamptz NOT NULL,
    epoch        bigint NOT NULL,
    pipeline     text NOT NULL,
    window_name  text NOT NULL,
    slice_id     uuid NOT NULL, -- the id that a row of this group would have which begins with the slice: its only row, but for hopping windows
    group_key    bytea, -- of hopping windows: the group, as its rows' ids are made from it
    first_offset bigint NOT NULL, -- of the epoch
    last_offset  bigint NOT NULL, -- of the events
    late_to      bigint NOT NULL, -- microseconds since 1970-01-01T00:00:00Z: rows that end by then were late for them
    offsets      bytea NOT NULL, -- a Roaring bitmap (portable format) of what is to be added to first_offset
    PRIMARY KEY (series_id, slice_start, epoch, slice_id)
);
CREATE INDEX lineage_by_epoch ON lineage (first_offset);
