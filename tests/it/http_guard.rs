//! Who is let in and who is turned away: tokens and their roles, hosts, other sites' pages, clients that send too much, that are slow or that never read, and what
//! every answer tells a browser.

use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::http_unit::{Answer, Headers, INCIDENTS, JSON, NDJSON, Server, Setup, one_answer};
use crate::support::job::until;
use crate::support::traffic::{civic_safety, events};

const GROUP: &str = "/topics/security.incident/groups/readers";

#[test]
fn tokens_are_asked_for() {
    let server = Server::start(Setup { tokens: vec!["first-token", "second-token"], ..Setup::default() });
    let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
    let (right, no_user, colon, wrong) =
        (basic("fluent:second-token"), basic(":second-token"), basic("a:b:second-token"), basic("second-token:x"));
    let cases: &[(&str, Headers, u16)] = &[
        ("/", &[], 200),
        ("/assets/app.js", &[], 200),
        ("/assets/no-such-file.js", &[], 404),
        ("/healthz", &[], 200),
        ("/readyz", &[], 200),
        ("/ledger", &[], 401),
        ("/metrics", &[], 401),
        ("/live", &[], 401),
        ("/no/such", &[], 401),
        ("/healthz/../ledger", &[], 401),
        ("//", &[], 401),
        ("/ledger", &[("Authorization", "Bearer first-token")], 200),
        ("/ledger", &[("Authorization", "bearer second-token"), ("Host", "localhost")], 400),
        ("/ledger", &[("Authorization", "bearer second-token")], 200),
        ("/ledger", &[("Authorization", "Bearer second-tokeN")], 401),
        ("/ledger", &[("Authorization", "Bearer second-toke")], 401),
        ("/ledger", &[("Authorization", "Bearer second-tokens")], 401),
        ("/ledger", &[("Authorization", "Bearer ")], 401),
        ("/ledger", &[("Authorization", "Bearer")], 401),
        ("/ledger", &[("Authorization", "second-token")], 401),
        ("/ledger", &[("Authorization", &right)], 200),
        ("/ledger", &[("Authorization", &no_user)], 200),
        ("/ledger", &[("Authorization", &colon)], 401),
        ("/ledger", &[("Authorization", &wrong)], 401),
        ("/ledger", &[("Authorization", "Basic second-token")], 401),
        ("/ledger", &[("Authorization", "Basic c2Vjb25kLXRva2Vu")], 401),
        ("/ledger", &[("Authorization", "Bearer first-token"), ("Authorization", "Bearer first-token")], 401),
        ("/ledger?access_token=first-token", &[("Authorization", "Bearer first-token")], 400),
        ("/?token=first-token", &[], 400),
    ];
    for (path, headers, status) in cases {
        let answer = server.call("GET", path, headers, b"");
        assert_eq!(answer.status, *status, "{path} {headers:?} {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), *status == 401, "{answer:?}");
    }
    let answer = server.call("POST", "/events", &[("Content-Type", JSON)], b"{}");
    answer.assert_problem(401, "API_TOKENS");
    // With tokens the server may stand under any name.
    let foreign = "GET /ledger HTTP/1.1\r\nHost: caudal.example\r\nAuthorization: Bearer first-token\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(foreign.as_bytes()).status, 200);
}

/// What each role may do, and that a refusal names the one that is wanting. 0: whatever comes of a call that is let in.
#[test]
fn a_token_does_what_its_role_allows() {
    let tokens = vec!["viewer:eyes", "sender:hands", "operator:boss", "plain", "viewer:both", "sender:both"];
    let server = Server::start(Setup { tokens, pipeline: "pipelines/user_activity", ..Setup::default() });
    let (poll, commit) = (format!("{GROUP}/poll"), format!("{GROUP}/commit"));
    let calls = [
        ("GET", "/ledger", "viewer"),
        ("HEAD", "/windows", "viewer"),
        ("GET", "/metrics", "viewer"),
        ("GET", "/topics/security.incident/events", "viewer"),
        ("GET", GROUP, "viewer"),
        ("GET", "/generator/log", "viewer"),
        ("POST", INCIDENTS, "sender"),
        ("POST", "/events?ack=applied", "sender"),
        ("POST", &poll, "sender"),
        ("POST", &commit, "sender"),
        // A route of this pipeline file, and a path that nobody has.
        ("POST", "/publish", "sender"),
        ("POST", "/no/such", "sender"),
        ("PUT", "/no/such", "sender"),
        ("DELETE", GROUP, "operator"),
        ("POST", "/dead-letters/1/retry", "operator"),
        ("DELETE", "/dead-letters/1", "operator"),
        ("POST", "/dead-letters/retry", "operator"),
        ("POST", "/generator", "operator"),
        ("DELETE", "/generator", "operator"),
        ("POST", "/pipelines/check", "operator"),
        ("PUT", "/pipelines/x", "operator"),
        ("DELETE", "/pipelines/x", "operator"),
        ("POST", "/webhooks/1/retry", "operator"),
        ("POST", "/ledger", "operator"),
    ];
    let bearers: [(&str, &[&str]); 5] = [
        ("eyes", &["viewer"]),
        ("hands", &["sender"]),
        ("both", &["viewer", "sender"]),
        ("boss", &["viewer", "sender", "operator"]),
        ("plain", &["viewer", "sender", "operator"]),
    ];
    for (method, path, needed) in calls {
        for (token, roles) in bearers {
            let bearer = format!("Bearer {token}");
            let answer = server.call(method, path, &[("Authorization", &bearer), ("Content-Type", JSON)], b"{");
            if roles.contains(&needed) {
                assert!(!matches!(answer.status, 0 | 401 | 403), "{method} {path} by {token}: {answer:?}");
            } else if method == "HEAD" {
                assert_eq!(answer.status, 403, "{method} {path} by {token}");
            } else {
                answer.assert_problem(403, needed);
                assert_eq!(answer.json()["role"], needed, "{method} {path} by {token}");
            }
        }
    }
    // What clients ask before they send: Vector by HEAD, web hooks by OPTIONS.
    for (method, path) in [("OPTIONS", "/events"), ("HEAD", "/events"), ("HEAD", INCIDENTS)] {
        for token in ["eyes", "hands"] {
            let bearer = format!("Bearer {token}");
            let answer = server.call(method, path, &[("Authorization", &bearer)], b"");
            assert!(!matches!(answer.status, 0 | 401 | 403), "{method} {path} by {token}: {answer:?}");
        }
        assert_eq!(server.call(method, path, &[], b"").status, 401, "{method} {path} without a token");
    }
    assert_eq!(server.call("GET", "/ledger", &[("Authorization", "Bearer plain")], b"").json()["accepted"], 0);
}

/// Status of a bare request.
fn asked(server: &Server, request: &str, host: &str, more: &str) -> u16 {
    server.raw(format!("{request}\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n").as_bytes()).status
}

#[test]
fn hosts_and_origins_are_those_of_the_settings() {
    let usual = Server::usual();
    let named = Server::start(Setup { hosts: vec!["caudal.example", "2001:db8::1"], ..Setup::default() });
    let tokened = Server::start(Setup { hosts: vec!["caudal.example"], tokens: vec!["hush"], ..Setup::default() });
    let get = "GET /ledger HTTP/1.1";
    let token = "Authorization: Bearer hush\r\n";
    for (host, usually, with_hosts, with_both) in [
        ("localhost", 200, 200, 200),
        ("127.0.0.1:5000", 200, 200, 200),
        ("[::1]:5000", 200, 200, 200),
        ("caudal.example", 421, 200, 200),
        ("Caudal.Example:443", 421, 200, 200),
        ("[2001:db8::1]:5000", 421, 200, 421),
        ("evil.example", 421, 421, 421),
        ("caudal.example.evil.example", 421, 421, 421),
        ("evil.example:80:caudal.example", 421, 421, 421),
        ("", 421, 421, 421),
    ] {
        assert_eq!(asked(&usual, get, host, ""), usually, "{host}");
        assert_eq!(asked(&named, get, host, ""), with_hosts, "{host}");
        assert_eq!(asked(&tokened, get, host, token), with_both, "{host}");
    }
    // A whole address counts more than the header.
    assert_eq!(asked(&usual, "GET http://localhost/ledger HTTP/1.1", "localhost", ""), 200);
    assert_eq!(asked(&usual, "GET http://evil.example/ledger HTTP/1.1", "localhost", ""), 421);
    for (version, expected) in [("1.0", 200), ("1.1", 400)] {
        let request = format!("GET /ledger HTTP/{version}\r\nConnection: close\r\n\r\n");
        assert_eq!(usual.raw(request.as_bytes()).status, expected, "HTTP/{version} without Host");
    }
    let post = "POST /events HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2";
    let posted = |server: &Server, host: &str, more: &str| {
        server.raw(format!("{post}\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n{{}}").as_bytes()).status
    };
    for (host, more, expected) in [
        ("localhost", "", 202),
        ("localhost:5000", "Origin: http://localhost:5000\r\n", 202),
        // Another server of this machine is another site.
        ("localhost:5000", "Origin: http://localhost:3000\r\n", 403),
        ("localhost:5000", "Origin: http://localhost\r\n", 403),
        ("caudal.example", "Origin: https://caudal.example\r\n", 202),
        // Behind a proxy that asks under the address that it knows.
        ("127.0.0.1:5000", "Origin: https://caudal.example\r\n", 202),
        ("caudal.example", "Origin: https://evil.example\r\n", 403),
        ("caudal.example", "Origin: null\r\n", 403),
        ("caudal.example", "Origin: caudal.example\r\n", 403),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("localhost", "Sec-Fetch-Site: same-origin\r\n", 202),
        ("localhost", "Sec-Fetch-Site: none\r\n", 202),
        // Another port of this host.
        ("localhost", "Sec-Fetch-Site: same-site\r\n", 403),
        ("localhost", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("localhost", "Origin: http://localhost\r\n", 202),
        ("localhost", "Origin: http://localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("localhost", "Origin: http://localhost\r\nOrigin: http://localhost\r\n", 403),
        // Let in: what comes first is the interim answer.
        ("localhost", "Expect: 100-CONTINUE\r\n", 100),
        ("localhost", "Expect: 200-ok\r\n", 417),
    ] {
        assert_eq!(posted(&named, host, more), expected, "{host} {more}");
    }
}

/// A form on another site's page, as each browser sends one: all three types that need no permission, with and without the newer headers.
#[test]
fn a_form_of_another_site_posts_nothing() {
    let server = Server::usual();
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
        for site in [("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
            for path in ["/events", "/generator", "/dead-letters/retry"] {
                let answer = server.call("POST", path, &[("Content-Type", kind), site], b"{}");
                answer.assert_problem(403, "other sites");
            }
        }
    }
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
    assert_eq!(server.get("/generator").json()["running"], false);
}

#[test]
fn every_answer_tells_a_browser_its_bounds() {
    let server = Server::start(Setup { tokens: vec!["hush"], ..Setup::default() });
    let token = ("Authorization", "Bearer hush");
    let answers = [
        server.get("/"),
        server.get("/assets/app.js"),
        server.get("/ledger"),
        server.call("GET", "/ledger", &[token], b""),
        server.call("GET", "/no/such", &[token], b""),
        server.call("POST", "/events", &[token, ("Content-Type", JSON)], b"{}"),
        server.call("GET", "/events", &[token, ("Accept", "text/html")], b""),
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 401, 200, 404, 202, 200]);
    for answer in &answers {
        let of = |name: &str| answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
        assert_eq!(of("x-content-type-options"), "nosniff");
        assert_eq!(of("cross-origin-resource-policy"), "same-origin");
        assert!(of("cache-control").starts_with("no-"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("strict-transport-security"), None, "plain HTTP cannot promise https");
        assert_eq!(answer.header("server"), None);
        if answer.status == 202 {
            assert_eq!(of("content-type"), JSON, "no page is made of what is posted");
            continue;
        }
        assert_eq!(of("referrer-policy"), "no-referrer");
        assert_eq!(of("cross-origin-opener-policy"), "same-origin");
        assert!(of("permissions-policy").contains("camera=()"));
        let policy: Vec<&str> = of("content-security-policy").split("; ").collect();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(&part), "{part}: {policy:?}");
        }
        assert!(!policy.iter().any(|part| part.contains("unsafe") || part.contains('*')), "{policy:?}");
    }
}

#[test]
fn a_client_that_sends_too_much_is_told_when_to_come_again() {
    let server = Server::start(Setup { rate_max: NonZeroU32::new(20), ..Setup::default() });
    let answers: Vec<Answer> = (0..60).map(|_| server.get("/ledger")).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(answers[..20].iter().all(|answer| answer.status == 200), "a second's worth is let in at once");
    assert!(!refused.is_empty(), "60 requests took more than two seconds");
    for answer in refused {
        answer.assert_problem(429, "HTTP_RATE_MAX = 20");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // Whoever watches the job sees it all the same.
    assert!((0..60).all(|_| server.get("/healthz").status == 200));
    until("it is let in again", || server.get("/ledger").status == 200);
}

/// hyper takes such a body as chunked and ends the connection: what a proxy might have taken for the body's rest is never read as a request.
#[test]
fn a_request_with_both_lengths_ends_its_connection() {
    let server = Server::usual();
    let hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for lengths in [
        "Content-Length: 7\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 7",
        "Transfer-Encoding: chunked\r\nContent-Length: 7\r\nConnection: keep-alive",
    ] {
        let request =
            format!("POST /events HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{hidden}");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{lengths}: {text}");
        assert!(!text.contains("\"live\""), "{lengths}: {text}");
        assert!(text.starts_with("HTTP/1.1 202") || text.starts_with("HTTP/1.1 400"), "{lengths}: {text}");
    }
    for coding in ["chunked, identity", "gzip", "identity", "chunked, chunked, gzip"] {
        let request = format!(
            "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        );
        assert_eq!(server.raw(request.as_bytes()).status, 400, "{coding}");
    }
    let old = "POST /events HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(server.raw(old.as_bytes()).status, 400, "HTTP/1.0 knows no chunks");
}

/// A length that is too small: the event is cut, and its rest is no request. One that is too large is waited for, and then refused.
#[test]
fn lying_lengths_put_nothing_into_the_log() {
    let server = Server::start(Setup { body_timeout: Duration::from_millis(300), ..Setup::default() });
    let body = r#"{"a":"GET /ledger HTTP/1.1"}"#;
    let post = |length: usize| {
        format!(
            "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let mut stream = server.connect();
    stream.write_all(post(body.len() - 3).as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let first = one_answer(&mut stream);
    assert_eq!(first.status, 400, "{first:?}");
    if first.header("connection") != Some("close") {
        assert!(matches!(one_answer(&mut stream).status, 0 | 400));
    }
    server.raw(post(body.len() + 3).as_bytes()).assert_problem(408, "too slowly");
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

#[test]
fn paths_lead_nowhere_but_to_calls() {
    let server = Server::usual();
    for path in [
        "/../../etc/passwd",
        "/./../etc/passwd",
        "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/assets/../../Cargo.toml",
        "/assets/%2e%2e%2f%2e%2e%2fCargo.toml",
        "/assets/..%5c..%5cCargo.toml",
        "/%00",
        "/assets/style.css%00.html",
        "/pipelines/..%2f..%2fetc%2fpasswd",
        "/views/%00",
        "/windows/%00",
    ] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}: {answer:?}");
        assert!(!answer.body.contains("root:") && !answer.body.contains("[package]"), "{path}: {answer:?}");
    }
}

/// A hundred headers are too many, a thousand are too, and many small ones may not add up.
#[test]
fn headers_are_bounded_in_number_and_size() {
    let server = Server::usual();
    let with = |count: usize, bytes: usize| {
        let mut request = "GET /ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_owned();
        for n in 0..count {
            write!(request, "X-{n}: {}\r\n", "y".repeat(bytes)).unwrap();
        }
        server.raw((request + "\r\n").as_bytes()).status
    };
    assert_eq!(with(90, 1), 200);
    assert_eq!(with(101, 1), 431);
    assert_eq!(with(1_000, 1), 431);
    assert_eq!(with(1, 20_000), 200);
    assert_eq!(with(1, 40_000), 431);
    assert_eq!(with(60, 1_000), 431);
}

/// A stream that nobody reads holds its connection for HTTP_WRITE_TIMEOUT and no longer, and what it has not sent is let go of.
#[test]
fn a_client_that_never_reads_is_cut_off() {
    let server =
        Server::start(Setup { connections_max: 1, write_timeout: Duration::from_millis(300), ..Setup::default() });
    // More than two sockets and the stream's own buffers hold.
    let bodies = events(&civic_safety(), 3, 60_000);
    for body in &bodies {
        // The connection before may still have the only place.
        until("the body is taken", || server.post("/events", NDJSON, body).status == 202);
    }
    let mut reader = server.connect();
    until("the stream begins", || {
        reader = server.connect();
        let mut first = [0; 12];
        // One that is turned away may be closed before it has asked.
        let asked = reader.write_all(b"GET /log HTTP/1.1\r\nHost: localhost\r\n\r\n");
        asked.and_then(|()| reader.read_exact(&mut first)).is_ok() && &first == b"HTTP/1.1 200"
    });
    // It has the only place, then it has none.
    until("others are served", || server.get("/ledger").status == 200);
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    let all: usize = bodies.iter().map(Vec::len).sum();
    assert!(rest.len() < all, "all {all} bytes were sent, so nobody was cut off");
}
