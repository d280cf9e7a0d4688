//! TLS: real certificates made by openssl, curl and the command line as clients.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use caudal::config::TlsFiles;
use caudal::web::tls::Tls;
use serde_json::Value;
use tempfile::TempDir;

use crate::http_unit::{Answer, Server, Setup};
use crate::support::job::{Job, Setup as JobSetup, caudal, until};

/// Runs openssl here.
fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split_whitespace()).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| panic!("openssl: {error}; apt-get install openssl"));
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, `NAME-ca.pem`, and a certificate of it, `NAME.pem` with `NAME.key`, for localhost and caudal.example.
fn certificate(dir: &Path, name: &str) -> TlsFiles {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256";
    fs::write(dir.join("leaf.cnf"), "subjectAltName=DNS:localhost,DNS:caudal.example\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    openssl(
        dir,
        &format!("req -x509 {key} -days 2 -subj /CN=authority-{name} -keyout {name}-ca.key -out {name}-ca.pem"),
    );
    openssl(dir, &format!("req -new {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
    let signed = format!("-CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -extfile leaf.cnf");
    openssl(dir, &format!("x509 -req -in {name}.csr {signed} -sha256 -days 2 -out {name}.pem"));
    TlsFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
}

fn authority(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}-ca.pem"))
}

/// curl with this authority alone; what it prints is the answer with its head.
fn curl(authority: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "20", "--noproxy", "*", "--cacert"]).arg(authority).args(args);
    command.output().unwrap_or_else(|error| panic!("curl: {error}; apt-get install curl"))
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn serve(files: TlsFiles, setup: Setup) -> Server {
    Server::start(Setup { tls: Some(files), ..setup })
}

#[test]
fn curl_speaks_https_and_plain_http_is_told_so() {
    let dir = TempDir::new().unwrap();
    let files = certificate(dir.path(), "one");
    let ca = authority(dir.path(), "one");
    let server = serve(files, Setup { tokens: vec!["hush"], ..Setup::default() });
    let port = server.address.port();
    let at = |path: &str| format!("https://localhost:{port}{path}");
    for version in ["1.2", "1.3"] {
        let (low, high) = (format!("--tlsv{version}"), version);
        let answer = out(&curl(&ca, &[&low, "--tls-max", high, &at("/healthz")]));
        assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer}");
    }
    let old = curl(&ca, &["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0", &at("/healthz")]);
    assert!(!old.status.success(), "TLS 1.1 is out of use: {}", out(&old));
    let posted =
        curl(&ca, &["-u", "anyone:hush", "-H", "Content-Type: application/json", "-d", r#"{"a":1}"#, &at("/events")]);
    assert!(out(&posted).starts_with("HTTP/1.1 202"), "{}", out(&posted));
    // Several on one connection, and one of a size that takes many records.
    let large = dir.path().join("large.ndjson");
    fs::write(&large, "{\"a\":1}\n".repeat(100_000)).unwrap();
    let data = format!("@{}", large.display());
    let form = "Content-Type: application/x-ndjson";
    let posted = curl(&ca, &["-u", "x:hush", "-H", form, "--data-binary", &data, &at("/events"), &at("/events")]);
    assert_eq!(out(&posted).matches("HTTP/1.1 202").count(), 2, "{}", out(&posted));
    let streamed = curl(&ca, &["-u", "x:hush", &at("/log")]);
    assert_eq!(out(&streamed).matches("\"a\":1").count(), 200_001);

    // Nobody is trusted who is not known, and no name that the certificate does not have.
    let other = TempDir::new().unwrap();
    certificate(other.path(), "other");
    assert_eq!(curl(&authority(other.path(), "other"), &[&at("/healthz")]).status.code(), Some(60));
    assert_eq!(curl(&ca, &[&format!("https://127.0.0.1:{port}/healthz")]).status.code(), Some(60));

    let plain = server.get("/healthz");
    plain.assert_told(400, "https://");
    // Browsers remember the word for a name and all its ports, so it is not given for localhost.
    let here = out(&curl(&ca, &[&at("/")]));
    assert!(!here.to_lowercase().contains("strict-transport-security"), "{here}");
    let resolve = format!("caudal.example:{port}:127.0.0.1");
    let named = out(&curl(&ca, &["--resolve", &resolve, &format!("https://caudal.example:{port}/")]));
    assert!(named.to_lowercase().contains("strict-transport-security: max-age=63072000"), "{named}");
}

impl Answer {
    /// As `assert_problem`, of an answer that says itself when it may be tried again.
    fn assert_told(&self, status: u16, says: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.json()["detail"].as_str().unwrap().contains(says), "{self:?}");
    }
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let files = certificate(dir.path(), "one");
    let setup = Setup { header_timeout: Duration::from_millis(300), connections_max: 2, ..Setup::default() };
    let server = serve(files, setup);
    let begin: [&[u8]; 4] = [
        b"",
        // A record that promises more than comes, one that is nonsense, and one of which every byte comes alone.
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x16\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16",
    ];
    for bytes in begin {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // The end comes by a close or a reset, within the patience of the socket.
        let ended = stream.read_to_end(&mut answer);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{bytes:?}: still open");
        assert!(!answer.starts_with(b"HTTP"), "{bytes:?}: {answer:?}");
    }
    let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    let ca = authority(dir.path(), "one");
    let url = format!("https://localhost:{}/healthz", server.address.port());
    until("their places are free", || out(&curl(&ca, &[&url])).starts_with("HTTP/1.1 200"));
    let mut end = Vec::new();
    for stream in &mut held {
        let _ = stream.read_to_end(&mut end);
    }
}

