//! Programs from PyPI, of the versions that `tests/python/requirements.txt` says, in an environment of their own. Whoever needs the first of them installs all.

use std::path::PathBuf;
use std::process::Command;

use crate::support::job::root;

/// The program of this name.
pub fn program(name: &str) -> PathBuf {
    let script = "source scripts/setup.sh && python_tools";
    let made = Command::new("bash").args(["-c", script]).current_dir(root()).output().expect("bash starts");
    let (folder, said) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    assert!(made.status.success(), "tests need Python with its venv module, and PyPI once: {said}");
    PathBuf::from(folder.trim()).join("bin").join(name)
}
