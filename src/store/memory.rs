//! A store in memory for tests and the simulation: it can lose the answer to a commit, and be away.
