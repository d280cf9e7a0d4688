//! Facts about this process and ties to its parent.

/// The host's name.
#[must_use]
pub fn host() -> String {
    unimplemented!()
}

/// Resident memory of this process.
#[must_use]
pub fn memory_bytes() -> u64 {
    unimplemented!()
}

/// Has the kernel kill this process when its parent (the MPI launcher) dies, so that no rank is orphaned.
pub fn die_with_parent() {
    unimplemented!()
}
