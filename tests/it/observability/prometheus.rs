//! A real Prometheus that scrapes a running job.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::observability::deployed;
use crate::support::client::Client;
use crate::support::job::{Job, until};
use crate::support::port::free_port;
use crate::support::traffic::{civic_safety, events, send_all};

/// A server, ended when it is dropped.
struct Prometheus {
    process: Child,
    client: Client,
    dir: TempDir,
}

impl Prometheus {
    fn scraping(job: &Job, is_native: bool) -> Self {
        let dir = TempDir::new().expect("a directory");
        let port = free_port();
        let target = job.client.base.trim_start_matches("http://").to_owned();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 250ms}}\nscrape_configs:\n  - job_name: caudal\n    static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, text).expect("a file");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn");
        if is_native {
            command.arg("--enable-feature=native-histograms");
        }
        let output = fs::File::create(dir.path().join("output.txt")).expect("a file");
        let started = command.stdout(Stdio::null()).stderr(output).spawn();
        let process = started.unwrap_or_else(|error| panic!("prometheus: {error}; apt-get install prometheus"));
        let prometheus = Self { process, client: Client::of_another(port), dir };
        until("prometheus is ready", || matches!(prometheus.client.try_get("/-/ready"), Ok((200, _))));
        prometheus
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output.txt")).unwrap_or_default()
    }

    /// The values of what a query gives now.
    fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.client.json(&format!("/api/v1/query?query={}", encoded(query)));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().expect("a list");
        results.iter().filter_map(|result| result["value"][1].as_str()?.parse().ok()).collect()
    }

    fn one(&self, query: &str) -> Option<f64> {
        self.query(query).first().copied()
    }

    /// How the newest scrape went.
    fn target(&self) -> Value {
        self.client.json("/api/v1/targets")["data"]["activeTargets"][0].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_real_prometheus_scrapes_a_running_job() {
    let job = Job::start(3);
    let bodies = events(&civic_safety(), 21, 3_000);
    let native = Prometheus::scraping(&job, true);
    let usual = Prometheus::scraping(&job, false);
    send_all(&job.client, &bodies);
    job.wait_settled();
    let ledger = job.client.json("/ledger");
    let accepted = ledger["accepted"].as_f64().expect("a number");
    for prometheus in [&native, &usual] {
        until("the target is up", || {
            assert_ne!(prometheus.target()["health"], "down", "{}\n{}", prometheus.target(), prometheus.output());
            prometheus.one("up{job=\"caudal\"}") == Some(1.0)
        });
        until("the counters are the ledger's", || prometheus.one("caudal_events_accepted_total") == Some(accepted));
        for fate in ["counted", "duplicate", "filtered", "invalid", "late"] {
            let by_fate = prometheus.one(&format!("caudal_events_fate_total{{fate=\"{fate}\"}}"));
            assert_eq!(by_fate, ledger[fate].as_f64(), "{fate}");
            let by_topic = prometheus.one(&format!("sum(caudal_topic_events_total{{fate=\"{fate}\"}})"));
            assert_eq!(by_topic, ledger[fate].as_f64(), "{fate} of all topics");
        }
    }

    // An observation an event, and an observation a request.
    let posts = "caudal_http_request_duration_seconds{route=\"/events\",method=\"POST\"}";
    for (name, count) in [("caudal_receipt_to_committed_seconds{}", accepted), (posts, bodies.len() as f64)] {
        let (family, labels) = name.split_once('{').expect("labels");
        until("all are counted", || {
            native.one(&format!("histogram_count({name})")) == Some(count)
                && usual.one(&format!("{family}_count{{{labels}")) == Some(count)
        });
        let quantile = native.one(&format!("histogram_quantile(0.99, {name})")).unwrap_or_default();
        let classic = usual.one(&format!("histogram_quantile(0.99, {family}_bucket{{{labels})")).unwrap_or_default();
        assert!(quantile > 0.0 && quantile < 60.0, "{name}: {quantile} {}", native.output());
        // The same durations in finer and in coarser buckets, whose bounds are 2.5 times the ones before at most.
        assert!(quantile <= classic * 2.6 && classic <= quantile * 2.6 + 0.0001, "{name}: {quantile} {classic}");
    }
    for name in ["caudal_log_commit_seconds", "caudal_store_commit_seconds"] {
        let quantile = native.one(&format!("histogram_quantile(0.5, {name})"));
        assert!(quantile.is_some_and(|q| q > 0.0 && q < 60.0), "{name}: {quantile:?}");
    }

    // Whatever the dashboard asks is a query that Prometheus understands.
    for query in deployed::queries() {
        let query = query.replace("$job", "caudal").replace("$instance", ".*").replace("$__rate_interval", "1m");
        native.query(&query);
    }
    drop((native, usual));
    job.stop();
}
