//! What a job tells of itself: figures, metrics, lines on stderr, and what is deployed to watch it.

mod exposition;
mod figures;
mod lines;
mod prometheus;
mod deployed;
