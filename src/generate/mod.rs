//! The seeded event generator, driven by the topics' JSON Schemas and the pipeline file's hints: the same seed gives the same bytes.

use crate::core::units::{Micros, TopicId};
use crate::pipeline::Pipeline;

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub seed: u64,
    /// Event time of the first event.
    pub start: Micros,
    /// Events in a second of event time: each next event is 1/rate later.
    pub rate: f64,
    /// Probabilities from 0 to 1, each for an event by itself.
    pub duplicates: f64,
    pub invalid: f64,
    pub late: f64,
    /// How far back a late event's time lies.
    pub late_by: Micros,
    /// Events are up to this much out of order, evenly.
    pub out_of_order: Micros,
    /// Overrides the file's hint.
    pub burst: Option<crate::pipeline::BurstHint>,
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub topic: TopicId,
    /// One line of JSON, without line end.
    pub line: Vec<u8>,
}

/// An endless stream of events.
pub struct Generator {}

impl Generator {
    /// # Errors
    /// If a schema asks for what cannot be generated; names the topic and the pointer.
    pub fn new(_pipeline: &Pipeline, _settings: Settings) -> Result<Self, String> {
        unimplemented!()
    }

    /// The next event.
    pub fn generate(&mut self) -> Generated {
        unimplemented!()
    }

    /// Event time from now on: for a generator that follows the clock. Moves forward only.
    pub fn set_time(&mut self, _time: Micros) {
        unimplemented!()
    }
}
