//! Programs of the system that tests run: where they are, or what to install.

use std::path::PathBuf;

/// The program of this name.
///
/// # Panics
/// If it is not there: a test is never passed over because of that.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers' programs lie where only root looks for them.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: install {package}, or let ./run_tests.sh do it"))
}
