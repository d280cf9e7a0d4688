//! The whole meaning of a pipeline in the plainest code there is: a sorted list, a hash set, a map, exact rational sums. Written from `docs/semantics.md` alone.
