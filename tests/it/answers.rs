//! Answers about what is not the usual case: pipelines that were deleted or that others need, audits that differ, events that the job made.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::changes::{SEVERITIES, put};
use crate::http_unit::Server;
use crate::support::job::{Job, Setup, until};
use crate::support::traffic::{civic_safety, events, send_all};

/// Reads what `SEVERITIES` makes of its closed windows.
const CRIMES: &str = "
pipeline: crime_counts
topics: {crimes: ~}
windows:
  by_crime: {every: 1m, metrics: {n: count()}}
";

#[test]
fn what_is_deleted_needed_or_made_by_the_job_is_told_of() {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(2, dir.path());
    let job = Job::start_in(dir, setup);
    let client = &job.client;
    assert_eq!(put(client, "severities", SEVERITIES).0, 201);
    assert_eq!(put(client, "crime_counts", CRIMES).0, 201);
    send_all(client, &events(&civic_safety(), 3, 3_000));
    job.wait_settled();
    let of = |query: &str| client.windows(query);
    until("a window has closed", || !of("&pipeline=severities&window=by_crime&closed=true").is_empty());
    until("a row was made of it", || !client.json("/topics/crimes/events")["events"].as_array().unwrap().is_empty());

    // What the job has made is found by the id that it has.
    let made = client.json("/topics/crimes/events?limit=1")["events"][0].clone();
    let id = made["event"]["event_id"].as_str().unwrap();
    let fate = || {
        let story = client.json(&format!("/events/{id}"));
        let found = &story["events"][0];
        let about = (&found["event_id"], &found["offset"], &found["topic"], &found["event"]);
        assert_eq!(about, (&json!(id), &made["offset"], &json!("crimes"), &made["event"]));
        found["fate"].clone()
    };
    until("it is counted, and in a row", || fate() == "counted");

    // Each row has the audit of its own pipeline.
    let (status, answer) = put(client, "severities", &format!("{SEVERITIES}audit: none\n"));
    assert_eq!(status, 200, "{answer}");
    let audit = |pipeline: &str| {
        let rows = of(&format!("&pipeline={pipeline}"));
        let id = rows[0]["metric_id"].as_str().unwrap();
        client.json(&format!("/windows/{id}/events"))["audit"].clone()
    };
    assert_eq!((audit("severities"), audit("civic_safety")), (json!("none"), json!("full")));
    assert_eq!(fate(), "counted");

    // One that another needs cannot go, and it is said which.
    let (status, answer) = client.delete("/pipelines/severities");
    assert_eq!(status, 409, "{answer}");
    let conflict = &answer["conflicts"][0];
    assert!(conflict["what"].as_str().unwrap().contains("crime_counts"), "{answer}");
    assert!(conflict["reason"].as_str().unwrap().contains("crimes"), "{answer}");
    assert!(conflict["way_out"].as_str().unwrap().contains("severities"), "{answer}");

    // Of one that went the store has all.
    assert_eq!(client.delete("/pipelines/crime_counts").0, 200);
    job.wait_settled();
    let before = of("&pipeline=severities&window=by_severity").len();
    assert_eq!(client.delete("/pipelines/severities").0, 200);
    job.wait_settled();
    until("its rows are closed", || of("&pipeline=severities").iter().all(|row| row["closed"] == true));
    let after = of("&pipeline=severities&window=by_severity");
    assert!(after.len() >= before && before > 0, "{before}, then {}", after.len());
    assert!(after.iter().all(|row| row["pipeline"] == "severities" && row["window"] == "by_severity"), "{after:?}");
    assert_eq!(client.json("/alerts?pipeline=severities&alert=any")["alerts"], json!([]));
    assert_eq!(client.json("/webhooks?pipeline=severities")["deliveries"], json!([]));
    for (path, says) in [
        ("/windows?pipeline=never", "allowed are civic_safety"),
        ("/alerts?pipeline=never", "allowed are civic_safety"),
        ("/windows?pipeline=severities&group.region=RM", "leave group"),
    ] {
        let (status, body) = client.get(path);
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 400, "{path}: {body}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path}: {body}");
    }
}

/// What the API's document rules out is refused, and what it allows is taken.
#[test]
fn bodies_and_queries_are_what_the_document_says() {
    let server = Server::usual();
    let poll = "/topics/security.incident/groups/g/poll";
    let commit = "/topics/security.incident/groups/g/commit";
    let cases: [(&str, &str, u16, &str); 15] = [
        // An array is no object, though it has an object's members in their order.
        (poll, "[\"m\"]", 400, "does not begin with {"),
        (commit, "[\"m\", 1]", 400, "does not begin with {"),
        ("/generator", "[null, null]", 400, "does not begin with {"),
        ("/generator/restart", "[]", 400, "does not begin with {"),
        ("/generator", "{\"burst\": [\"security.incident\", 0.5, 3]}", 400, "sequence"),
        ("/pipelines/check", "[\"pipeline: p\"]", 400, "does not begin with {"),
        // A whole number is one however it is written.
        (poll, "{\"member\": \"m\", \"max\": 5.0, \"wait_ms\": 0.0, \"from\": 0.0}", 200, ""),
        (poll, "{\"member\": \"m\", \"max\": 5.5}", 400, "5.5 is not a whole number"),
        (poll, "{\"member\": \"m\", \"max\": -5}", 400, "-5 is not a whole number"),
        (poll, "{\"member\": \"m\", \"from\": 0.5}", 400, "from=\"0.5\""),
        ("/generator", "{\"rate\": 1, \"late_by_ms\": 1e3, \"seed\": 7.0}", 200, ""),
        ("/generator", "{\"late_by_ms\": 1.5}", 400, "1.5 is not a whole number"),
        // No store holds such an offset.
        (poll, "{\"member\": \"n\", \"from\": 9223372036854775808}", 400, "allowed are beginning"),
        (poll, "{\"member\": \"n\", \"received\": 9223372036854775808}", 400, "from 0 to 9223372036854775807"),
        (commit, "{\"member\": \"m\", \"offset\": 1e1}", 409, "10"),
    ];
    for (path, body, status, says) in cases {
        let answer = server.post(path, "application/json", body.as_bytes());
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(answer.body.contains(&says.replace('"', "\\\"")), "{path} {body}: {answer:?}");
    }
    for query in ["/events?after=x", "/events?after=-1", "/topics/security.incident/events?from=9223372036854775808"] {
        server.get(query).assert_problem(400, "allowed");
    }
    server
        .call("GET", "/topics/security.incident/stream?from=nowhere", &[("Last-Event-ID", "0")], b"")
        .assert_problem(400, "allowed");
}
