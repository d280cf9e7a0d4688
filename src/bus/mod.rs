//! What other programs read: the valid events of a topic, in the log's order, and consumer groups that share them out.
//!
//! It knows the log and what a valid event is (`core::decode`); it knows no HTTP, no store and no thread.

mod error;
mod source;
mod events;
mod export;
pub mod fetch;
pub mod index;
pub mod group;

pub use crate::bus::error::BusError;
pub use crate::bus::events::{Event, Events, Limits, Run};
pub use crate::bus::export::Export;
pub use crate::bus::source::{START_FORMS, Source, Start};
