//! PostgreSQL: binary COPY into staging tables, then upserts, all in one transaction a commit. A silent network and a statement that takes too long
//! count as away; a server whose processes are frozen while its kernel answers is waited for.

mod tls;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::error::{Severity, SqlState};
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, GenericClient, Statement, Transaction};
use uuid::Uuid;

use crate::core::plan::Plan;
use crate::core::units::{Generation, Micros};
use crate::store::look::PostgresSeen;
use crate::store::sql::{Ask, Cell, Dialect, Kind, Param, Query, Row, TABLES, Table, Write};
use crate::store::target::PostgresConfig;
use crate::store::{
    Commit, DeliveryMend, GroupPosition, Leftover, Progress, Settled, Store, StoreError, apply, schema,
};

/// The longest wait for a connection to be made, and for the network to show a sign of life.
const NETWORK_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the server is told when a session begins: a statement that hangs is given up; a writer that was stopped in the middle of a transaction does not
/// keep the generation's lock from its successor; and a commit is on disk when it is answered, whatever the server's default.
const SESSION: &str = "
    SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '10s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// Held while tables are made, so that two jobs that start at once do not both make them. (Any fixed number: "caudal" in ASCII.)
const PREPARE_LOCK: &str = "SELECT pg_advisory_xact_lock(109270232490348)";

/// Statements kept prepared by a connection: all that are ever written with, and the common shapes of queries.
const STATEMENTS_MAX: usize = 64;

/// What a job does, asked of the server rather than tried.
const RIGHTS: &str = "
    SELECT current_setting('server_version'),
           COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
           COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false),
           has_database_privilege(current_database(), 'TEMPORARY')
";

/// As `look::postgres` says.
pub(super) fn look(config: &PostgresConfig) -> Result<PostgresSeen, StoreError> {
    let mut connection = Connection::open(config)?;
    let row = connection.client.query_one(RIGHTS, &[]).map_err(error)?;
    let flag = |at: usize| row.try_get::<_, bool>(at).map_err(error);
    let version = row.try_get::<_, String>(0).map_err(error)?;
    Ok(PostgresSeen { version, encrypted: flag(1)?, may_create: flag(2)?, may_stage: flag(3)? })
}

/// The writer's connection. Once lost it stays lost: a new one is opened.
pub struct PostgresStore {
    connection: Connection,
    plan: Arc<Plan>,
}

/// A reader's connection, made when it is first asked and again after a loss.
pub struct PostgresSource {
    config: PostgresConfig,
    connection: Option<Connection>,
}

struct Connection {
    client: Client,
    statements: Statements,
}

/// Prepared statements by their text.
#[derive(Default)]
struct Statements(HashMap<String, Statement>);

/// A transaction with its connection's prepared statements.
struct Tx<'a> {
    tx: Transaction<'a>,
    statements: &'a mut Statements,
}

impl PostgresStore {
    /// Connects, and makes what is missing.
    ///
    /// # Errors
    /// `Unavailable`: the server is away or busy. `Broken`: it refuses this user, or its tables are of a newer version.
    pub fn open(config: &PostgresConfig, plan: Arc<Plan>) -> Result<Self, StoreError> {
        let mut connection = Connection::open(config)?;
        let mut tx = connection.begin()?;
        tx.run(PREPARE_LOCK)?;
        schema::prepare(&mut tx, &plan)?;
        for table in TABLES {
            let stage = stage(table);
            tx.run(&format!(
                "CREATE TEMP TABLE {stage} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS",
                table.name
            ))?;
        }
        // What of it is there already is not made again: no need to know whether a lost answer meant yes.
        tx.commit().map_err(error)?;
        Ok(Self { connection, plan })
    }
}

impl Store for PostgresStore {
    fn claim(&mut self, mine: Generation) -> Result<Option<Progress>, StoreError> {
        let mut tx = self.connection.begin()?;
        apply::fence(&mut tx, mine)?;
        let progress = apply::read_progress(&mut tx)?;
        // A claim may be made twice: no need to know whether a lost answer meant yes.
        tx.commit().map_err(error)?;
        Ok(progress)
    }

    fn progress(&mut self) -> Result<Option<Progress>, StoreError> {
        // A session that was killed may still be committing; it holds the lock until that is decided.
        let mut tx = self.connection.begin()?;
        apply::lock(&mut tx)?;
        let progress = apply::read_progress(&mut tx)?;
        tx.commit().map_err(error)?;
        Ok(progress)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut tx = self.connection.begin()?;
        let plan = commit.plan.as_ref().unwrap_or(&self.plan);
        let is_known = Arc::ptr_eq(plan, &self.plan);
        if !is_known {
            schema::show_windows(&mut tx, plan)?;
        }
        apply::apply(&mut tx, plan, commit)?;
        tx.commit().map_err(commit_error)?;
        if !is_known {
            self.plan = Arc::clone(plan);
        }
        Ok(())
    }

