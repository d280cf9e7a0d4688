//! What this program was made of, for `--version` and for `doctor`.

use std::sync::OnceLock;

use crate::store::sqlite;
use crate::transport::mpi;

/// Of this package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of the source, where whoever built the program named it in the environment.
pub const REVISION: Option<&str> = option_env!("CAUDAL_REVISION");

/// The version and what was built in, one fact a line.
pub fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let revision = REVISION.map(|revision| format!(" ({revision})")).unwrap_or_default();
        format!("{VERSION}{revision}\n{}\nSQLite {}, built in\nbuilt for {}", mpi(), sqlite::version(), target())
    })
}

/// The library's name and version, without where it was packed.
pub fn mpi() -> String {
    let whole = mpi::library();
    whole.split(',').next().unwrap_or_default().to_owned()
}

/// The processor and the instructions beyond its oldest kind that the program uses.
pub fn target() -> String {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let used = instructions().join(", ");
    if used.is_empty() { format!("{arch} {os}") } else { format!("{arch} {os} with {used}") }
}

/// As Linux names them in /proc/cpuinfo.
pub fn instructions() -> Vec<&'static str> {
    let all = [
        (cfg!(target_feature = "sse4.2"), "sse4_2"),
        (cfg!(target_feature = "popcnt"), "popcnt"),
        (cfg!(target_feature = "avx"), "avx"),
        (cfg!(target_feature = "avx2"), "avx2"),
        (cfg!(target_feature = "bmi2"), "bmi2"),
        (cfg!(target_feature = "fma"), "fma"),
        (cfg!(target_feature = "movbe"), "movbe"),
        (cfg!(target_feature = "pclmulqdq"), "pclmulqdq"),
    ];
    all.into_iter().filter_map(|(used, name)| used.then_some(name)).collect()
}
