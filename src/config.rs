//! The settings: what the environment says, or else `.env`, or else the default. Unknown keys get a warning with the nearest known one; secrets are masked.
//! `.env.example` lists every variable.

mod environment;
mod given;
mod tokens;
mod http;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::environment::variables;
use crate::config::given::{GIB, Given, KIB, MIB, whole};
use crate::config::http::http;
use crate::config::warnings::{Warnings, warnings};
use crate::core::keygroup::KEY_GROUPS;
use crate::ingest::keys;
use crate::store::target::{PostgresConfig, SslMode, Target};

pub use crate::config::environment::{read_dotenv, restarted};
pub use crate::config::http::{Http, TlsFiles};
pub use crate::config::tokens::{Role, Roles, Tokens};

/// Every variable there is, in the order of `.env.example`.
pub const VARIABLES: [&str; 37] = [
    "PIPELINES",
    "DATA_DIR",
    "RANKS",
    "HTTP_ADDR",
    "HTTP_PORT",
    "API_TOKENS",
    "API_TOKENS_FILE",
    "TLS_CERT",
    "TLS_KEY",
    "HTTP_HOSTS",
    "HTTP_RATE_MAX",
    "HTTP_CONNECTIONS_MAX",
    "HTTP_HEADER_TIMEOUT",
    "HTTP_BODY_TIMEOUT",
    "HTTP_WRITE_TIMEOUT",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
    "DB_NAME",
    "DB_SSLMODE",
    "LOG_BYTES_MAX",
    "LOG_RETENTION",
    "LOG_SEGMENT_BYTES",
    "DISK_FREE_BYTES_MIN",
    "AUDIT_FILE_BYTES",
    "WEBHOOKS_PRIVATE",
    "WEBHOOK_TIMEOUT",
    "EVENT_BYTES_MAX",
    "BODY_BYTES_MAX",
    "INGEST_QUEUE_MAX",
    "INGEST_QUEUE_BYTES_MAX",
    "IDEMPOTENCY_KEYS_MAX",
    "IDEMPOTENCY_EXPIRY",
    "IDS_MAX",
    "IDS_IN_MEMORY_MAX",
    "LOG_FORMAT",
];

/// Files that a job never has.
const BYTES_MAX: u64 = 1 << 50;
/// The slab format numbers a slab's bytes in 32 bits; a body this large would also fill every queue.
const BODY_BYTES_LIMIT: u64 = GIB;
/// More ids than a job has disk for.
const IDS_LIMIT: u64 = 100_000_000_000;
/// Each checkpoint has all keys, some 60 bytes each.
const IDEMPOTENCY_KEYS_LIMIT: u64 = 10_000_000;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: Http,
    pub data_dir: PathBuf,
    /// `PIPELINES`, globs resolved; at least one.
    pub pipelines: Vec<PathBuf>,
    pub target: Target,
    pub log: LogConfig,
    /// A file of the audit's lines that has reached this is closed, and a new one begun.
    pub audit_file_bytes: u64,
    pub webhooks: Webhooks,
    pub limits: Limits,
    /// How many run_mpi.sh starts; a job has as many as its launcher says.
    pub ranks: usize,
}

/// What the settings come to, right or wrong.
pub struct Examined {
    /// With the default for what is wrong.
    pub config: Config,
    pub warnings: Warnings,
    pub wrong: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Whether they may go to addresses that are not of the public internet.
    pub private: bool,
    /// An attempt ends by then.
    pub timeout: Duration,
    pub named: Named,
}

/// Every variable there is, for those that pipeline files name. Never shown.
#[derive(Clone, Default)]
pub struct Named(Variables);

impl Named {
    /// What a variable holds; an empty one holds nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not shown")
    }
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub bytes_max: u64,
    /// None: segments go as soon as a checkpoint and the store have passed them.
    pub retention: Option<Duration>,
    pub segment_bytes: u64,
    pub low_water_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub event_bytes: usize,
    pub body_bytes: usize,
    /// Submissions that may wait for the log's writer.
    pub ingest_queue: usize,
    pub ingest_queue_bytes: usize,
    /// What is remembered of requests with an Idempotency-Key.
    pub idempotency: keys::Limits,
    /// Ids remembered by all workers, beyond which ingest answers 503.
    pub ids: u64,
    /// Ids that each worker keeps in memory; the others lie in its scratch files.
    pub ids_in_memory: u64,
}

/// LOG_FORMAT: how the process says on stderr what it has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Exit 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Names and values.
pub type Variables = BTreeMap<String, String>;

impl Config {
    /// Reads `.env` in the working directory and the environment. Gives warnings for people beside the settings.
    ///
    /// # Errors
    /// Every wrong value at once, each with what is allowed.
    pub fn load() -> Result<(Self, Warnings), ConfigError> {
        Self::load_over(&[])
    }

