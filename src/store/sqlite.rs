//! SQLite, embedded: the default store. WAL, synchronous=FULL.