    fn settle(&mut self, mine: Generation, settled: &Settled) -> Result<(), StoreError> {
        let mut tx = self.connection.begin()?;
        apply::settle(&mut tx, mine, settled)?;
        tx.commit().map_err(commit_error)
    }

    fn mend_delivery(&mut self, mine: Generation, id: Uuid, mend: DeliveryMend) -> Result<bool, StoreError> {
        let mut tx = self.connection.begin()?;
        let found = apply::mend_delivery(&mut tx, mine, id, mend)?;
        tx.commit().map_err(commit_error)?;
        Ok(found)
    }

    fn move_group(&mut self, mine: Generation, group: &GroupPosition) -> Result<(), StoreError> {
        let mut tx = self.connection.begin()?;
        apply::move_group(&mut tx, mine, group)?;
        tx.commit().map_err(commit_error)
    }

    fn forget(&mut self, mine: Generation, left: &Leftover) -> Result<(), StoreError> {
        let mut tx = self.connection.begin()?;
        let views = apply::forget(&mut tx, mine, left)?;
        tx.commit().map_err(commit_error)?;
        for view in views {
            let mut tx = self.connection.begin()?;
            let hidden = schema::hide(&mut tx, &view).and_then(|()| tx.commit().map_err(commit_error));
            hidden.unwrap_or_else(|why| schema::stays(&view, &why));
        }
        Ok(())
    }

    fn drop_group(&mut self, mine: Generation, topic: &str, group: &str) -> Result<bool, StoreError> {
        let mut tx = self.connection.begin()?;
        let found = apply::drop_group(&mut tx, mine, topic, group)?;
        tx.commit().map_err(commit_error)?;
        Ok(found)
    }
}

impl PostgresSource {
    #[must_use]
    pub fn new(config: PostgresConfig) -> Self {
        Self { config, connection: None }
    }
}

impl Ask for PostgresSource {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        // A connection that idled while the server was restarted shows it only now: then the answer is sought once more, on a new one.
        if let Some(mut connection) = self.connection.take_if(|c| !c.client.is_closed()) {
            let rows = connection.ask(query);
            if !connection.client.is_closed() {
                self.connection = Some(connection);
                return rows;
            }
        }
        self.connection.insert(Connection::open(&self.config)?).ask(query)
    }
}

impl Connection {
    fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let mut options = Config::new();
        options.user(&config.user).host(&config.host).port(config.port).dbname(&config.name);
        if !config.password.is_empty() {
            options.password(&config.password);
        }
        options.application_name("caudal").connect_timeout(NETWORK_WAIT_MAX).tcp_user_timeout(NETWORK_WAIT_MAX);
        options.keepalives_idle(NETWORK_WAIT_MAX).keepalives_interval(NETWORK_WAIT_MAX / 5).keepalives_retries(5);
        let mut client = tls::connect(&mut options, config)?;
        client.batch_execute(SESSION).map_err(error)?;
        Ok(Self { client, statements: Statements::default() })
    }

    fn begin(&mut self) -> Result<Tx<'_>, StoreError> {
        let tx = self.client.transaction().map_err(error)?;
        Ok(Tx { tx, statements: &mut self.statements })
    }
}

impl Statements {
    fn get(&mut self, client: &mut impl GenericClient, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        if self.0.len() >= STATEMENTS_MAX {
            self.0.clear();
        }
        let statement = client.prepare(sql).map_err(error)?;
        self.0.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn ask(&mut self, client: &mut impl GenericClient, query: &Query) -> Result<Vec<Row>, StoreError> {
        let statement = self.get(client, &query.sql)?;
        let rows = client.query(&statement, &bound(&query.params)).map_err(error)?;
        let cells = |row: &postgres::Row| (0..row.len()).map(|n| row.try_get(n)).collect::<Result<Vec<Cell>, _>>();
        rows.iter().map(|row| cells(row).map(|cells| Row(cells.into_iter())).map_err(error)).collect()
    }
}

impl Ask for Connection {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.statements.ask(&mut self.client, query)
    }
}

impl Tx<'_> {
    fn commit(self) -> Result<(), postgres::Error> {
        self.tx.commit()
    }
}

impl Ask for Tx<'_> {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.statements.ask(&mut self.tx, query)
    }
}