#[test]
fn new_files_are_taken_up_and_bad_ones_are_not() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (certificate(dir.path(), "one"), certificate(dir.path(), "two"));
    let used = TlsFiles { cert: dir.path().join("used.pem"), key: dir.path().join("used.key") };
    let put = |files: &TlsFiles| {
        fs::copy(&files.key, &used.key).unwrap();
        fs::copy(&files.cert, &used.cert).unwrap();
    };
    put(&one);
    let server = serve(used.clone(), Setup::default());
    let url = format!("https://localhost:{}/healthz", server.address.port());
    let trusted_by = |name: &str| curl(&authority(dir.path(), name), &[&url]).status.success();
    assert!(trusted_by("one") && !trusted_by("two"));
    // Half of a change is none.
    fs::copy(&two.cert, &used.cert).unwrap();
    put(&two);
    until("the new certificate is shown", || trusted_by("two"));
    assert!(!trusted_by("one"));
    put(&one);
    until("the first one is shown again", || trusted_by("one"));
}

/// What a look at the files comes to; each fault is told once.
#[test]
fn files_that_are_bad_or_away_are_told_once() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (certificate(dir.path(), "one"), certificate(dir.path(), "two"));
    let used = TlsFiles { cert: dir.path().join("used.pem"), key: dir.path().join("used.key") };
    let put = |files: &TlsFiles| {
        fs::copy(&files.key, &used.key).unwrap();
        fs::copy(&files.cert, &used.cert).unwrap();
    };
    put(&one);
    let tls = Tls::load(&used).unwrap();
    let fault = |says: &str| {
        let why = tls.look().expect_err(says);
        assert!(why.contains(says), "{why}");
        assert_eq!(tls.look(), Ok(false), "{says}: it is told once");
    };
    assert_eq!(tls.look(), Ok(false));
    fs::copy(&two.cert, &used.cert).unwrap();
    fault("cannot be used together");
    fs::write(&used.cert, "no certificate").unwrap();
    fault("holds no certificate");
    put(&two);
    assert_eq!(tls.look(), Ok(true));
    for _ in 0..2 {
        fs::remove_file(&used.key).unwrap();
        // That may be somebody who replaces it.
        let looks: Vec<_> = (0..4).map(|_| tls.look()).collect();
        assert!(looks.iter().all(|look| *look == Ok(false)), "{looks:?}");
        fault("cannot be read");
        put(&two);
        assert_eq!(tls.look(), Ok(false));
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (certificate(dir.path(), "one"), certificate(dir.path(), "two"));
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    openssl(dir.path(), "ec -in one.key -aes128 -passout pass:hush -out locked.key");
    let cases = [
        (dir.path().join("none.pem"), one.key.clone(), "TLS_CERT="),
        (one.cert.clone(), dir.path().join("none.key"), "TLS_KEY="),
        (file("empty.pem", ""), one.key.clone(), "holds no certificate"),
        (one.key.clone(), one.key.clone(), "holds no certificate"),
        (one.cert.clone(), one.cert.clone(), "holds no private key"),
        (one.cert.clone(), dir.path().join("locked.key"), "holds no private key"),
        (file("cut.pem", "-----BEGIN CERTIFICATE-----\nMII"), one.key.clone(), "is no PEM file"),
        (
            file("odd.pem", "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"),
            one.key.clone(),
            "cannot be used",
        ),
        (one.cert.clone(), two.key.clone(), "cannot be used together"),
        (PathBuf::from("/dev/zero"), one.key.clone(), "more than"),
    ];
    for (cert, key, says) in cases {
        let why = Tls::load(&TlsFiles { cert: cert.clone(), key: key.clone() }).err().unwrap_or_default();
        assert!(why.contains(says), "{cert:?} {key:?}: {why:?} does not say {says:?}");
    }
    assert!(Tls::load(&one).is_ok());
}

