//! What only PostgreSQL can do wrong: it is killed, restarted, cut off at any byte of COMMIT, refuses, hangs; and TLS.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use caudal::core::plan::{ColumnId, Metric};
use caudal::core::row::{Value, WindowRow};
use caudal::core::units::{Epoch, Generation};
use caudal::store::target::{PostgresConfig, SslMode, Target};
use caudal::store::writer::{Note, Outcome, commit_once, spawn};
use caudal::store::{Leftover, Store, StoreError};
use uuid::Uuid;

use super::proxy::{ANSWER_BYTES, COMMIT, Cut, Proxy};
use super::{LOG, all, first, numbered, plan, plan_with, row};
use crate::support::job::until;
use crate::support::postgres::{Cluster, Stop};

/// Far longer than anything here takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(2);

fn open(config: &PostgresConfig) -> Result<Box<dyn Store>, StoreError> {
    Target::Postgres(config.clone()).store(&plan())
}

/// All epochs up to this one are in it, once, and nothing else.
fn holds(cluster: &Cluster, config: &PostgresConfig, epochs: u64) {
    let mut client = cluster.client(&config.name);
    let sql = "SELECT (SELECT count(*) FROM metrics_out), (SELECT event_count FROM metrics_out WHERE window_start = 'epoch'),
                      (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM events_in), (SELECT count(*) FROM trace),
                      (SELECT epoch FROM progress)";
    let counts = client.query_one(sql, &[]).unwrap();
    let counts: Vec<i64> = (0..6).map(|n| counts.get(n)).collect();
    let epochs = epochs as i64;
    assert_eq!(counts, [epochs + 1, epochs, epochs, epochs, epochs, epochs]);
}

#[test]
fn cut_at_every_byte_of_commit_and_of_its_answer() {
    let cluster = Cluster::start();
    let direct = cluster.create_database();
    let proxy = Proxy::to(direct.port);
    let config = PostgresConfig { port: proxy.port(), ..direct.clone() };
    let cuts = (0..=COMMIT.len()).map(Cut::Commit).chain((0..ANSWER_BYTES).map(Cut::Answer));
    let mut epoch = 0;
    for cut in cuts {
        epoch += 1;
        let mut store = open(&config).unwrap();
        proxy.cut(cut);
        let lost = store.commit(&numbered(epoch));
        assert!(proxy.is_cut());
        assert!(matches!(lost, Err(StoreError::Indeterminate(_))), "{cut:?}: {lost:?}");
        // On the lost connection nothing can be learned; on a new one everything.
        let outcome = commit_once(store.as_mut(), Generation(1), &numbered(epoch));
        assert!(matches!(outcome, Ok(Outcome::Away(_))), "{cut:?}: {outcome:?}");
        let mut store = open(&config).unwrap();
        let progress = store.claim(Generation(1)).unwrap().map(|p| p.epoch);
        match cut {
            Cut::Commit(kept) if kept < COMMIT.len() => {
                assert_eq!(progress, (epoch > 1).then(|| Epoch(epoch - 1)), "{cut:?}");
            }
            // The server may find the connection lost before it comes to COMMIT.
            Cut::Commit(_) => {}
            Cut::Answer(_) => assert_eq!(progress, Some(Epoch(epoch)), "{cut:?}"),
        }
        let outcome = commit_once(store.as_mut(), Generation(1), &numbered(epoch));
        assert_eq!(outcome.unwrap(), Outcome::Committed, "{cut:?}");
    }
    holds(&cluster, &direct, epoch);
}

/// A trigger on `metrics_out` that does this to the transaction, in the statement or at COMMIT.
fn sabotage(cluster: &Cluster, config: &PostgresConfig, when: &str, what: &str) {
    let timing = match when {
        "statement" => "CREATE TRIGGER sabotage AFTER INSERT ON metrics_out",
        "commit" => "CREATE CONSTRAINT TRIGGER sabotage AFTER INSERT ON metrics_out DEFERRABLE INITIALLY DEFERRED",
        other => panic!("{other} is no time"),
    };
    let sql = format!(
        "CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$;
         {timing} FOR EACH ROW EXECUTE FUNCTION sabotage();"
    );
    cluster.client(&config.name).batch_execute(&sql).unwrap();
}

