//! The only reader of the environment: `.env` by dotenvy, beaten by the real environment. Unknown keys get a warning with the nearest known one;
//! secrets are masked. `.env.example` lists every variable.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::keygroup::KEY_GROUPS;
use crate::pipeline::duration;
use crate::store::target::{PostgresConfig, SslMode, Target};

/// Every variable there is, in the order of `.env.example`.
pub const VARIABLES: [&str; 28] = [
    "PIPELINES",
    "DATA_DIR",
    "RANKS",
    "HTTP_ADDR",
    "HTTP_PORT",
    "API_TOKENS",
    "HTTP_CONNECTIONS_MAX",
    "HTTP_HEADER_TIMEOUT",
    "HTTP_BODY_TIMEOUT",
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
    "IDS_MAX",
    "IDS_IN_MEMORY_MAX",
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Files that a job never has.
const BYTES_MAX: u64 = 1 << 50;
/// The slab format numbers a slab's bytes in 32 bits; a body this large would also fill every queue.
const BODY_BYTES_LIMIT: u64 = GIB;
/// More ids than a job has disk for.
const IDS_LIMIT: u64 = 100_000_000_000;
/// A token is sent in a header.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Of one variable in `.env`: each may hold others many times, and so grow without end.
const VALUE_BYTES_MAX: usize = 16 << 10;

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
}

#[derive(Clone, Debug)]
pub struct Http {
    pub addr: IpAddr,
    pub port: u16,
    pub tokens: Tokens,
    /// Requests served at once, headers and bodies: a client that takes longer is cut off.
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
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

/// `API_TOKENS`, comma-separated; none: no token is asked for (loopback only). Never shown.
#[derive(Clone, Default)]
pub struct Tokens(pub Vec<String>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
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
    /// Ids remembered by all workers, beyond which ingest answers 503.
    pub ids: u64,
    /// Ids that each worker keeps in memory; the others lie in its scratch files.
    pub ids_in_memory: u64,
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
        let mut given = Given { environment: &environment, dotenv: &dotenv, wrong: Vec::new() };
        let ids = ids_in_memory(&mut given);
        if given.wrong.is_empty() { Ok(ids) } else { Err(ConfigError(given.wrong.join("\n"))) }
    }

    /// The settings that these variables mean; the environment beats `.env`. An empty value is none.
    ///
    /// # Errors
    /// Every wrong value at once, each with what is allowed.
    pub fn from_variables(environment: &Variables, dotenv: &Variables) -> Result<(Self, Warnings), ConfigError> {
        let mut given = Given { environment, dotenv, wrong: Vec::new() };
        let config = Self {
            http: http(&mut given),
            data_dir: PathBuf::from(given.text("DATA_DIR").unwrap_or("./data")),
            pipelines: pipelines(&mut given),
            target: target(&mut given),
            log: log(&mut given),
            audit_file_bytes: given.bytes("AUDIT_FILE_BYTES", 256 * MIB, (64 * KIB, BYTES_MAX)),
            webhooks: webhooks(&mut given),
            limits: limits(&mut given),
        };
        // Only run_mpi.sh uses it, but a wrong one is told here with the rest.
        let ranks = 1..=KEY_GROUPS as u64 + 1;
        given.read("RANKS", 4, &format!("{} to {}", ranks.start(), ranks.end()), whole(ranks));
        if config.limits.body_bytes < config.limits.event_bytes {
            given.wrong.push("BODY_BYTES_MAX is less than EVENT_BYTES_MAX: an event has to fit a body".to_owned());
        }
        if config.log.bytes_max < 2 * config.log.segment_bytes {
            given.wrong.push("LOG_BYTES_MAX is less than two segments of LOG_SEGMENT_BYTES".to_owned());
        }
        if !config.http.addr.is_loopback() && config.http.tokens.0.is_empty() {
            let addr = config.http.addr;
            let why =
                "everyone who reaches that address could post and read: set API_TOKENS, or keep HTTP_ADDR=127.0.0.1";
            given.wrong.push(format!("HTTP_ADDR={addr} without API_TOKENS: {why}"));
        }
        if given.wrong.is_empty() { Ok((config, warnings(&given))) } else { Err(ConfigError(given.wrong.join("\n"))) }
    }
}

/// Those of the environment, these instead of the environment's, and those of `.env`.
fn variables(given: &[(&str, String)]) -> Result<(Variables, Variables), ConfigError> {
    let dotenv = read_dotenv(Path::new(".env"))?;
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        // What is no text cannot be right either; the wrong value is then named like any other.
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let mut environment: Variables = std::env::vars_os().filter_map(text).collect();
    environment.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Ok((environment, dotenv))
}

