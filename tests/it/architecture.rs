//! The arrows between rooms, held by reading the imports.