/// The job of the settings is known by its certificate, under whatever name or address it is asked; another one's is told apart from a job that is silent.
#[test]
fn without_a_url_the_job_is_known_by_the_certificate_of_the_settings() {
    let dir = TempDir::new().unwrap();
    let (files, other) = (certificate(dir.path(), "one"), certificate(dir.path(), "two"));
    let ca = authority(dir.path(), "one");
    // As people make them first: an authority's, which clients refuse as a server's.
    let plain = "-newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    openssl(dir.path(), &format!("req -x509 {plain} -keyout plain.key -out plain.pem"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (used, key) = (dir.path().join("used.pem"), dir.path().join("used.key"));
    fs::copy(&files.cert, &used).unwrap();
    fs::copy(&files.key, &key).unwrap();
    let setup = JobSetup::new(2, dir.path()).with("TLS_CERT", &path(&used)).with("TLS_KEY", &path(&key));
    let url = format!("https://localhost:{}", setup.port);
    let (at, plain_pem, plain_key) =
        (dir.path().to_owned(), dir.path().join("plain.pem"), dir.path().join("plain.key"));
    let job = Job::launch(dir, setup);
    until("the job is ready", || out(&curl(&ca, &[&format!("{url}/readyz")])).starts_with("HTTP/1.1 200"));
    let run = |cert: &Path, trusted: Option<&Path>, args: &[&str]| {
        let mut command = Command::new(caudal());
        command.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE").envs(&job.setup.env).env("TLS_CERT", cert);
        command.env("HTTP_PORT", job.setup.port.to_string()).env("DATA_DIR", &job.setup.data).env("RANKS", "2");
        command.envs(trusted.map(|trusted| ("SSL_CERT_FILE", trusted))).args(args).current_dir(&at);
        command.output().unwrap()
    };
    let doctor = |cert: &Path| {
        let report: Value = serde_json::from_slice(&run(cert, None, &["doctor", "--json"]).stdout).unwrap();
        let job = report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "job");
        job.unwrap().clone()
    };
    let list = ["dead-letters", "list"];
    let listed = run(&used, None, &list);
    assert!(listed.status.success(), "{}", out(&listed));
    until("its worker is shown", || doctor(&used)["level"] == "ok");
    // Another certificate than the job's, though the same authority were trusted, is not it.
    let strange = run(&other.cert, Some(&ca), &list);
    assert_eq!(strange.status.code(), Some(69), "{}", out(&strange));
    assert!(out(&strange).contains("another certificate than TLS_CERT="), "{}", out(&strange));
    let told = doctor(&other.cert);
    assert_eq!(told["level"], "problem");
    assert!(told["found"].as_str().unwrap().contains("another certificate than TLS_CERT="), "{told}");
    assert!(told["cure"].as_str().unwrap().contains("set TLS_CERT"), "{told}");
    assert!(!told["found"].as_str().unwrap().contains("does not answer"), "{told}");
    let none = run(&at.join("none.pem"), None, &list);
    assert!(out(&none).contains("none.pem cannot be read"), "{}", out(&none));

    let by_url = |host: &str, trusted: &Path| {
        let url = format!("https://{host}:{}", job.setup.port);
        let told = run(&used, Some(trusted), &["dead-letters", "list", "--url", &url]);
        assert_eq!(told.status.code(), Some(69), "{}", out(&told));
        let generated = run(
            &used,
            Some(trusted),
            &["generate", "--count", "5", "--pipeline", &job.setup.env["PIPELINES"], "--url", &url],
        );
        assert_eq!(generated.status.code(), Some(69), "{}", out(&generated));
        assert_eq!(
            out(&generated).lines().last().unwrap().split_once(": ").unwrap().1,
            out(&told).trim_end().split_once(": ").unwrap().1
        );
        out(&told)
    };
    let misnamed = by_url("127.0.0.1", &ca);
    assert!(misnamed.contains("not made for this name but for localhost, caudal.example"), "{misnamed}");
    let stranger = by_url("localhost", &authority(&at, "two"));
    assert!(stranger.contains("not trusted here") && stranger.contains("SSL_CERT_FILE"), "{stranger}");
    // The client goes with the job to a new certificate.
    fs::copy(&plain_key, &key).unwrap();
    fs::copy(&plain_pem, &used).unwrap();
    until("the new certificate is shown", || run(&used, None, &list).status.success());
    let authority = by_url("localhost", &plain_pem);
    assert!(authority.contains("CA:TRUE") && authority.contains("basicConstraints=CA:FALSE"), "{authority}");
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