#[test]
fn whatever_the_server_says_is_understood() {
    let cluster = Cluster::start();
    let raise = |code: &str| format!("RAISE EXCEPTION 'no' USING ERRCODE = '{code}'");
    let terminated = "PERFORM pg_terminate_backend(pg_backend_pid())".to_owned();
    // disk full, out of memory, serialization, deadlock, statement timeout, read-only, lock: all pass
    let passing = ["53100", "53200", "40001", "40P01", "57014", "25006", "55P03"];
    let lasting = ["23514", "42501", "22P02", "XX001"];
    let mut table = Vec::new();
    for when in ["statement", "commit"] {
        table.extend(passing.map(|code| (when, raise(code), "unavailable")));
        table.extend(lasting.map(|code| (when, raise(code), "broken")));
    }
    table.push(("statement", terminated.clone(), "unavailable"));
    table.push(("commit", terminated, "indeterminate"));
    table.push(("commit", raise("40003"), "indeterminate"));
    let config = cluster.create_database();
    let mut store = open(&config).unwrap();
    for (when, what, expected) in table {
        sabotage(&cluster, &config, when, &what);
        let refused = store.commit(&numbered(1));
        let found = match &refused {
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Broken(_)) => "broken",
            Err(StoreError::Indeterminate(_)) => "indeterminate",
            _ => "something else",
        };
        assert_eq!(found, expected, "{what} in {when}: {refused:?}");
        cluster.client(&config.name).batch_execute("DROP FUNCTION sabotage CASCADE").unwrap();
        store = open(&config).unwrap();
        assert_eq!(store.progress().unwrap(), None);
    }
    store.commit(&numbered(1)).unwrap();
    holds(&cluster, &config, 1);
}

#[test]
fn the_writer_goes_on_when_the_server_is_killed_stopped_and_started() {
    const EPOCHS: u64 = 400;
    let cluster = Cluster::start();
    let config = cluster.create_database();
    drop(open(&config).unwrap());
    let mut reader = Target::Postgres(config.clone()).reader(&plan()).unwrap();
    let (sender, notes) = channel();
    let opened = config.clone();
    let note = move |note| drop(sender.send(note));
    let (commits, thread) = spawn(move || open(&opened), |_| Ok(()), None, Generation(1), note);
    let next = || notes.recv_timeout(PATIENCE).expect("the writer says something");
    let (mut committed, mut away) = (0, 0);
    for epoch in 1..=EPOCHS {
        let fault = match epoch {
            100 | 300 => Some(Stop::Immediate),
            200 => Some(Stop::Fast),
            _ => None,
        };
        fault.inspect(|how| cluster.stop(*how));
        commits.push(numbered(epoch));
        let Some(how) = fault else { continue };
        // Nothing can be committed now, and the writer says so.
        loop {
            match next() {
                Note::Committed(to, _) => committed = to.epoch.0,
                Note::Away(_) => break,
                Note::Back => {}
                Note::Failed(error) => panic!("{how:?}: {error}"),
            }
        }
        away += 1;
        assert!(matches!(reader.windows(&all()), Err(StoreError::Unavailable(_))));
        cluster.start_again();
        let seen = reader.window(Uuid::from_u128(1)).unwrap().map_or(0, |row| row.event_count);
        assert!(seen >= committed, "{how:?}: {seen} are there of {committed}");
        // On a connection of its own again, and in the middle of what waits, before the next fault.
        let to = loop {
            match next() {
                Note::Committed(to, _) => break to,
                // It was stopped before the writer had met it.
                Note::Back => {}
                note => panic!("{how:?}: it does not go on: {note:?}"),
            }
        };
        committed = to.epoch.0;
    }
    commits.close();
    thread.join().unwrap();
    for note in notes {
        let Note::Committed(to, _) = note else { panic!("{note:?}") };
        assert!(to.epoch.0 > committed);
        committed = to.epoch.0;
    }
    assert_eq!((committed, away), (EPOCHS, 3));
    holds(&cluster, &config, EPOCHS);
}

#[test]
fn connections_cut_by_an_administrator_lose_nothing() {
    const EPOCHS: u64 = 300;
    let cluster = Cluster::start();
    let config = cluster.create_database();
    drop(open(&config).unwrap());
    let (sender, notes) = channel();
    let opened = config.clone();
    let (commits, thread) =
        spawn(move || open(&opened), |_| Ok(()), None, Generation(1), move |note| drop(sender.send(note)));
    let mut admin = cluster.client(&config.name);
    for epoch in 1..=EPOCHS {
        commits.push(numbered(epoch));
        if epoch % 20 == 0 {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caudal'";
            admin.query(sql, &[]).unwrap();
        }
    }
    commits.close();
    thread.join().unwrap();
    let failed: Vec<Note> = notes.iter().filter(|note| matches!(note, Note::Failed(_))).collect();
    assert!(failed.is_empty(), "{failed:?}");
    holds(&cluster, &config, EPOCHS);
}

