//! The page in headless Chromium, driven by chromedriver through plain WebDriver: what a person does there, on a real job.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::support::job::{Job, root, until};
use crate::support::port::free_port;

/// No command of the browser takes nearly as long.
const COMMAND_MAX: Duration = Duration::from_mins(1);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own, ended when it is dropped.
struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
    dir: TempDir,
}

impl Browser {
    fn start() -> Self {
        let port = free_port();
        let dir = TempDir::new().expect("a directory");
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("chromedriver: {e}; apt-get install chromium chromium-driver"));
        let config = Agent::config_builder().timeout_global(Some(COMMAND_MAX)).http_status_as_error(false).build();
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, agent: config.into(), session: base, dir };
        let status = format!("http://127.0.0.1:{port}/status");
        until("chromedriver answers", || browser.agent.get(&status).call().is_ok());
        let profile = format!("--user-data-dir={}", browser.dir.path().join("profile").display());
        let mut arguments = vec![profile, "--window-size=1200,900".to_owned()];
        // As root there is no sandbox; and nothing but the page is to be asked for.
        arguments.extend(
            [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ]
            .map(str::to_owned),
        );
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let started = browser.post("", &wanted);
        let id = started["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {started}")).to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let answer = self.agent.post(format!("{}{command}", self.session)).send_json(body);
        Self::value(command, answer)
    }

    fn get(&self, command: &str) -> Value {
        Self::value(command, self.agent.get(format!("{}{command}", self.session)).call())
    }

    fn value(command: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let mut answer = answer.unwrap_or_else(|e| panic!("{command}: {e}"));
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string();
        let text = text.unwrap_or_else(|e| panic!("{command}: {e}"));
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{command}: {e}: {text}"));
        assert_eq!(answer.status().as_u16(), 200, "{command}: {body}");
        body["value"].clone()
    }

    fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// What a function's body returns in the page.
    fn script(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// A click as a person's: the element is scrolled to, must be seen and must not be covered.
    fn click(&self, selector: &str) {
        let element = self.post("/element", &json!({"using": "css selector", "value": selector}));
        let id = element[ELEMENT].as_str().unwrap_or_else(|| panic!("{selector}: {element}"));
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// An element's text.
    fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.script(script, &[json!(selector)]).as_str().expect("a text").to_owned()
    }

    /// The texts of a table's cells, row by row.
    fn rows(&self, selector: &str) -> Vec<Vec<String>> {
        let script = "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))";
        serde_json::from_value(self.script(script, &[json!(selector)])).expect("rows")
    }

    /// Waits for the text of an element.
    fn until_text(&self, selector: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        until(&format!("{selector} says what it should"), || {
            let now = self.text(selector);
            if now != text {
                text = now;
                println!("{selector}: {text}");
            }
            fits(&text)
        });
        text
    }

    fn screenshot(&self, file: &Path) {
        let picture = self.get("/screenshot");
        let picture = base64(picture.as_str().expect("a picture"));
        assert!(picture.starts_with(b"\x89PNG"), "{} bytes", picture.len());
        fs::write(file, picture).expect("a file");
    }

    /// What the page has complained of.
    fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().expect("entries").iter();
        entries.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; where there is no session yet, no browser runs.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit =
        |b: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|d| *d == b);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

/// Would run, if the page took it for markup.
const HOSTILE: &str = r#"<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">"#;

