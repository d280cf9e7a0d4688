//! The store: whether it can be reached, and whether this user may do there what a job does.

use std::path::Path;

use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::cli::plural::count;
use crate::store::look::{self, PostgresSeen};
use crate::store::target::{PostgresConfig, SslMode, Target};
use crate::store::{StoreError, sqlite};

pub fn look(target: &Target, findings: &mut Findings) {
    match target {
        Target::Sqlite(path) => file(path, findings),
        Target::Postgres(config) => server(config, findings),
    }
}

fn file(path: &Path, findings: &mut Findings) {
    let name = format!("SQLite {}, {}", sqlite::version(), path.display());
    let cure =
        "put the file aside: where LOG_RETENTION has kept the whole log, a job without a store makes all of it again";
    match look::sqlite(path) {
        Ok(None) => findings.ok("store", format!("{name}: the job makes it")),
        Ok(Some(seen)) if seen.problems.is_empty() => {
            findings.ok("store", format!("{name}: {}", count(seen.bytes, "byte")));
        }
        Ok(Some(seen)) => {
            findings.problem("store", Exit::Config, format!("{name}: {}", seen.problems.join("\n")), cure);
        }
        Err(StoreError::Unavailable(why)) => {
            findings.problem(
                "store",
                Exit::Unavailable,
                format!("{name}: {why}"),
                "look again: another process writes to it",
            );
        }
        Err(error) => findings.problem("store", Exit::Config, format!("{name}: {error}"), cure),
    }
}

fn server(config: &PostgresConfig, findings: &mut Findings) {
    let PostgresConfig { user, host, port, name, ssl, .. } = config;
    let PostgresSeen { version, encrypted, may_create, may_stage } = match look::postgres(config) {
        Ok(seen) => seen,
        Err(error) => {
            let (exit, cure) = match &error {
                StoreError::Unavailable(_) | StoreError::Indeterminate(_) => (
                    Exit::Unavailable,
                    "start the server, or correct DB_HOST and DB_PORT (a job would take events meanwhile, and store their results when it is back)",
                ),
                _ => (
                    Exit::Config,
                    "correct DB_USER, DB_PASSWORD, DB_NAME or DB_SSLMODE; psql with the same values tells whether they are right",
                ),
            };
            let found = format!("PostgreSQL at {host}:{port}, database {name}, user {user}: {error}");
            return findings.problem("store", exit, found, cure);
        }
    };
    let link = if encrypted { "encrypted" } else { "not encrypted" };
    let found = format!("PostgreSQL {version} at {host}:{port}, database {name}, {link}");
    let is_local = host.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
    if !may_create {
        let cure = format!("as an administrator of the database: GRANT CREATE, USAGE ON SCHEMA public TO \"{user}\"");
        findings.problem("store", Exit::Config, format!("{found}: the user {user} may make no tables"), cure);
    } else if !may_stage {
        let cure = format!("as an administrator of the database: GRANT TEMPORARY ON DATABASE \"{name}\" TO \"{user}\"");
        findings.problem("store", Exit::Config, format!("{found}: the user {user} may make no temporary tables"), cure);
    } else if !encrypted && !is_local && *ssl == SslMode::Prefer {
        findings.warn("store", found, "set DB_SSLMODE=require or verify-full, and give the server a certificate");
    } else {
        findings.ok("store", found);
    }
}