    /// Likewise, with these variables instead of the environment's.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_over(given: &[(&str, String)]) -> Result<(Self, Warnings), ConfigError> {
        let (environment, dotenv) = variables(given)?;
        Self::from_variables(&environment, &dotenv)
    }

    /// The only setting that counts for a batch whose results go to a folder: `Limits::ids_in_memory`.
    ///
    /// # Errors
    /// As `load`, of this one.
    pub fn load_ids_in_memory() -> Result<u64, ConfigError> {
        let (environment, dotenv) = variables(&[])?;
        let mut given = Given::new(&environment, &dotenv);
        let ids = ids_in_memory(&mut given);
        given.checked(ids)
    }

    /// How to log, before anything else is read. What is wrong is told by whoever reads it all.
    #[must_use]
    pub fn load_log_format() -> LogFormat {
        let Ok((environment, dotenv)) = variables(&[]) else { return LogFormat::default() };
        Given::new(&environment, &dotenv).text("LOG_FORMAT").and_then(log_format).unwrap_or_default()
    }

    /// The settings by which a job here is reached.
    ///
    /// # Errors
    /// As `load`, of these.
    pub fn load_http() -> Result<Http, ConfigError> {
        let (environment, dotenv) = variables(&[])?;
        let mut given = Given::new(&environment, &dotenv);
        let http = http(&mut given);
        given.checked(http)
    }

    /// The settings that these variables mean; the environment beats `.env`. An empty value is none.
    ///
    /// # Errors
    /// Every wrong value at once, each with what is allowed.
    pub fn from_variables(environment: &Variables, dotenv: &Variables) -> Result<(Self, Warnings), ConfigError> {
        let mut given = Given::new(environment, dotenv);
        let read = Self::read(&mut given);
        given.checked(read)
    }

    /// The settings as they are, for who looks at all of them at once.
    #[must_use]
    pub fn examine() -> Examined {
        let mut wrong = Vec::new();
        let (environment, dotenv) = variables(&[]).unwrap_or_else(|unreadable| {
            wrong.push(unreadable.0);
            (environment::of_process(), Variables::new())
        });
        let mut given = Given::new(&environment, &dotenv);
        let (config, warnings) = Self::read(&mut given);
        wrong.extend(given.wrong());
        Examined { config, warnings, wrong }
    }

    fn read(given: &mut Given) -> (Self, Warnings) {
        let config = Self {
            http: http(given),
            data_dir: data_dir(given),
            pipelines: pipelines(given),
            target: target(given),
            log: log(given),
            audit_file_bytes: given.bytes("AUDIT_FILE_BYTES", 256 * MIB, (64 * KIB, BYTES_MAX)),
            webhooks: webhooks(given),
            limits: limits(given),
            ranks: ranks(given),
        };
        // Used before all others are read, but a wrong one is told here with the rest.
        given.read("LOG_FORMAT", LogFormat::Text, "text or json", log_format);
        if config.limits.body_bytes < config.limits.event_bytes {
            given.refuse("BODY_BYTES_MAX is less than EVENT_BYTES_MAX: an event has to fit a body".to_owned());
        }
        if config.log.bytes_max < 2 * config.log.segment_bytes {
            given.refuse("LOG_BYTES_MAX is less than two segments of LOG_SEGMENT_BYTES".to_owned());
        }
        if !config.http.addr.is_loopback() && config.http.tokens.is_empty() {
            let addr = config.http.addr;
            let why = "everyone who reaches that address could post and read: set API_TOKENS or API_TOKENS_FILE, or keep HTTP_ADDR=127.0.0.1";
            given.refuse(format!("HTTP_ADDR={addr} without API_TOKENS: {why}"));
        }
        let warnings = warnings(given, &config.http);
        (config, warnings)
    }
}

fn ranks(given: &mut Given) -> usize {
    let ranks = 1..=KEY_GROUPS as u64 + 1;
    given.read("RANKS", 4, &format!("{} to {}", ranks.start(), ranks.end()), whole(ranks)) as usize
}

fn data_dir(given: &Given) -> PathBuf {
    PathBuf::from(given.text("DATA_DIR").unwrap_or("./data"))
}

fn pipelines(given: &mut Given) -> Vec<PathBuf> {
    let patterns = given.text("PIPELINES").unwrap_or("pipelines/civic_safety/pipeline.yaml");
    let mut files = BTreeSet::new();
    for pattern in listed(patterns) {
        match glob::glob(pattern) {
            Ok(found) => {
                let found: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file()).collect();
                if found.is_empty() {
                    given.refuse(format!(
                        "PIPELINES: {pattern:?} names no file; files or globs are allowed, parted by commas, relative to the folder in which Caudal is started"
                    ));
                } else if found.iter().all(|path| files.contains(path)) {
                    given.refuse(format!(
                        "PIPELINES: {pattern:?} names only files that stand in the list before it: take it out"
                    ));
                }
                files.extend(found);
            }
            Err(error) => given.refuse(format!("PIPELINES: {pattern:?} is no glob: {error}")),
        }
    }
    files.into_iter().collect()
}

