//! The only place that reads the environment: its variables, and those of `.env`, by dotenvy.

use std::ffi::OsString;
use std::path::Path;

use crate::config::{ConfigError, VARIABLES, Variables};

/// Those of the environment, these instead of the environment's, and those of `.env`.
pub(super) fn variables(given: &[(&str, String)]) -> Result<(Variables, Variables), ConfigError> {
    let dotenv = read_dotenv(Path::new(".env"))?;
    let text = |(name, value): (OsString, OsString)| {
        // What is no text cannot be right either; the wrong value is then named like any other.
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let mut environment: Variables = std::env::vars_os().filter_map(text).collect();
    environment.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Ok((environment, dotenv))
}

/// No file: no variables.
fn read_dotenv(path: &Path) -> Result<Variables, ConfigError> {
    let refuse = |error: dotenvy::Error| {
        // The parser's own message quotes the line, which may hold a password.
        let why = match &error {
            dotenvy::Error::LineParse(entry, _) => {
                let name = entry.split('=').next().unwrap_or_default().trim();
                let shown = if VARIABLES.contains(&name) { format!(" (at {name})") } else { String::new() };
                format!("an entry is not NAME=VALUE, or its quotes do not match{shown}")
            }
            other => other.to_string(),
        };
        ConfigError(format!("{}: {why}", path.display()))
    };
    match dotenvy::from_path_iter(path) {
        Ok(entries) => entries.collect::<Result<Variables, _>>().map_err(refuse),
        Err(error) if error.not_found() => Ok(Variables::new()),
        Err(error) => Err(refuse(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_env_file_is_refused_without_showing_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=1\nDB_PASSWORD='hush\n").unwrap();
        let error = read_dotenv(file.path()).unwrap_err().0;
        assert!(error.contains("DB_PASSWORD") && !error.contains("hush"), "{error}");
        assert!(read_dotenv(Path::new("nowhere.env")).unwrap().is_empty());
    }
}
