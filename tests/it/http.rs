//! The HTTP surface of a real job: every call, every bad input.