fn target(given: &mut Given) -> Target {
    let port = given.read("DB_PORT", 5432, "1 to 65535", |text| text.parse().ok().filter(|&port: &u16| port != 0));
    let ssl = given.read("DB_SSLMODE", SslMode::Prefer, "disable, prefer, require or verify-full", ssl_mode);
    let text = |name: &str, default: &str| given.text(name).unwrap_or(default).to_owned();
    match given.text("DB_HOST") {
        None => Target::Sqlite(data_dir(given).join("caudal.sqlite")),
        Some(host) => Target::Postgres(PostgresConfig {
            user: text("DB_USER", "caudal"),
            password: text("DB_PASSWORD", ""),
            host: host.to_owned(),
            port,
            name: text("DB_NAME", "caudal"),
            ssl,
        }),
    }
}

fn log(given: &mut Given) -> LogConfig {
    LogConfig {
        bytes_max: given.bytes("LOG_BYTES_MAX", 16 * GIB, (2 * MIB, BYTES_MAX)),
        retention: given.span("LOG_RETENTION", None),
        segment_bytes: given.bytes("LOG_SEGMENT_BYTES", 64 * MIB, (MIB, 4 * GIB)),
        low_water_bytes: given.bytes("DISK_FREE_BYTES_MIN", 256 * MIB, (0, BYTES_MAX)),
    }
}

fn webhooks(given: &mut Given) -> Webhooks {
    let private = given.read("WEBHOOKS_PRIVATE", false, "deny or allow", |text| match text {
        "deny" => Some(false),
        "allow" => Some(true),
        _ => None,
    });
    let timeout = given.span("WEBHOOK_TIMEOUT", Duration::from_secs(10));
    Webhooks { private, timeout, named: Named(given.all()) }
}

fn limits(given: &mut Given) -> Limits {
    Limits {
        event_bytes: given.bytes("EVENT_BYTES_MAX", 256 * KIB, (KIB, 64 * MIB)) as usize,
        body_bytes: given.bytes("BODY_BYTES_MAX", 16 * MIB, (KIB, BODY_BYTES_LIMIT)) as usize,
        ingest_queue: given.count("INGEST_QUEUE_MAX", 4_096, (1, 1_000_000)) as usize,
        ingest_queue_bytes: given.bytes("INGEST_QUEUE_BYTES_MAX", 64 * MIB, (KIB, 64 * GIB)) as usize,
        idempotency: idempotency(given),
        ids: given.count("IDS_MAX", 50_000_000, (1, IDS_LIMIT)),
        ids_in_memory: ids_in_memory(given),
    }
}

fn idempotency(given: &mut Given) -> keys::Limits {
    let usual = keys::Limits::default();
    keys::Limits {
        keys: given.count("IDEMPOTENCY_KEYS_MAX", usual.keys as u64, (1, IDEMPOTENCY_KEYS_LIMIT)) as usize,
        expiry: given.span("IDEMPOTENCY_EXPIRY", usual.expiry),
    }
}