/// Somebody has made a view of a pipeline's view: the rows go, the view stays, and the job goes on.
#[test]
fn a_view_that_another_reads_stays_when_its_rows_go() {
    let cluster = Cluster::start();
    let config = cluster.create_database();
    let mut store = open(&config).unwrap();
    store.commit(&first(vec![row(1, 0, "RM")])).unwrap();
    let mut client = cluster.client(&config.name);
    client.batch_execute("CREATE VIEW mine AS SELECT region FROM civic_safety_by_region").unwrap();
    let left = Leftover { log: LOG, pipeline: "civic_safety".to_owned(), views: Vec::new() };
    store.forget(Generation(1), &left).unwrap();
    let mut count = |sql: &str| client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(count("SELECT count(*) FROM metrics_out"), 0);
    assert_eq!(count("SELECT count(*) FROM mine"), 0);
    assert_eq!(count("SELECT count(*) FROM pg_views WHERE viewname LIKE 'civic_safety_%'"), 1, "the others go");
    // Whoever comes by the name again finds it.
    drop(open(&config).unwrap());
    assert_eq!(count("SELECT count(*) FROM pg_views WHERE viewname LIKE 'civic_safety_%'"), 3);
}

#[test]
fn tls_as_db_sslmode_says() {
    use SslMode::{Disable, Prefer, Require, VerifyFull};
    let cluster = Cluster::start();
    let config = cluster.create_database();
    let check = |with_tls: bool, mode: SslMode, encrypted: Option<bool>| {
        let result = open(&PostgresConfig { ssl: mode, ..config.clone() });
        let sql = "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = 'caudal'";
        let mut found: Option<bool> = None;
        // The connection before it may take a moment to go.
        until("there is this connection alone, or none", || {
            let row = cluster.client(&config.name).query_one(sql, &[]).unwrap();
            found = row.get(1);
            row.get::<_, i64>(0) == i64::from(result.is_ok())
        });
        match (&result, encrypted) {
            (Ok(_), Some(expected)) => assert_eq!(found, Some(expected), "{mode:?}, server with TLS: {with_tls}"),
            (Err(StoreError::Broken(_)), None) => {}
            (result, _) => panic!("{mode:?}, server with TLS: {with_tls}: {:?}", result.as_ref().err()),
        }
    };
    for (mode, encrypted) in [(Disable, Some(false)), (Prefer, Some(false)), (Require, None), (VerifyFull, None)] {
        check(false, mode, encrypted);
    }
    let certificate = cluster.certificate();
    cluster.stop(Stop::Fast);
    cluster.start_again();
    // Nobody signed the certificate: that is a fault only where it is to be verified.
    for (mode, encrypted) in [(Disable, Some(false)), (Prefer, Some(true)), (Require, Some(true)), (VerifyFull, None)] {
        check(true, mode, encrypted);
    }
    // In a process that takes it for an authority. It is for `localhost`, and for no other name of this machine.
    for (host, works) in [("localhost", true), ("127.0.0.1", false)] {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::postgres::verify_full_in_a_process_of_its_own", "--ignored"])
            .env("SSL_CERT_FILE", &certificate)
            .env("TEST_PG", format!("{host} {} {} {}", config.port, config.user, config.name))
            .env("TEST_PG_PASSWORD", &config.password)
            .output()
            .unwrap();
        assert_eq!(child.status.success(), works, "{host}: {}", String::from_utf8_lossy(&child.stdout));
    }
}

#[test]
#[ignore = "run by tls_as_db_sslmode_says, which sets its environment"]
fn verify_full_in_a_process_of_its_own() {
    let variable = |name| std::env::var(name).unwrap();
    let address = variable("TEST_PG");
    let [host, port, user, name] = address.split(' ').collect::<Vec<_>>()[..] else { panic!("{address}") };
    let config = PostgresConfig {
        user: user.to_owned(),
        password: variable("TEST_PG_PASSWORD"),
        host: host.to_owned(),
        port: port.parse().unwrap(),
        name: name.to_owned(),
        ssl: SslMode::VerifyFull,
    };
    open(&config).unwrap();
}

#[test]
fn who_is_refused_and_who_is_asked_to_wait() {
    let cluster = Cluster::start();
    let right = cluster.create_database();
    let with = |change: fn(&mut PostgresConfig)| {
        let mut config = right.clone();
        change(&mut config);
        config
    };
    for config in [
        with(|c| c.password = "wrong".to_owned()),
        with(|c| c.password = String::new()),
        with(|c| c.user = "nobody".to_owned()),
        with(|c| c.name = "nothing".to_owned()),
    ] {
        let refused = open(&config).err();
        assert!(matches!(refused, Some(StoreError::Broken(_))), "{config:?}: {refused:?}");
        let why = refused.unwrap().to_string();
        assert!(why.contains("password") || why.contains("does not exist"), "says what to mend: {why}");
    }
    let gone = PostgresConfig { host: "caudal.invalid".to_owned(), ..right.clone() };
    assert!(matches!(open(&gone).err(), Some(StoreError::Unavailable(_))));
    // Over the Unix socket, where no TLS is, whatever the mode.
    for ssl in [SslMode::Disable, SslMode::Require] {
        open(&PostgresConfig { host: cluster.socket(), ssl, ..right.clone() }).unwrap();
    }
    cluster.stop(Stop::Fast);
    assert!(matches!(open(&right).err(), Some(StoreError::Unavailable(_))));
}

