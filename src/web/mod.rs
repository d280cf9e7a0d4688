//! HTTP on rank 0: thin handlers over bounded handles.
