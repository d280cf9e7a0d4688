//! The whole cluster in one thread, from a seed: real log, core, worker and coordinator on a simulated disk, network, store and clock.
