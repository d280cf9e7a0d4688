//! A disk that crashes: it drops, tears and reorders what was not synced, fails syncs, and runs out of space.
