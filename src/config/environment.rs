//! The only place that reads the environment: its variables, and those of `.env`, by dotenvy.

use std::ffi::OsString;
use std::path::Path;

use crate::config::{ConfigError, VARIABLES, Variables};

/// Of one variable in `.env`: each may hold others many times, and so grow without end.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// Those of the environment, these instead of the environment's, and those of `.env`.
pub(super) fn variables(given: &[(&str, String)]) -> Result<(Variables, Variables), ConfigError> {
    let dotenv = read_dotenv(Path::new(".env"))?;
    let mut environment = of_process();
    environment.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Ok((environment, dotenv))
}

/// The process's own.
pub(super) fn of_process() -> Variables {
    let text = |(name, value): (OsString, OsString)| {
        // What is no text cannot be right either; the wrong value is then named like any other.
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Why whoever keeps the job running has started it again, in words; None at a first start. It is no setting: `run_mpi.sh` says it.
#[must_use]
pub fn restarted() -> Option<String> {
    let why = std::env::var_os("CAUDAL_RESTARTED")?.to_string_lossy().into_owned();
    (!why.trim().is_empty()).then_some(why)
}

/// No file: no variables.
pub fn read_dotenv(path: &Path) -> Result<Variables, ConfigError> {
    let at = |name: &str| if VARIABLES.contains(&name) { format!(" (at {name})") } else { String::new() };
    let refuse = |error: dotenvy::Error| {
        // The parser's own message quotes the line, which may hold a password.
        let why = match &error {
            dotenvy::Error::LineParse(entry, _) => {
                let name = entry.split('=').next().unwrap_or_default().trim();
                format!("an entry is not NAME=VALUE, or its quotes do not match{}", at(name))
            }
            other => other.to_string(),
        };
        ConfigError(format!("{}: {why}", path.display()))
    };
    match dotenvy::from_path_iter(path) {
        Ok(entries) => {
            let mut variables = Variables::new();
            for entry in entries {
                let (name, value) = entry.map_err(refuse)?;
                if value.len() > VALUE_BYTES_MAX {
                    let path = path.display();
                    let why = format!("{name} has more than {VALUE_BYTES_MAX} bytes, with what it names put in");
                    return Err(ConfigError(format!("{path}: {why}")));
                }
                variables.insert(name, value);
            }
            Ok(variables)
        }
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

    #[test]
    fn values_that_name_others_do_not_grow_without_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let doubled: String = (1..64).map(|n| format!("A{n}=\"${{A{}}}${{A{}}}\"\n", n - 1, n - 1)).collect();
        std::fs::write(file.path(), format!("A0=hush\n{doubled}")).unwrap();
        let error = read_dotenv(file.path()).unwrap_err().0;
        assert!(error.contains("more than 16384 bytes") && !error.contains("hush"), "{error}");
        std::fs::write(file.path(), "A=x\nB=${A}y${A}\n").unwrap();
        assert_eq!(read_dotenv(file.path()).unwrap()["B"], "xyx");
    }
}