#[test]
fn views_have_types_and_follow_their_plan() {
    let cluster = Cluster::start();
    let config = cluster.create_database();
    let mut client = cluster.client(&config.name);
    let target = Target::Postgres(config);
    let huge = WindowRow {
        values: vec![Value::Integer(3), Value::Integer(1 << 70), Value::Number(0.1)],
        ..row(1, 12, "it's")
    };
    target.store(&plan()).unwrap().commit(&first(vec![huge])).unwrap();
    let mut columns = || -> Vec<(String, String)> {
        let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns
                   WHERE table_name = 'civic_safety_by_region' ORDER BY ordinal_position";
        client.query(sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let pairs =
        |columns: &[(&str, &str)]| columns.iter().map(|&(n, t)| (n.to_owned(), t.to_owned())).collect::<Vec<_>>();
    let (before, after) = (
        [
            ("window_start", "timestamp with time zone"),
            ("window_end", "timestamp with time zone"),
            ("region", "text"),
            ("code", "text"),
        ],
        [("event_count", "bigint"), ("revision", "bigint"), ("closed", "boolean"), ("metric_id", "uuid")],
    );
    let metrics = [("n", "bigint"), ("total", "numeric"), ("mean_age", "double precision")];
    assert_eq!(columns(), pairs(&[&before[..], &metrics, &after].concat()));

    // Opened again, the view is the same one: nobody who reads it is waited for.
    let mut client = cluster.client("caudal_1");
    let mut oid = || -> u32 { client.query_one("SELECT 'civic_safety_by_region'::regclass::oid", &[]).unwrap().get(0) };
    let made = oid();
    target.store(&plan()).unwrap();
    assert_eq!(oid(), made);
    let changed = plan_with(&[("n", Metric::Count), ("least", Metric::Min(ColumnId(2)))]);
    target.store(&Arc::new(changed)).unwrap();
    assert_ne!(oid(), made);
    assert_eq!(columns(), pairs(&[&before[..], &[("n", "bigint"), ("least", "bigint")], &after].concat()));

    let sql = "SELECT window_start = '1970-01-01 12:00Z' AND region = 'it''s' AND code = '7' AND n = 3 FROM civic_safety_by_region";
    let shown: bool = cluster.client("caudal_1").query_one(sql, &[]).unwrap().get(0);
    assert!(shown);
    let sql = "SELECT (metrics ->> 'total')::numeric = 1180591620717411303424 FROM metrics_out";
    let exact: bool = cluster.client("caudal_1").query_one(sql, &[]).unwrap().get(0);
    assert!(exact);
}

#[test]
fn two_jobs_may_make_the_tables_at_once() {
    let cluster = Cluster::start();
    let config = cluster.create_database();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&config).map(drop))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

/// A commit whose connection was lost may still be at work in the server: whoever asks what became of it must wait for it.
#[test]
fn a_claim_waits_for_the_transaction_of_the_one_before() {
    let cluster = Cluster::start();
    let config = cluster.create_database();
    let mut store = open(&config).unwrap();
    store.commit(&numbered(1)).unwrap();
    let (mut before, mut watcher) = (cluster.client(&config.name), cluster.client(&config.name));
    let mut tx = before.transaction().unwrap();
    tx.execute("SELECT generation FROM generation FOR UPDATE", &[]).unwrap();
    std::thread::scope(|scope| {
        let claim = scope.spawn(|| store.claim(Generation(2)));
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'caudal' AND wait_event_type = 'Lock'";
        while watcher.query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 0 {
            assert!(!claim.is_finished(), "it did not wait");
            std::thread::yield_now();
        }
        tx.execute("UPDATE progress SET epoch = 2", &[]).unwrap();
        tx.commit().unwrap();
        let progress = claim.join().unwrap().unwrap();
        assert_eq!(progress.map(|p| p.epoch), Some(Epoch(2)));
    });
    let fenced = open(&config).unwrap().commit(&numbered(3));
    assert!(matches!(fenced, Err(StoreError::Fenced { mine: Generation(1), theirs: Generation(2) })), "{fenced:?}");
}
