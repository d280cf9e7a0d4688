//! Programs that send events and know nothing of Caudal. Each request that stands in `tests/ingest/requests` was recorded of curl or collectd, or made after the source of
//! its program (Vector's, Fluent Bit's and Logstash's http sinks), and is played byte for byte; curl, collectd and the CloudEvents SDK of Python also send themselves.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{events, server};
use crate::http_unit::Server;
use crate::support::job::{Job, Setup, root, until};
use crate::support::python;

/// Plays the request as it stands, on a connection that may stay open: the status of its answer.
fn play(server: &Server, name: &str) -> u16 {
    let request = fs::read(root().join("tests/ingest/requests").join(name)).unwrap();
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request).unwrap();
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{name}: {head:?}");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    if !request.starts_with(b"HEAD") {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
    }
    head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{name}: {head:?}"))
}

/// The request, the status of its answer, and of the events that it adds to its topic one field.
type Case = (&'static str, u16, &'static str, &'static str, &'static [&'static str]);

#[test]
fn recorded_requests_are_taken_as_they_are() {
    let cases: &[Case] = &[
        ("vector_health.http", 200, "vector", "message", &[]),
        ("vector_json.http", 202, "vector", "message", &["line 1 é", "line 2 é"]),
        ("vector_json_gzip.http", 202, "vector", "message", &["line 1 é", "line 2 é"]),
        ("vector_json_zstd.http", 202, "vector", "message", &["line 1 é", "line 2 é"]),
        ("vector_ndjson.http", 202, "vector", "message", &["line 3 é", "line 4 é", "line 5 é"]),
        ("fluent_bit_json.http", 202, "fluent_bit", "log", &["line 1", "line 2"]),
        ("fluent_bit_json_gzip.http", 202, "fluent_bit", "log", &["line 1", "line 2"]),
        ("fluent_bit_json_stream.http", 202, "fluent_bit", "log", &["line 3", "line 4", "line 5"]),
        ("fluent_bit_json_lines.http", 202, "fluent_bit", "log", &["line 6", "line 7"]),
        ("logstash_json.http", 202, "logstash", "message", &["line 1"]),
        ("logstash_json_gzip.http", 202, "logstash", "message", &["line 1"]),
        ("logstash_json_batch.http", 202, "logstash", "message", &["line 2", "line 3", "line 4"]),
        (
            "collectd.http",
            202,
            "collectd",
            "type_instance",
            &["", "used", "buffered", "cached", "free", "slab_unrecl", "slab_recl", "used", "buffered", "cached"],
        ),
        ("curl_head.http", 200, "curl", "n", &[]),
        ("curl_form.http", 202, "curl", "n", &["1"]),
        ("curl_json.http", 202, "curl", "n", &["2", "3"]),
        ("curl_ndjson.http", 202, "curl", "n", &["4", "5"]),
        ("curl_ndjson_gzip.http", 202, "curl", "n", &["4", "5"]),
    ];
    let server = server();
    let recorded = fs::read_dir(root().join("tests/ingest/requests")).unwrap().count();
    assert_eq!(cases.len(), recorded, "each recorded request is played");
    for (name, status, topic, field, expected) in cases {
        let before = events(&server, topic).len();
        assert_eq!(play(&server, name), *status, "{name}");
        let found: Vec<String> = events(&server, topic)[before..]
            .iter()
            .map(|event| event[*field].as_str().map_or_else(|| event[*field].to_string(), str::to_owned))
            .collect();
        assert_eq!(found, *expected, "{name}");
    }
}

fn job(pipeline: &str) -> Job {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(2, dir.path()).with("PIPELINES", root().join(pipeline).to_str().unwrap());
    Job::start_in(dir, setup)
}

/// What `curl` prints for these arguments and the path behind them.
fn curl(job: &Job, args: &[&str], path: &str) -> Value {
    let url = format!("{}{path}", job.client.base);
    let done = Command::new("curl").args(["-sS", "--max-time", "60"]).args(args).arg(url).output();
    let done = done.unwrap_or_else(|error| panic!("curl: {error}: install it (apt-get install curl)"));
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn curl_and_the_python_sdk_send_to_a_job() {
    let job = job("tests/ingest/pipeline.yaml");
    let path = "/topics/curl/events?ack=applied";
    let now = caudal::clock::SystemClock::default();
    let now = caudal::core::time::format(caudal::clock::Clock::unix(&now).micros());
    let line = format!("{{\"at\":\"{now}\",\"n\":1}}");
    let answer = curl(&job, &["-d", &line], path);
    assert_eq!(answer["counted"], 1, "{answer}");
    // More than a MiB, for which curl waits to be asked.
    let file = job.dir.path().join("lines.ndjson");
    fs::write(&file, format!("{line}\n").repeat(40_000)).unwrap();
    let body = format!("@{}", file.display());
    let answer = curl(&job, &["-H", "content-type: application/x-ndjson", "--data-binary", &body], path);
    assert_eq!(answer["counted"], 40_000, "{:?}", answer["accepted"]);

    let script = root().join("tests/python/cloudevents_client.py");
    let done = Command::new(python::program("python")).arg(script).arg(&job.client.base).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    job.wait_settled();
    let found = job.client.json("/topics/com.example.reading/events");
    let found: Vec<&Value> = found["events"].as_array().unwrap().iter().map(|item| &item["event"]).collect();
    let sent = said.as_array().unwrap();
    assert!(sent.len() >= 4 && found.len() == sent.len(), "{found:?}");
    for (event, sent) in found.iter().zip(sent) {
        for (name, value) in sent.as_object().unwrap() {
            assert_eq!(&event[name], value, "{name} of {event}");
        }
    }
    let ledger = job.client.json("/ledger");
    assert_eq!((&ledger["invalid"], &ledger["duplicate"]), (&Value::from(0), &Value::from(0)), "{ledger}");
    assert!(job.stop().2.success());
}

/// Ends collectd when it is dropped.
struct Collectd(std::process::Child);

impl Drop for Collectd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn collectd_reports_to_the_cluster_health_application() {
    let job = job("pipelines/cluster_health/pipeline.yaml");
    let dir = job.dir.path();
    // As the application's own collectd.conf, sent each second.
    let config = format!(
        "BaseDir \"{0}\"\nPIDFile \"{0}/collectd.pid\"\nPluginDir \"/usr/lib/collectd\"\nTypesDB \"/usr/share/collectd/types.db\"\nHostname \"node7\"\nInterval 1\n\
         LoadPlugin load\nLoadPlugin memory\nLoadPlugin write_http\n\
         <Plugin write_http>\n<Node \"caudal\">\nURL \"{1}/topics/collectd/events\"\nFormat \"JSON\"\nStoreRates true\nBufferSize 4096\n</Node>\n</Plugin>\n",
        dir.display(),
        job.client.base
    );
    let file = dir.join("collectd.conf");
    fs::write(&file, config).unwrap();
    let log = fs::File::create(dir.join("collectd.txt")).unwrap();
    let collectd = Command::new("/usr/sbin/collectd")
        .args(["-f", "-C"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("collectd: {error}: install it (apt-get install collectd-core)"));
    let collectd = Collectd(collectd);
    let mut ledger = Value::Null;
    until("collectd's samples are counted", || {
        ledger = job.client.json("/ledger");
        ledger["counted"].as_u64().is_some_and(|counted| counted >= 20)
    });
    drop(collectd);
    assert_eq!((&ledger["invalid"], &ledger["late"]), (&Value::from(0), &Value::from(0)), "{ledger}");
    let mut row = Value::Null;
    until("node7 has a row", || {
        row = job.client.json("/windows?window=nodes&group.host=node7")["windows"][0].clone();
        row["values"]["load_1m"].is_number()
    });
    assert!(row["values"]["memory_used"].as_f64().is_some_and(|bytes| bytes > 1e6), "{row}");
    assert!(job.stop().2.success());
}
