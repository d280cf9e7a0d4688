//! A topic's JSON Schema.
#[derive(Debug)]
pub struct Schema;
