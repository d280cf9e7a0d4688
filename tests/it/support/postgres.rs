//! A real PostgreSQL of a test's own: a cluster in a temporary directory, with a private port and a Unix socket, gone when it is dropped.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use caudal::store::target::{PostgresConfig, SslMode};
use postgres::{Client, NoTls};
use rustix::process::geteuid;
use tempfile::TempDir;

use super::port::free_port;

const USER: &str = "caudal";
const PASSWORD: &str = "it's a \"secret\" \\ %";

/// How a server is stopped: `pg_ctl stop -m`.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Transactions are rolled back, connections closed.
    Fast,
    /// As if it were killed: the next start recovers from its log.
    Immediate,
}

pub struct Cluster {
    directory: TempDir,
    bin: PathBuf,
    port: u16,
    databases: Cell<u32>,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Makes a cluster, adds lines to its postgresql.conf, and starts it.
    pub fn start_with(settings: &str) -> Self {
        let cluster = Self { directory: directory(), bin: bin(), port: free_port(), databases: Cell::new(0) };
        let password = cluster.path("password");
        fs::write(&password, PASSWORD).expect("the temporary directory takes a file");
        let data = cluster.path("data");
        cluster.run(
            "initdb",
            &["-D", &data, "-U", USER, "-A", "scram-sha-256", "--pwfile", &password, "-E", "UTF8", "--no-sync"],
        );
        // Processes are killed here, never the machine: what was written is there after a kill without any fsync.
        let own = format!(
            "fsync = off\nport = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n{settings}\n",
            cluster.port,
            cluster.directory.path().display()
        );
        fs::write(cluster.directory.path().join("data/postgresql.auto.conf"), own)
            .expect("the cluster takes its settings");
        cluster.start_again();
        cluster
    }

    /// Starts it after `stop`; returns when it answers.
    pub fn start_again(&self) {
        self.run("pg_ctl", &["start", "-w", "-D", &self.path("data"), "-l", &self.path("log")]);
    }

    /// Returns when it has ended.
    pub fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        self.run("pg_ctl", &["stop", "-w", "-m", mode, "-D", &self.path("data")]);
    }

    /// A new database, empty; how to reach it over TCP, without TLS.
    pub fn create_database(&self) -> PostgresConfig {
        self.databases.set(self.databases.get() + 1);
        let name = format!("caudal_{}", self.databases.get());
        self.client("postgres").batch_execute(&format!("CREATE DATABASE {name}")).expect("a database is made");
        self.config(&name)
    }

    /// How to reach a database over TCP, without TLS.
    pub fn config(&self, name: &str) -> PostgresConfig {
        PostgresConfig {
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            name: name.to_owned(),
            ssl: SslMode::Disable,
        }
    }

    /// The directory of its Unix socket, which may stand for a host.
    pub fn socket(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// A connection of the test's own.
    pub fn client(&self, name: &str) -> Client {
        let mut config = postgres::Config::new();
        config.user(USER).password(PASSWORD).host("127.0.0.1").port(self.port).dbname(name);
        config.connect(NoTls).expect("the test's server answers")
    }

    /// What its log says.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A self-signed certificate for `localhost` in its data directory, offered from the next start on. Gives its path.
    pub fn certificate(&self) -> PathBuf {
        let (key, certificate) = (self.path("data/server.key"), self.path("data/server.crt"));
        let made = as_server("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-keyout", &key, "-out", &certificate])
            .stdin(Stdio::null())
            .output()
            .expect("openssl is there: apt-get install openssl");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let settings = self.path("data/postgresql.auto.conf");
        let text = fs::read_to_string(&settings).expect("the cluster has its settings");
        fs::write(&settings, format!("{text}ssl = on\n")).expect("the cluster takes its settings");
        PathBuf::from(certificate)
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let result = self.try_run(program, arguments);
        assert!(result.is_ok(), "{program} failed:\n{}\n{}", result.unwrap_err(), self.log());
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        // Into a file, not a pipe: the server that pg_ctl starts would keep a pipe open.
        let output = self.directory.path().join("output");
        let file = fs::File::create(&output).map_err(|e| e.to_string())?;
        let errors = file.try_clone().map_err(|e| e.to_string())?;
        let mut command = as_server(self.bin.join(program));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null()).stdout(file).stderr(errors);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(fs::read_to_string(&output).unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.try_run("pg_ctl", &["stop", "-w", "-m", "immediate", "-D", &self.path("data")]);
    }
}

/// PostgreSQL refuses to run as root: then it runs as its package's user.
fn as_server(program: impl AsRef<Path>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program.as_ref());
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    command
}

fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("caudal-pg").tempdir().expect("there is a temporary directory");
    if geteuid().is_root() {
        let given = Command::new("chown").arg("postgres").arg(directory.path()).status().expect("chown is there");
        assert!(given.success(), "there is no user postgres: apt-get install postgresql");
    }
    directory
}

/// The newest version that is installed; Debian keeps the servers' programs out of PATH.
fn bin() -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter(|bin| bin.join("initdb").exists()).max_by_key(version);
    newest.unwrap_or_else(|| panic!("these tests need a PostgreSQL server: apt-get install postgresql"))
}