#[test]
fn a_person_sends_events_and_sees_where_they_went() {
    let job = Job::start(3);
    let browser = Browser::start();
    browser.open(&format!("{}/", job.client.base));
    browser.until_text("#state", |state| state.starts_with("serving"));

    let topics = ["security.incident", "survey.victimization", "migration.case"];
    for (sent, topic) in topics.iter().enumerate() {
        until("the topics are there", || {
            browser.rows("#ranks").len() >= 2 && browser.text("#trigger-topic").contains(topic)
        });
        browser.click(&format!("#trigger-topic option:nth-child({})", sent + 1));
        browser.click("#trigger-send");
        let offset = format!("counted at offset {sent} ");
        browser.until_text("#trigger-result", |result| result.starts_with(&offset));
        let id = browser.script("return JSON.parse(document.getElementById('trigger-json').value).event_id", &[]);
        // It leads to its row, and the row back to it.
        let id = id.as_str().expect("an id");
        until("its rows are named", || {
            browser.script("return document.querySelectorAll('#trigger-metrics button').length", &[]) == 2
        });
        if sent == 0 {
            // The row need not be shown yet: the page waits for it.
            browser.click("#trigger-metrics button");
            browser.until_text("#lineage tbody", |events| events.contains(id));
        }
        let mut metric = String::new();
        until("its row by region is shown", || {
            let rows = job.client.windows(&format!("&window=by_region&group.source={topic}"));
            rows.first().map(|row| metric = row["metric_id"].as_str().expect("an id").to_owned()).is_some()
        });
        let row = format!("#windows tr[data-metric-id=\"{metric}\"]");
        browser.until_text(&format!("{row} td:nth-child(5)"), |count| count == "1");
        browser.until_text(&format!("{row} td:nth-child(3)"), |group| group.starts_with(topic));
        browser.click(&format!("{row} button"));
        browser.until_text("#lineage-note", |note| note.starts_with("by_region, ") && note.ends_with(": 1 event"));
        browser.until_text("#lineage tbody", |event| event.contains(id));
    }
    let counts: Vec<Vec<String>> = browser.rows("#counts");
    assert!(topics.iter().all(|topic| counts.iter().any(|row| row[1].starts_with(topic))), "{counts:?}");

    hostile_events_stay_text(&job, &browser);
    until("the ledger shows everything", || {
        let ledger: Vec<String> = browser.rows("#ledger").into_iter().map(|row| row[1].clone()).collect();
        ledger == ["5", "3", "0", "0", "2", "0", "0"]
    });
    assert_eq!(browser.text("#balances"), "balances ✓");
    generator_is_started_and_stopped(&browser);
    browser.screenshot(&browser.dir.path().join("page.png"));
    let not_yet_shown = |c: &String| c.contains("/windows/") && c.contains("404");
    let complaints: Vec<String> = browser.complaints().into_iter().filter(|c| !not_yet_shown(c)).collect();
    assert_eq!(complaints, Vec::<String>::new());
    drop(browser);
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

fn hostile_events_stay_text(job: &Job, browser: &Browser) {
    let refused = json!({"event_id": HOSTILE, "region": HOSTILE}).to_string();
    for body in [HOSTILE, refused.as_str()] {
        let (_, answer) = job.client.post_lines("/topics/security.incident/events?ack=applied", body.as_bytes());
        assert_eq!(answer["invalid"], 1, "{answer}");
    }
    until("both are among the dead letters", || browser.rows("#dead-letters").len() == 2);
    let letters = browser.rows("#dead-letters");
    assert_eq!((&letters[0][4], letters[1][4].as_str()), (&refused, HOSTILE));
    assert_eq!(browser.script("return document.querySelectorAll('#dead-letters :is(script, img)').length", &[]), 0);
    assert_eq!(browser.script("return document.title", &[]), "Caudal");
}

fn generator_is_started_and_stopped(browser: &Browser) {
    browser.click("#generator-start");
    browser.until_text("#generator-state", |state| state.starts_with("running at 50/s"));
    until("its events are counted", || browser.rows("#events").len() == 15);
    browser.click("#generator-stop");
    browser.until_text("#generator-state", |state| state.starts_with("stopped"));
    browser.until_text("#in-flight", |count| count == "0");
    browser.until_text("#balances", |balances| balances == "balances ✓");
}

/// Makes `docs/page.png` anew: `cargo test --release --test it the_picture -- --ignored`.
#[test]
#[ignore = "it changes a file of the repository"]
fn the_picture_of_the_page() {
    let job = Job::start(4);
    let browser = Browser::start();
    browser.post("/window/rect", &json!({"width": 1280, "height": 1360}));
    let settings =
        json!({"rate": 200, "seed": 11, "duplicates": 0.02, "invalid": 0.004, "late": 0.002, "out_of_order_ms": 1_000});
    let (status, answer) = job.client.post_json("/generator", &settings.to_string());
    assert_eq!(status, 200, "{answer}");
    browser.open(&format!("{}/", job.client.base));
    browser.until_text("#generator-state", |state| state.contains("running at 200/s"));
    until("some windows are closed", || job.client.json("/ledger")["counted"].as_u64() > Some(4_000));
    browser.click("#trigger-send");
    browser.until_text("#trigger-result", |result| result.starts_with("counted"));
    // It has the time at which it was sent, however long the form had stood there: it is late for no window.
    until("its rows are named", || {
        browser.script("return document.querySelectorAll('#trigger-metrics button').length", &[]) == 2
    });
    browser.script("window.scrollTo(0, 0); document.activeElement.blur()", &[]);
    browser.screenshot(&root().join("docs/page.png"));
}
