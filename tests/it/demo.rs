//! The shipped applications' stories: `./run_mpi.sh demo NAME` on a real job of four ranks, the README's commands with their answers. What a README
//! shows of an answer is what the command prints; where it shows none, the test looks at it.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::job::{Setup, root};

/// One command of a story, and what it printed.
struct Scene {
    command: String,
    said: String,
}

/// What a command says; its answers are read as JSON.
impl Scene {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.said).unwrap_or_else(|e| panic!("{e}: $ {}\n{}", self.command, self.said))
    }
}

/// Commands, each behind `$ `, and what stands below them. A command goes on in the next line where a line ends with a backslash.
fn scenes(text: &str) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if let (false, Some(command)) = (goes_on, line.strip_prefix("$ ")) {
            scenes.push(Scene { command: command.to_owned(), said: String::new() });
            goes_on = line.ends_with('\\');
        } else if let Some(scene) = scenes.last_mut() {
            if goes_on {
                scene.command.extend(["\n", line]);
                goes_on = line.ends_with('\\');
            } else {
                scene.said.extend([line, "\n"]);
            }
        }
    }
    scenes
}

/// What stands in the console blocks of a README.
fn console(readme: &str) -> String {
    let blocks = readme.split("```console\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

/// Plays an application's story: the README's commands and no others, with the answers that the README shows; then nobody serves any more.
fn play(application: &str) -> Story {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(4, dir.path());
    let output = setup.command(dir.path(), &["demo", application]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with(&format!("Caudal is ready: http://localhost:{}/\n", setup.port)), "{said}");
    let listens = std::net::TcpStream::connect(("127.0.0.1", setup.port));
    assert!(listens.is_err(), "somebody still serves port {}", setup.port);

    let readme = fs::read_to_string(root().join("pipelines").join(application).join("README.md")).unwrap();
    // What is shown can be typed: it names the port that the job has.
    let told = console(&readme).replace("localhost:5000", &format!("localhost:{}", setup.port));
    let (told, scenes) = (scenes(&told), scenes(&said));
    let commands = |scenes: &[Scene]| scenes.iter().map(|scene| scene.command.clone()).collect::<Vec<_>>();
    assert_eq!(commands(&scenes), commands(&told));
    for (scene, told) in scenes.iter().zip(&told).filter(|(_, told)| !told.said.trim().is_empty()) {
        assert_eq!(scene.said.trim(), told.said.trim(), "$ {}", scene.command);
    }
    Story { scenes: scenes.into_iter() }
}

/// The scenes that are still to come.
struct Story {
    scenes: std::vec::IntoIter<Scene>,
}

impl Story {
    /// The next scene, whose command has this in it.
    #[track_caller]
    fn next(&mut self, part: &str) -> Scene {
        let scene = self.scenes.next().unwrap_or_else(|| panic!("the story ends before {part:?}"));
        assert!(scene.command.contains(part), "$ {}\n{}\nhas no {part:?}", scene.command, scene.said);
        scene
    }

    /// The next ones, of which the README shows what they say.
    #[track_caller]
    fn shown(&mut self, parts: &[&str]) {
        for part in parts {
            drop(self.next(part));
        }
    }

    #[track_caller]
    fn end(mut self) {
        if let Some(more) = self.scenes.next() {
            panic!("nobody looked at: $ {}", more.command);
        }
    }
}

/// The values that a list's items have under a path of names.
fn each(list: &Value, path: &[&str]) -> Vec<Value> {
    let item = |item: &Value| path.iter().fold(item.clone(), |value, name| value[*name].clone());
    list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().map(item).collect()
}

#[test]
fn user_activity() {
    let mut story = play("user_activity");
    let sample = story.next("events.ndjson").json();
    let fates = ["accepted", "counted", "duplicate", "invalid", "late"].map(|fate| sample[fate].as_u64().unwrap());
    assert_eq!(fates, [12, 10, 1, 1, 0], "{sample}");

    let nobody = story.next("-X POST localhost").json();
    let user = nobody["filled"]["user_id"].as_str().unwrap().to_owned();
    assert_eq!(user.len(), 36, "{nobody}");
    assert_eq!(story.next("hola").json()["filled"]["kind"], "message");
    let click = story.next("/boots").json();
    assert_eq!(click["counted"], 1, "{click}");

    let ana = story.next("/users/ana").json();
    assert_eq!((&ana["value"]["kind"], &ana["value"]["message"]), (&json!("click"), &json!("/boots")), "{ana}");
    assert_eq!((&ana["events"], &ana["value"]["event_id"]), (&json!(6), &click["filled"]["event_id"]), "{ana}");
    let latest = story.next("/users/latest").json();
    assert_eq!(latest["entries"].as_array().unwrap().len(), 2, "{latest}");
    assert!(latest["next"].as_str().unwrap().starts_with("/users/latest?limit=2&after="), "{latest}");
    let mut users = ["ana", "bob", "carla", &user];
    users.sort_unstable();
    assert_eq!(story.next("localhost").json(), json!({"users": users}));

    let started = story.next("/generator ").json();
    assert_eq!((&started["running"], &started["settings"]["rate"]), (&json!(true), &json!(50.0)), "{started}");
    let log = story.next("/generator/log").json();
    assert_eq!(each(&log["log"], &["did"]), ["sent", "sent"], "{log}");
    let again = story.next("/generator/restart").json();
    assert_eq!((&again["running"], &again["settings"]["rate"]), (&json!(true), &json!(50.0)), "{again}");
    assert_ne!(again["settings"]["seed"], 7, "the same events again would be duplicates");
    assert_eq!(story.next("-X DELETE").json()["running"], false);

    assert_eq!(story.next("bob").json()["counted"], 1);
    let counts = story.next("/kinds").json();
    let row = |row: &Value| {
        (row["window_start"].clone(), row["group"]["kind"].clone(), row["values"].clone(), row["closed"].clone())
    };
    let mut rows: Vec<_> = counts["windows"].as_array().unwrap().iter().map(row).collect();
    rows.sort_by_key(|row| format!("{row:?}"));
    let expected = |second: u32, kind: &str, n: u64, users: u64| {
        (json!(format!("2026-11-22T12:00:{second:02}Z")), json!(kind), json!({"n": n, "users": users}), json!(true))
    };
    let expected = [
        expected(0, "click", 4, 2),
        expected(0, "login", 3, 3),
        expected(10, "logout", 1, 1),
        expected(10, "message", 1, 1),
        expected(10, "purchase", 1, 1),
    ];
    assert_eq!(rows, expected, "{counts}");
    let events = story.next("/events?limit=10").json();
    let newest = each(&events["events"], &["event", "user_id"]);
    assert_eq!((newest.len(), &newest[0]), (10, &json!("bob")), "{events}");
    let of_one = story.next("user=carla").json();
    let of_one = each(&of_one["events"], &["event", "user_id"]);
    assert!(!of_one.is_empty() && of_one.iter().all(|user| user == "carla"), "{of_one:?}");
    let lines = story.next("grep").said;
    let lines: Vec<Value> = lines.lines().filter(|l| !l.is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect();
    let offsets: Vec<_> = lines.iter().map(|line| line["log_offset"].clone()).collect();
    assert_eq!(offsets, [0, 1, 2], "the topic from its beginning: {lines:?}");
    story.end();
}

#[test]
fn prescriptions() {
    let mut story = play("prescriptions");
    let written = story.next("prescription.json").json();
    assert_eq!((&written["counted"], &written["filled"]["prescription_id"]), (&json!(1), &json!("rx-7")), "{written}");
    let first = story.next("/prescriptions/rx-7").json();
    assert_eq!((&first["key"], &first["events"]), (&json!("rx-7"), &json!(1)));
    let text: Value =
        serde_json::from_str(&std::fs::read_to_string("pipelines/prescriptions/prescription.json").unwrap()).unwrap();
    let mut state = first["value"].clone();
    assert_eq!(state.as_object_mut().unwrap().remove("at"), Some(written["filled"]["at"].clone()));
    let mut expected = text;
    expected.as_object_mut().unwrap().remove("prescription_id");
    assert_eq!(state, expected);

    assert_eq!(story.next("comidas").json()["counted"], 1);
    assert_eq!(story.next("PATCH").json()["counted"], 1);
    let mut edited = story.next("/prescriptions/rx-7").json();
    edited["value"].as_object_mut().unwrap().remove("at");
    expected["comentario"] = json!("con las comidas");
    expected["farmacos"][0]["dosis"] = json!("500 mg cada 12 h");
    expected["doctor"] = json!("Dr. Pérez");
    assert_eq!((&edited["events"], &edited["value"]), (&json!(3), &expected), "what an edit does not name stays");
    let history = story.next("/history").json();
    let doctors = each(&history["history"], &["value", "doctor"]);
    assert_eq!(
        doctors,
        [json!("Dr. Pérez"), Value::Null, json!("Dra. Soto")],
        "newest first, as it was said: {history}"
    );
    assert_eq!(each(&history["history"], &["value", "comentario"])[1], "con las comidas");

    let refused = story.next("12345678\"").json();
    assert_eq!(refused["invalid"], 1, "{refused}");
    let letters = story.next("/dead-letters").json();
    assert_eq!(letters["dead_letters"][0]["reason"], "schema", "{letters}");
    let all = story.next("limit=10").json();
    assert_eq!(each(&all["entries"], &["value", "rut"]), ["12345678-5"], "{all}");
    story.end();
}

#[test]
fn cluster_health() {
    let mut story = play("cluster_health");
    story.shown(&["check", "events.ndjson", "for time in", "window=busiest", "window=nodes"]);
    story.end();
}

#[test]
fn login_guard() {
    let mut story = play("login_guard");
    story.shown(&["events.ndjson", "/users-blocked", "12:20:01", "/users-blocked", "for attempt in", "/users-blocked"]);
    let blocks = story.next("/blocks").json();
    let block = &blocks["alerts"][0];
    assert_eq!(
        (&block["key"], &block["active"], &block["details"]["count"]),
        (&json!({"user_id": "dan"}), &json!(true), &json!(5))
    );
    let state = story.next("/blocks/dan").json();
    assert_eq!(
        (&state["value"]["state"], &state["value"]["raised_at"]),
        (&json!("raised"), &block["raised_at"]),
        "{state}"
    );
    let dan = story.next("/accounts/dan").json();
    assert_eq!((&dan["events"], &dan["value"]["what"]), (&json!(5), &json!("failure")), "{dan}");
    assert_eq!(dan["value"]["at"], block["raised_at"], "blocked with the fifth failure");
    let unlocked = story.next("/unlock").json();
    assert_eq!((&unlocked["counted"], &unlocked["filled"]["user_id"]), (&json!(1), &json!("dan")), "{unlocked}");
    story.shown(&["/users-blocked", "for user in", "/sprayers"]);

    let alerts = story.next("alert=blocked").json();
    assert_eq!(each(&alerts["alerts"], &["key", "user_id"]), ["dan", "ana"], "the newest first: {alerts}");
    let cleared = each(&alerts["alerts"], &["cleared_at"]);
    assert_eq!(cleared, [unlocked["filled"]["at"].clone(), json!("2026-11-22T12:19:00Z")], "{alerts}");
    let events = story.next("topic=login.blocked").json();
    let told = |names: &[&str]| each(&events["events"], names);
    let states: Vec<_> = told(&["event", "state"]).into_iter().zip(told(&["event", "alert"])).collect();
    let expected = [
        ("raised", "spraying"),
        ("cleared", "blocked"),
        ("raised", "blocked"),
        ("cleared", "blocked"),
        ("raised", "blocked"),
    ];
    assert_eq!(states, expected.map(|(state, alert)| (json!(state), json!(alert))), "{events}");
    story.end();
}

#[test]
fn civic_safety() {
    let mut story = play("civic_safety");
    story.shown(&["events.ndjson", "/dead-letters"]);
    let region = story.next("/regions/AN").json();
    assert_eq!(
        (&region["events"], &region["value"]["source"]),
        (&json!(9), &json!("survey.victimization")),
        "{region}"
    );
    let notices = story.next("topic=notices").json();
    assert_eq!(each(&notices["events"], &["event", "cause"]), ["0286ddd3-06b8-4f46-93d8-84b676dfaf45"], "{notices}");

    for (part, events) in [("--seed 3", 6000), ("--seed 4", 4000), ("--seed 5", 1000)] {
        let said = story.next(part).said;
        assert!(said.starts_with(&format!("{events} events (")), "{said}");
    }
    let in_burst = |alert: &Value| {
        alert["window_start"] == "2026-11-22T20:02:00Z" && alert["key"]["source"] == "security.incident"
    };
    let surges = story.next("alert=surge").json();
    let surges = surges["alerts"].as_array().unwrap();
    assert_eq!((surges.len(), surges.iter().all(in_burst)), (16, true), "one a region: {surges:?}");
    assert!(surges.iter().all(|surge| surge["cleared_at"] == "2026-11-22T20:02:09.999999Z"), "{surges:?}");
    let odd = story.next("alert=odd").json();
    let mut scores = each(&odd["alerts"], &["details", "score"]);
    assert_eq!(odd["alerts"].as_array().unwrap().iter().filter(|alert| in_burst(alert)).count(), 16, "{odd}");
    scores.retain(|score| score.as_f64().unwrap() > 20.0);
    assert_eq!(scores.len(), 16, "the burst is odd, and nothing else is to that degree: {odd}");
    story.shown(&["/surges"]);
    let counts = story.next("/counts").json();
    let row = &counts["windows"][0];
    assert_eq!(
        (&row["values"]["n"], &row["values"]["worst"], &row["closed"]),
        (&json!(249), &json!(3), &json!(true)),
        "{counts}"
    );
    let lineage = story.next("7f21aacc-7f8f-8637-8bbc-9231fa9b998b");
    assert_eq!(row["metric_id"], "7f21aacc-7f8f-8637-8bbc-9231fa9b998b", "$ {}", lineage.command);
    let told = story.next("topic=alerts.anomaly").json();
    let (alerts, states) = (each(&told["events"], &["event", "alert"]), each(&told["events"], &["event", "state"]));
    let told = |alert: &str, state: &str| {
        alerts.iter().zip(&states).filter(|(a, s)| (*a, *s) == (&json!(alert), &json!(state))).count()
    };
    assert_eq!((told("surge", "raised"), told("surge", "cleared")), (16, 16));
    assert!(told("odd", "raised") >= 16 && told("odd", "cleared") >= 16, "{alerts:?}");

    let load = story.next("--count 4000").said;
    assert!(load.contains(", 4000 acknowledged"), "{load}");
    let days = story.next("topic=metrics.daily").json();
    let days: Vec<Value> = each(&days["events"], &["event"]);
    assert!(days.len() == 16 && days.iter().all(|day| day["window_start"] == "2026-11-22T00:00:00Z"), "{days:?}");
    let sum = |metric: &str| days.iter().map(|day| day[metric].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("n"), sum("incidents") + sum("surveys") + sum("cases"));
    let ledger = story.next("/ledger").json();
    let of = |fate: &str| ledger[fate].as_u64().unwrap();
    assert_eq!(of("accepted"), of("counted") + of("duplicate") + of("invalid"), "{ledger}");
    story.shown(&["window_name"]);
    let chaos = story.next("chaos.sh").said;
    assert_eq!(chaos.matches(" killed at ").count(), 5, "{chaos}");
    assert!(
        chaos.contains(" events acknowledged: 0 lost, 0 counted twice\n") && chaos.contains("\nidentical: "),
        "{chaos}"
    );
    story.end();
}

#[test]
fn music_fest() {
    let mut story = play("music_fest");
    for (user, correlation) in [("ana", "ana-1"), ("bruno", "bruno-1")] {
        let asked = story.next(user).json();
        assert_eq!((&asked["counted"], &asked["filled"]["correlation_id"]), (&json!(1), &json!(correlation)));
    }
    let waits = story.next("/purchases/ana-1").json();
    assert_eq!((&waits["value"]["step"], &waits["events"]), (&json!("asked"), &json!(1)), "{waits}");

    let answers = |story: &mut Story, service: &str, purchases: &[u32]| {
        let said = story.next(service).said;
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        let expected: Vec<String> = purchases.iter().map(|n| format!("{service} answers p-{n}")).collect();
        assert_eq!(lines, expected);
    };
    for (service, purchases) in
        [("payment", [1, 2].as_slice()), ("purchase", &[1, 2]), ("notification", &[1]), ("mail", &[1])]
    {
        answers(&mut story, service, purchases);
    }
    let flow = story.next("/purchases/ana-1/flow").json();
    let steps = each(&flow["history"], &["value", "step"]);
    assert_eq!(steps, ["mail", "notification", "purchased", "seats", "payment", "asked"], "{flow}");
    let bought = story.next("ticket.purchased").json();
    let made = &bought["events"][0]["event"];
    assert_eq!(bought["events"].as_array().unwrap().len(), 1, "{bought}");
    assert_eq!((&made["seats"], &made["receipt"]), (&json!(["general-1", "general-2"]), &json!("r-p-1")), "{bought}");
    let refused = story.next("/purchases/bruno-1").json();
    let (step, reason) = (&refused["value"]["step"], &refused["value"]["reason"]);
    assert_eq!((step, reason), (&json!("refused"), &json!("at most 4 seats of vip")), "{refused}");

    // Everybody is down.
    assert_eq!(story.next("carla").json()["counted"], 1);
    let groups = story.next("/groups").json();
    assert_eq!(each(&groups["groups"], &["group"]), ["payment", "purchase"], "{groups}");
    assert!(each(&groups["groups"], &["lag_at_most"]).iter().all(|lag| lag.as_u64() > Some(0)), "{groups}");
    for service in ["payment", "purchase", "notification", "mail"] {
        answers(&mut story, service, &[3]);
    }
    let flow = story.next("/purchases/carla-1/flow").json();
    let steps = each(&flow["history"], &["value", "step"]);
    assert_eq!(steps, ["mail", "notification", "purchased", "seats", "payment", "asked"], "{flow}");
    let bought = story.next("ticket.purchased").json();
    assert_eq!(each(&bought["events"], &["event", "purchase_id"]), ["p-1", "p-3"], "{bought}");

    assert_eq!(story.next("DELETE").json(), json!({"deleted": "payment"}));
    answers(&mut story, "payment", &[1, 2, 3]);
    let ledger = story.next("/ledger").json();
    assert_eq!((&ledger["accepted"], &ledger["duplicate"]), (&json!(19), &json!(3)), "{ledger}");
    assert_eq!(story.next("ticket.purchased").json()["events"], bought["events"], "bought once");
    story.end();
}