fn webhooks(given: &mut Given) -> Webhooks {
    let private = given.read("WEBHOOKS_PRIVATE", false, "deny or allow", |text| match text {
        "deny" => Some(false),
        "allow" => Some(true),
        _ => None,
    });
    let timeout = given.span("WEBHOOK_TIMEOUT", Duration::from_secs(10));
    let mut named = given.dotenv.clone();
    named.extend(given.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    Webhooks { private, timeout, named: Named(named) }
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
                    let (path, at) = (path.display(), at(&name));
                    let why = format!("a value has more than {VALUE_BYTES_MAX} bytes, with what it names put in{at}");
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

/// The variables as given, and what is wrong with them so far.
struct Given<'a> {
    environment: &'a Variables,
    dotenv: &'a Variables,
    wrong: Vec<String>,
}

impl<'a> Given<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        assert!(VARIABLES.contains(&name), "{name} is not listed");
        // An empty value in the environment hides the one in .env: that is how a person switches it off for one run.
        let value = self.environment.get(name).or_else(|| self.dotenv.get(name))?;
        Some(value.trim()).filter(|v| !v.is_empty())
    }

    /// The value, or the default where none is given or (having noted that) a wrong one.
    fn read<T>(&mut self, name: &str, default: T, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(text).unwrap_or_else(|| {
            self.wrong.push(format!("{name}={text:?}: allowed is {allowed}"));
            default
        })
    }

    fn bytes(&mut self, name: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        let allowed = format!("{} to {}, in bytes or with KiB, MiB, GiB", show_bytes(least), show_bytes(most));
        self.read(name, default, &allowed, |text| parse_bytes(text).filter(|b| (least..=most).contains(b)))
    }

    fn count(&mut self, name: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        self.read(name, default, &format!("a whole number from {least} to {most}"), whole(least..=most))
    }

    fn span(&mut self, name: &str, default: Duration) -> Duration {
        self.read(name, default, &format!("{}, and more than 0", duration::ALLOWED), span)
    }
}

fn http(given: &mut Given) -> Http {
    let addr = |text: &str| if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() };
    Http {
        addr: given.read(
            "HTTP_ADDR",
            Ipv4Addr::LOCALHOST.into(),
            "an IP address, such as 127.0.0.1, 0.0.0.0 or ::1",
            addr,
        ),
        port: given.read("HTTP_PORT", 5000, "0 (any free port) to 65535", |text| text.parse().ok()),
        tokens: tokens(given),
        connections_max: given.count("HTTP_CONNECTIONS_MAX", 1_024, (1, 1_000_000)) as usize,
        header_timeout: given.span("HTTP_HEADER_TIMEOUT", Duration::from_secs(10)),
        body_timeout: given.span("HTTP_BODY_TIMEOUT", Duration::from_mins(1)),
    }
}

fn tokens(given: &mut Given) -> Tokens {
    let tokens: Vec<String> = listed(given.text("API_TOKENS").unwrap_or_default()).map(str::to_owned).collect();
    let fit = |token: &String| token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|b| b.is_ascii_graphic());
    if !tokens.iter().all(fit) {
        // The value is secret even where it is wrong.
        given.wrong.push(
            "API_TOKENS: allowed are visible ASCII characters without blanks, tokens parted by commas".to_owned(),
        );
    }
    Tokens(tokens)
}

fn pipelines(given: &mut Given) -> Vec<PathBuf> {
    let patterns = given.text("PIPELINES").unwrap_or("pipelines/civic_safety/pipeline.yaml");
    let mut files = std::collections::BTreeSet::new();
    for pattern in listed(patterns) {
        match glob::glob(pattern) {
            Ok(found) => {
                let before = files.len();
                files.extend(found.filter_map(Result::ok).filter(|path| path.is_file()));
                if files.len() == before {
                    given.wrong.push(format!(
                        "PIPELINES: {pattern:?} names no further file; files or globs are allowed, parted by commas"
                    ));
                }
            }
            Err(error) => given.wrong.push(format!("PIPELINES: {pattern:?} is no glob: {error}")),
        }
    }
    files.into_iter().collect()
}