fn ids_in_memory(given: &mut Given) -> u64 {
    given.count("IDS_IN_MEMORY_MAX", 10_000_000, (1, IDS_LIMIT))
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn ssl_mode(text: &str) -> Option<SslMode> {
    Some(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-full" => SslMode::VerifyFull,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn config(pairs: &[(&str, &str)]) -> Result<(Config, Warnings), String> {
        Config::from_variables(&variables(pairs), &Variables::new()).map_err(|e| e.0)
    }

    #[test]
    fn env_example_lists_every_variable_with_its_default() {
        let example: Vec<(String, String)> =
            dotenvy::from_path_iter(".env.example").unwrap().collect::<Result<_, _>>().unwrap();
        let names: Vec<&str> = example.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, VARIABLES);
        let (from_example, warnings) =
            Config::from_variables(&Variables::new(), &example.iter().cloned().collect()).unwrap();
        assert_eq!(format!("{from_example:?}"), format!("{:?}", config(&[]).unwrap().0));
        assert_eq!(warnings.told(&[]), [""; 0]);
    }

    #[test]
    fn wrong_values_are_told_all_at_once() {
        let error = config(&[
            ("HTTP_PORT", "70000"),
            ("HTTP_ADDR", "nowhere"),
            ("LOG_BYTES_MAX", "16 GB"),
            ("LOG_RETENTION", "0s"),
            ("IDS_MAX", "-1"),
            ("RANKS", "0"),
            ("DB_SSLMODE", "maybe"),
            ("EVENT_BYTES_MAX", "0"),
            ("PIPELINES", "nowhere/*.yaml"),
        ])
        .unwrap_err();
        let named: Vec<&str> = error.lines().map(|l| &l[..l.find(['=', ':']).unwrap()]).collect();
        assert_eq!(
            named,
            [
                "HTTP_ADDR",
                "HTTP_PORT",
                "PIPELINES",
                "DB_SSLMODE",
                "LOG_BYTES_MAX",
                "LOG_RETENTION",
                "EVENT_BYTES_MAX",
                "IDS_MAX",
                "RANKS"
            ]
        );
    }

    #[test]
    fn each_wrong_value_is_refused() {
        for (name, value, part) in [
            ("RANKS", "1000000000", "1 to 129"),
            ("HTTP_ADDR", "0.0.0.0", "without API_TOKENS"),
            ("HTTP_ADDR", "::", "without API_TOKENS"),
            ("BODY_BYTES_MAX", "1KiB", "BODY_BYTES_MAX is less than EVENT_BYTES_MAX"),
            ("LOG_BYTES_MAX", "64MiB", "two segments"),
            ("DB_PORT", "0", "1 to 65535"),
            ("LOG_FORMAT", "xml", "text or json"),
            ("HTTP_BODY_TIMEOUT", "10", "a whole number and one of ms"),
            ("PIPELINES", "pipelines/***", "is no glob"),
            ("API_TOKENS", "viwer:x", "viewer, sender or operator"),
            ("API_TOKENS_FILE", "nowhere/tokens", "cannot be read"),
            ("API_TOKENS_FILE", "/dev/null", "holds no token"),
            ("API_TOKENS_FILE", "/dev/zero", "more than"),
            ("TLS_CERT", "cert.pem", "TLS_CERT without TLS_KEY"),
            ("TLS_KEY", "key.pem", "TLS_KEY without TLS_CERT"),
            ("HTTP_HOSTS", "caudal.example:5000", "without a port"),
            ("HTTP_HOSTS", "https://caudal.example", "is no name"),
            ("HTTP_RATE_MAX", "0", "from 1 to 1000000"),
            ("HTTP_WRITE_TIMEOUT", "0s", "more than 0"),
            ("PIPELINES", "pipelines/nowhere.yaml", "names no file;"),
            (
                "PIPELINES",
                "pipelines/*/pipeline.yaml,pipelines/login_guard/pipeline.yaml",
                "\"pipelines/login_guard/pipeline.yaml\" names only files that stand in the list before it",
            ),
        ] {
            let error = config(&[(name, value)]).unwrap_err();
            assert!(error.contains(part), "{name}={value}: {error}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let given = [("API_TOKENS", "hush hush,whisper"), ("DB_PASSWORD", "hush"), ("DB_HOST", "db"), ("DB_PORT", "x")];
        let error = config(&given).unwrap_err();
        assert!(error.contains("API_TOKENS") && error.contains("DB_PORT") && !error.contains("hush"), "{error}");
        let (config, _) =
            config(&[("API_TOKENS", "hush,whisper"), ("DB_PASSWORD", "hush"), ("DB_HOST", "db")]).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("2 tokens") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn tokens_come_from_the_list_and_from_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# who looks\nviewer:eyes\n\n  sender:hands, plain \n").unwrap();
        let path = file.path().to_str().unwrap();
        let (config, _) = config(&[("API_TOKENS", "first"), ("API_TOKENS_FILE", path)]).unwrap();
        let read: Vec<(&str, Roles)> = config.http.tokens.iter().collect();
        let [viewer, sender, operator] = [Role::Viewer, Role::Sender, Role::Operator].map(Roles::of);
        assert_eq!(read, [("first", operator), ("eyes", viewer), ("hands", sender), ("plain", operator)]);
    }

    #[test]
    fn the_environment_beats_the_file_and_an_empty_value_is_none() {
        let environment = variables(&[("HTTP_PORT", "5001"), ("DB_HOST", "")]);
        let dotenv =
            variables(&[("HTTP_PORT", "5002"), ("DB_HOST", "db"), ("HTTP_ADDR", "0.0.0.0"), ("API_TOKENS", "a")]);
        let (config, _) = Config::from_variables(&environment, &dotenv).unwrap();
        assert_eq!(config.http.port, 5001);
        assert_eq!(config.http.addr.to_string(), "0.0.0.0");
        assert!(matches!(config.target, Target::Sqlite(path) if path == Path::new("./data/caudal.sqlite")));
    }
}
