//! Real jobs under mpirun, and what kills them.
