//! Pipeline files: what is refused, with line and column.
