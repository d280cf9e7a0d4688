//! Aggregates against exact rational arithmetic, in random cuts and orders.