fn target(given: &mut Given) -> Target {
    let port = given.read("DB_PORT", 5432, "1 to 65535", |text| text.parse().ok().filter(|&port: &u16| port != 0));
    let ssl = given.read("DB_SSLMODE", SslMode::Prefer, "disable, prefer, require or verify-full", ssl_mode);
    let text = |name: &str, default: &str| given.text(name).unwrap_or(default).to_owned();
    match given.text("DB_HOST") {
        None => Target::Sqlite(Path::new(given.text("DATA_DIR").unwrap_or("./data")).join("caudal.sqlite")),
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
    let retention = |text: &str| span(text).map(Some);
    LogConfig {
        bytes_max: given.bytes("LOG_BYTES_MAX", 16 * GIB, (2 * MIB, BYTES_MAX)),
        retention: given.read("LOG_RETENTION", None, &format!("{}, and more than 0", duration::ALLOWED), retention),
        segment_bytes: given.bytes("LOG_SEGMENT_BYTES", 64 * MIB, (MIB, 4 * GIB)),
        low_water_bytes: given.bytes("DISK_FREE_BYTES_MIN", 256 * MIB, (0, BYTES_MAX)),
    }
}

fn limits(given: &mut Given) -> Limits {
    Limits {
        event_bytes: given.bytes("EVENT_BYTES_MAX", 256 * KIB, (KIB, 64 * MIB)) as usize,
        body_bytes: given.bytes("BODY_BYTES_MAX", 16 * MIB, (KIB, BODY_BYTES_LIMIT)) as usize,
        ingest_queue: given.count("INGEST_QUEUE_MAX", 4_096, (1, 1_000_000)) as usize,
        ingest_queue_bytes: given.bytes("INGEST_QUEUE_BYTES_MAX", 64 * MIB, (KIB, 64 * GIB)) as usize,
        ids: given.count("IDS_MAX", 50_000_000, (1, IDS_LIMIT)),
        ids_in_memory: ids_in_memory(given),
    }
}

fn ids_in_memory(given: &mut Given) -> u64 {
    given.count("IDS_IN_MEMORY_MAX", 10_000_000, (1, IDS_LIMIT))
}

/// What is not wrong, and yet may not be what was meant.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    /// Names in `.env` that are no setting.
    unknown: Vec<String>,
    others: Vec<String>,
}

impl Warnings {
    /// As texts; `used` are names that pipeline files use.
    #[must_use]
    pub fn told(&self, used: &[&str]) -> Vec<String> {
        let unknown = self.unknown.iter().filter(|name| !used.contains(&name.as_str()));
        let unknown = unknown.map(|name| format!(".env: {name:?} is no setting of Caudal's{}", nearest(name)));
        unknown.chain(self.others.iter().cloned()).collect()
    }
}

/// For people: what `.env` says that nothing reads.
fn warnings(given: &Given) -> Warnings {
    let unknown = given.dotenv.keys().filter(|name| !VARIABLES.contains(&name.as_str())).cloned().collect();
    let mut others = Vec::new();
    if given.text("DB_PASSWORD").is_some() && given.text("DB_HOST").is_none() {
        others.push("DB_PASSWORD is set but DB_HOST is not: results go to the embedded SQLite store".to_owned());
    }
    Warnings { unknown, others }
}

fn nearest(name: &str) -> String {
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.6;
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_uppercase(), known);
    let best = VARIABLES.iter().map(|known| (likeness(known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|&(likeness, _)| likeness >= LIKENESS_MIN)
        .map(|(_, known)| format!("; did you mean {known}?"))
        .unwrap_or_default()
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn whole(range: std::ops::RangeInclusive<u64>) -> impl Fn(&str) -> Option<u64> {
    move |text| text.parse().ok().filter(|n| range.contains(n))
}

fn span(text: &str) -> Option<Duration> {
    let micros = u64::try_from(duration::parse(text)?.0).ok()?;
    Some(Duration::from_micros(micros)).filter(|d| !d.is_zero())
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim() {
        "" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_bytes(bytes: u64) -> String {
    match [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
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
            ("HTTP_BODY_TIMEOUT", "10", "a whole number and one of ms"),
            ("PIPELINES", "pipelines/***", "is no glob"),
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
    fn the_environment_beats_the_file_and_an_empty_value_is_none() {
        let environment = variables(&[("HTTP_PORT", "5001"), ("DB_HOST", "")]);
        let dotenv =
            variables(&[("HTTP_PORT", "5002"), ("DB_HOST", "db"), ("HTTP_ADDR", "0.0.0.0"), ("API_TOKENS", "a")]);
        let (config, _) = Config::from_variables(&environment, &dotenv).unwrap();
        assert_eq!(config.http.port, 5001);
        assert_eq!(config.http.addr.to_string(), "0.0.0.0");
        assert!(matches!(config.target, Target::Sqlite(path) if path == Path::new("./data/caudal.sqlite")));
    }

    #[test]
    fn what_nothing_reads_is_warned_about() {
        let dotenv = variables(&[("HTPP_PORT", "1"), ("SOMETHING_ELSE_ENTIRELY", "1"), ("DB_PASSWORD", "x")]);
        let (_, warnings) = Config::from_variables(&Variables::new(), &dotenv).unwrap();
        let warnings = warnings.told(&[]);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("did you mean HTTP_PORT?"), "{warnings:?}");
        assert!(!warnings[1].contains("did you mean"), "{warnings:?}");
        assert!(warnings[2].contains("DB_HOST"), "{warnings:?}");
    }

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
