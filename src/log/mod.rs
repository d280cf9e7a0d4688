//! The durable record of everything that came in.