/// The program as its own client: it trusts what this machine trusts, and says what is wrong where it does not.
#[test]
fn the_command_line_asks_a_job_by_https() {
    let dir = TempDir::new().unwrap();
    let files = certificate(dir.path(), "one");
    let setup = JobSetup::new(2, dir.path())
        .with("TLS_CERT", files.cert.to_str().unwrap())
        .with("TLS_KEY", files.key.to_str().unwrap())
        .with("API_TOKENS", "viewer:eyes,sender:hands");
    let url = format!("https://localhost:{}", setup.port);
    let ca = authority(dir.path(), "one");
    let job = Job::launch(dir, setup);
    until("the job is ready", || out(&curl(&ca, &[&format!("{url}/readyz")])).starts_with("HTTP/1.1 200"));
    until("it says where", || job.output().contains(&format!("Caudal is ready: {url}/")));
    let run = |args: &[&str], trusted: &Path| {
        let mut command = Command::new(caudal());
        command.args(args).env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").current_dir(job.dir.path());
        command.output().unwrap()
    };
    let pipeline = &job.setup.env["PIPELINES"];
    let generate = |token: &str, trusted: &Path| {
        run(&["generate", "--pipeline", pipeline, "--count", "50", "--url", &url, "--token", token], trusted)
    };
    let sent = generate("hands", &ca);
    assert!(sent.status.success(), "{}", out(&sent));
    let refused = generate("eyes", &ca);
    assert!(!refused.status.success() && out(&refused).contains("role sender"), "{}", out(&refused));
    let ledger = curl(&ca, &["-H", "Authorization: Bearer eyes", &format!("{url}/ledger")]);
    let text = out(&ledger);
    let ledger: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(ledger["accepted"], 50, "{ledger}");
    let other = TempDir::new().unwrap();
    certificate(other.path(), "other");
    let list = ["dead-letters", "list", "--token", "eyes", "--url"];
    let listed = run(&[&list[..], &[url.as_str()]].concat(), &ca);
    assert!(listed.status.success(), "{}", out(&listed));
    let stranger = run(&[&list[..], &[url.as_str()]].concat(), &authority(other.path(), "other"));
    assert!(!stranger.status.success() && out(&stranger).contains("SSL_CERT_FILE"), "{}", out(&stranger));
    let misnamed = url.replace("localhost", "127.0.0.1");
    let misnamed = run(&[&list[..], &[misnamed.as_str()]].concat(), &ca);
    assert!(!misnamed.status.success() && out(&misnamed).contains("made for this name"), "{}", out(&misnamed));
    // Files that cannot be used are told of, and change nothing.
    fs::write(&files.cert, "no certificate").unwrap();
    until("it is told", || job.output().contains("holds no certificate"));
    assert!(job.output().contains("the certificate that was read before goes on"));
    assert!(out(&curl(&ca, &[&format!("{url}/readyz")])).starts_with("HTTP/1.1 200"));
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}
