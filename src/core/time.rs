//! Event time as text: RFC 3339 in, RFC 3339 out, kept to the microsecond. `docs/semantics.md`, rule 5.

use crate::core::units::Micros;

/// Reads an RFC 3339 date-time with a zone (`Z` or an offset), years 0001 to 9999 as a moment in UTC. Digits beyond the microsecond are cut; second 60 is
/// the next minute's 0. None if it is no such text.
#[must_use]
pub fn parse(_text: &[u8]) -> Option<Micros> {
    unimplemented!()
}

/// `2026-11-22T12:00:00Z`; with a fraction of 3 or 6 digits only where it is not zero.
#[must_use]
pub fn format(_time: Micros) -> String {
    unimplemented!()
}