impl Write for Tx<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn execute(&mut self, query: &Query) -> Result<u64, StoreError> {
        let statement = self.statements.get(&mut self.tx, &query.sql)?;
        self.tx.execute(&statement, &bound(&query.params)).map_err(error)
    }

    fn run(&mut self, statements: &str) -> Result<(), StoreError> {
        self.tx.batch_execute(statements).map_err(error)
    }

    fn delete(&mut self, table: &'static str, key: &'static str, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let statement =
            self.statements.get(&mut self.tx, &format!("DELETE FROM {table} WHERE {key} = ANY($1::text[]::uuid[])"))?;
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        self.tx.execute(&statement, &[&ids]).map_err(error)?;
        Ok(())
    }

    fn put(&mut self, table: &'static Table, rows: &mut dyn Iterator<Item = Vec<Param<'_>>>) -> Result<(), StoreError> {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let (stage, columns) = (stage(table), table.column_names());
        let copy = format!("COPY {stage} ({columns}) FROM STDIN (FORMAT binary)");
        let copy = self.statements.get(&mut self.tx, &copy)?;
        let types: Vec<Type> = table.columns.iter().map(|&(_, kind)| type_of(kind)).collect();
        let mut writer = BinaryCopyInWriter::new(self.tx.copy_in(&copy).map_err(error)?, &types);
        for row in rows {
            writer.write(&bound(&row)).map_err(error)?;
        }
        writer.finish().map_err(error)?;
        self.execute(&Query::new(table.upsert(&format!("SELECT {columns} FROM {stage}"))))?;
        Ok(())
    }
}

/// Where COPY puts a table's rows before they are upserted; the connection's own, emptied by each commit.
fn stage(table: &Table) -> String {
    format!("pg_temp.stage_{}", table.name)
}

fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Int => Type::INT8,
        Kind::Bool => Type::BOOL,
        Kind::Text => Type::TEXT,
        Kind::Json => Type::JSON,
        Kind::Uuid => Type::UUID,
        Kind::Time => Type::TIMESTAMPTZ,
        Kind::Bytes => Type::BYTEA,
    }
}

fn bound<'a>(params: &'a [Param<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts microseconds.
const YEAR_2000: i64 = 946_684_800_000_000;

/// The moments that a timestamptz can hold, in its own count, are these and two infinities.
const TIMES: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

fn to_timestamp(time: Micros) -> i64 {
    let time = time.0.saturating_sub(YEAR_2000);
    if time < TIMES.start {
        i64::MIN
    } else if time < TIMES.end {
        time
    } else {
        i64::MAX
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(value) => out.put_i64(*value),
            Self::Bool(value) => out.put_u8(u8::from(*value)),
            Self::Text(value) => out.put_slice(value.as_bytes()),
            Self::Uuid(value) => out.put_slice(value.as_bytes()),
            Self::Time(value) => out.put_i64(to_timestamp(*value)),
            Self::Bytes(value) => out.put_slice(value),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        // Statements are written so that each parameter has the type of a column of `sql.rs` or of a cast.
        true
    }

    to_sql_checked!();
}

impl FromSql<'_> for Cell {
    fn from_sql(kind: &Type, raw: &[u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::BOOL => Self::Int(i64::from(bool::from_sql(kind, raw)?)),
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::TIMESTAMPTZ => Self::Int(i64::from_be_bytes(raw.try_into()?).saturating_add(YEAR_2000)),
            Type::UUID => Self::Text(Uuid::from_slice(raw)?.to_string()),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            // json has the same form as text.
            _ => Self::Text(std::str::from_utf8(raw)?.to_owned()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        let text = [Type::JSON, Type::TEXT, Type::VARCHAR, Type::NAME];
        let other = [Type::BOOL, Type::INT8, Type::TIMESTAMPTZ, Type::UUID, Type::BYTEA];
        text.contains(kind) || other.contains(kind)
    }
}

/// Before COMMIT: whatever was lost, nothing has happened. Taken by value for `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn error(error: postgres::Error) -> StoreError {
    let why = message(&error);
    let broken = match error.code() {
        Some(code) => !passes(code),
        None => is_our_fault(&error),
    };
    if broken { StoreError::Broken(why) } else { StoreError::Unavailable(why) }
}

/// At COMMIT: only an answer that the session survives says that nothing has happened.
fn commit_error(error: postgres::Error) -> StoreError {
    let refused = error.as_db_error().is_some_and(|e| e.parsed_severity() == Some(Severity::Error));
    let unknown = [SqlState::TRANSACTION_RESOLUTION_UNKNOWN, SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN];
    if refused && !error.code().is_some_and(|code| unknown.contains(code)) {
        return self::error(error);
    }
    StoreError::Indeterminate(message(&error))
}

/// Conditions of the server that pass: it restarts, is overloaded, has a full disk, is a standby for now, or gave a statement up.
fn passes(code: &SqlState) -> bool {
    // 08 connection, 40 rolled back (serialization, deadlock), 53 out of resources, 57 operator intervention, 58 system error.
    let classes = ["08", "40", "53", "57", "58"];
    let more = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        // A reader that is there before the writer's first transaction.
        SqlState::UNDEFINED_TABLE,
    ];
    classes.iter().any(|class| code.code().starts_with(class)) || more.contains(code)
}

/// Without a word from the server: what comes of the network passes; what the driver refuses (a value that fits no column, TLS that cannot be) does not.
fn is_our_fault(error: &postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            return io.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        }
        cause = current.source();
    }
    !error.is_closed()
}

/// The driver's message and what is beneath it: by itself it says little more than "db error".
fn message(error: &postgres::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !message.contains(&more) {
            message = format!("{message}: {more}");
        }
        cause = current.source();
    }
    message
}
