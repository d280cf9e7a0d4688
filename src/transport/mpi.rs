//! Ranks over MPI: a small checked nonblocking layer on `mpi::ffi`. The only file that knows MPI.
