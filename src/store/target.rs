//! Which store a job uses. `open` opens it.

use std::path::PathBuf;

/// Where results go.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file, made if it is missing.
    Sqlite(PathBuf),
    Postgres(PostgresConfig),
}

/// As the `DB_…` variables give it.
#[derive(Clone)]
pub struct PostgresConfig {
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub name: String,
    pub ssl: SslMode,
}

/// `DB_SSLMODE`, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyFull,
}

impl Target {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// What it takes on disk, where that costs no question to a server.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let Self::Sqlite(file) = self else { return None };
        let log = {
            let mut name = file.clone().into_os_string();
            name.push("-wal");
            PathBuf::from(name)
        };
        let bytes = |file: &PathBuf| std::fs::metadata(file).map(|of| of.len()).ok();
        Some(bytes(file)? + bytes(&log).unwrap_or(0))
    }
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres://{}:***@{}:{}/{} ({:?})", self.user, self.host, self.port, self.name, self.ssl)
    }
}
