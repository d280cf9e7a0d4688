//! What texts are read as, and what is said of those that are none.

use caudal::core::expression::{Expr, Type};
use caudal::core::path::{FieldPath, Step};
use caudal::core::plan::ColumnId;
use caudal::pipeline::sql::{Scope, call, condition, expression};

use super::{evaluate, read, read_condition};
use crate::scalar::Scalar;

#[test]
fn types() {
    use Type::{Boolean, Integer, Number, Text, Timestamp};
    for (text, of) in [
        ("1", Integer),
        ("-9223372036854775808", Integer),
        ("1.0", Number),
        ("1e3", Number),
        ("'a''b'", Text),
        ("TRUE", Boolean),
        ("TIMESTAMP '2026-11-22T12:00:00Z'", Timestamp),
        ("event_time()", Timestamp),
        ("EVENT_TIME()", Timestamp),
        ("i + j", Integer),
        ("i + x", Number),
        ("i / j", Number),
        ("i % j", Integer),
        ("+i", Integer),
        ("at - at", Number),
        ("event_time() - '2026-11-22T12:00:00Z'", Number),
        ("CASE WHEN b THEN i ELSE x END", Number),
        ("CASE WHEN b THEN NULL ELSE t END", Text),
        ("COALESCE(NULL, i)", Integer),
        ("CAST(NULL AS VARCHAR)", Text),
        ("t::BIGINT", Integer),
        ("t::double precision + 1", Number),
        ("CAST(t AS DOUBLE PRECISION)", Number),
        ("CAST(t AS TIMESTAMP)", Timestamp),
        ("CAST(t AS TIMESTAMP WITH TIME ZONE)", Timestamp),
        ("ROUND(i, 2)", Integer),
        ("ROUND(x, 2)", Number),
        ("ABS(i)", Integer),
        ("SIGN(x)", Number),
        ("t || i || b || x", Text),
        ("EXTRACT(EPOCH FROM at)", Number),
        ("EXTRACT(year FROM at)", Integer),
        ("NULL IS NULL", Boolean),
        ("NULL AND b", Boolean),
    ] {
        let expr = read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(expr.of_type(), of, "{text}");
    }
}

#[test]
fn what_is_no_expression_is_said_with_its_place() {
    let deep = |by: usize| format!("{}1{}", "(".repeat(by), ")".repeat(by));
    let (long, deep, long_sum) = ("1 + ".repeat(2000), deep(65), format!("1{}", " + 1".repeat(65)));
    for (text, message) in [
        ("", "1:1: no SQL: Expected: an expression, found: EOF"),
        ("i +", "1:4: no SQL: Expected: an expression, found: EOF"),
        ("i i", "1:3: the expression ends before `i`: an operator is missing, or a name needs double quotes"),
        ("'a", "1:1: no SQL: Unterminated string literal"),
        ("CASE WHEN b THEN i + END", "1:25: no SQL: Expected: END, found: EOF"),
        ("CASE WHEN b THEN 1", "1:19: no SQL: Expected: END, found: EOF"),
        ("LOWER(t", "1:8: no SQL: Expected: ), found: EOF"),
        ("POSITION(t, u)", "1:1: POSITION is written POSITION(what IN text); STRPOS(text, what) is the same"),
        ("nothing + 1", "1:1: no field `nothing`"),
        ("i +\n  nothing", "2:3: no field `nothing`"),
        ("payload.a[2].b", "1:1: no field `payload.a[2].b`"),
        ("i + t", "1:5: `+` needs numbers, but `t` is text"),
        ("t + 1", "1:1: `+` needs numbers, but `t` is text"),
        ("-b", "1:2: `-` needs numbers, but `b` is a boolean"),
        ("x % 2", "1:1: `%` needs integers, but `x` is a number"),
        ("at - 5", "1:6: `-` with a timestamp needs timestamps, but `5` is an integer"),
        ("at + 5", "1:1: `+` needs numbers, but `at` is a timestamp"),
        ("i = t", "1:5: `=` needs values of one type, but `i` is an integer and `t` is text"),
        ("t = 1", "1:5: `=` needs values of one type, but `t` is text and `1` is an integer"),
        ("at > 'yesterday'", "1:6: \"yesterday\" is no timestamp; one is '2026-11-22T12:00:00Z'"),
        ("1 < i < 5", "1:1: `<` cannot follow another comparison: use AND, or parentheses"),
        ("i AND b", "1:1: AND needs booleans, but `i` is an integer"),
        ("NOT t", "1:5: NOT needs booleans, but `t` is text"),
        ("t IS TRUE", "1:1: IS TRUE needs booleans, but `t` is text"),
        ("i BETWEEN 1 AND 'a'", "1:17: BETWEEN needs values of one type, but `i` is an integer and `'a'` is text"),
        ("i IN (1, 'a')", "1:10: IN needs values of one type, but `i` is an integer and `'a'` is text"),
        ("i IN (SELECT 1)", "1:7: queries are not allowed: an expression looks at one event's fields"),
        ("(SELECT 1)", "1:2: queries are not allowed: an expression looks at one event's fields"),
        ("EXISTS (SELECT 1)", "1:9: queries are not allowed: an expression looks at one event's fields"),
        ("i LIKE 'a'", "1:1: LIKE needs texts, but `i` is an integer"),
        ("t LIKE u", "1:8: LIKE's pattern is a text in quotes"),
        ("t LIKE 'a\\'", "1:8: LIKE: the pattern ends with \\"),
        ("t LIKE 'a' ESCAPE '!'", "1:1: LIKE takes one pattern, in which \\ takes the next character literally"),
        ("REGEXP_LIKE(t, '(a')", "1:16: REGEXP_LIKE: unclosed group"),
        ("REGEXP_LIKE(t, '(a{1000}){1000}')", "1:16: REGEXP_LIKE: the pattern is too large"),
        ("CASE WHEN i THEN 1 END", "1:11: WHEN needs booleans, but `i` is an integer"),
        (
            "CASE WHEN b THEN 1 ELSE 'a' END",
            "1:25: CASE needs values of one type, but `1` is an integer and `'a'` is text",
        ),
        ("CASE t WHEN 1 THEN 1 END", "1:13: CASE needs values of one type, but `t` is text and `1` is an integer"),
        ("CASE WHEN b THEN NULL END", "1:18: NULL has no type here: say CAST(NULL AS TEXT), or another type"),
        ("NULL", "1:1: NULL has no type here: say CAST(NULL AS TEXT), or another type"),
        ("LOWR(t)", "1:1: there is no function \"LOWR\"; did you mean \"LOWER\"?"),
        ("lower(i)", "1:7: LOWER needs texts, but `i` is an integer"),
        ("LOWER(t, u)", "1:1: LOWER takes one operand, not 2"),
        ("LEFT(t)", "1:1: LEFT takes 2 operands, not 1"),
        ("SUM(i)", "1:1: SUM is a function of many events: it belongs under `metrics`, not into an expression"),
        ("COUNT(*)", "1:1: `*` is not allowed: an expression names its fields one by one"),
        ("SUM(i) OVER ()", "1:8: window functions are not allowed: an expression looks at one event's fields"),
        (
            "SUM(i) FILTER (WHERE b)",
            "1:8: FILTER and WITHIN GROUP are not allowed; CASE WHEN … THEN … END is null where no condition holds",
        ),
        ("ROUND(x, i)", "1:10: ROUND's digits are a whole number from 0 to 17 as it stands"),
        (
            "DATE_TRUNC('decade', at)",
            "1:12: DATE_TRUNC's first operand is 'second', 'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year'",
        ),
        (
            "EXTRACT(CENTURY FROM at)",
            "1:22: EXTRACT takes YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, DOW, DOY or EPOCH, not CENTURY",
        ),
        (
            "CAST(t AS JSON)",
            "1:6: there is no type JSON; there are TEXT, INTEGER, BIGINT, DOUBLE, BOOLEAN and TIMESTAMP",
        ),
        ("CAST(at AS INTEGER)", "1:6: `at` is a timestamp: it cannot be cast to INTEGER"),
        ("9223372036854775808", "1:1: 9223372036854775808 is no integer of 64 bits; 9223372036854775808.0 is a number"),
        ("1e400", "1:1: 1e400 is no finite double"),
        ("X'00'", "1:1: X'00' is no value here; a text stands in single quotes"),
        ("i ^ 2", "1:1: there is no operator `^`"),
        ("(1, 2)", "1:2: one expression is needed in parentheses, not several"),
        (&deep, "1:64: the expression nests too deeply"),
        (&long_sum, "1:1: the expression nests too deeply"),
        (&long, "1:1: the expression has 8000 bytes: at most 4096 are allowed"),
    ] {
        assert_eq!(read(text).unwrap_err().to_string(), message, "{text}");
    }
    assert_eq!(
        read_condition("i + 1").unwrap_err().to_string(),
        "1:1: a condition is a boolean, but `i + 1` is an integer"
    );
    let fault = expression("event_time()", &mut Scope { resolve: &mut super::resolve, event_time: false }).unwrap_err();
    assert_eq!(fault.to_string(), "1:1: there is no event here whose time event_time() could be");
}

/// A field may be called like a keyword.
#[test]
fn names() {
    let column = |text: &str| {
        let mut found = String::new();
        let mut resolve = |path: &[Step]| {
            found = FieldPath(path.to_vec()).to_string();
            Ok((ColumnId(0), Type::Text))
        };
        let read = condition(text, &mut Scope { resolve: &mut resolve, event_time: true });
        read.map(|_| found).map_err(|fault| fault.to_string())
    };
    for name in [
        "timestamp",
        "source",
        "user",
        "date",
        "time",
        "value",
        "values",
        "type",
        "level",
        "host",
        "key",
        "end",
        "start",
        "order",
        "group",
        "count",
        "name",
        "status",
        "region",
        "select",
        "from",
        "where",
        "limit",
        "offset",
        "table",
        "column",
        "index",
        "default",
        "check",
        "current_date",
        "current_user",
        "left",
        "right",
        "cast",
        "trim",
        "position",
        "extract",
        "substring",
        "filter",
        "over",
        "when",
        "then",
        "else",
        "for",
        "as",
        "to",
        "year",
        "interval",
        "array",
        "struct",
        "distinct",
        "@timestamp",
        "größe",
        "exists",
        "text",
        "double",
        "integer",
        "primary",
        "first",
        "last",
        "any",
        "all",
        "with",
        "escape",
        "unknown",
        "both",
        "match",
        "row",
        "json",
        "xml",
    ] {
        for text in [
            format!("{name} = 'a'"),
            format!("'a' = {name}"),
            format!("LOWER({name}) = 'a'"),
            format!("({name}) = 'a'"),
            format!("TRUE AND {name} IN ('a', {name}) AND {name} LIKE 'b'"),
        ] {
            assert_eq!(column(&text), Ok(name.to_owned()), "{text}");
        }
        assert_eq!(column(&format!("payload.{name} = 'a'")), Ok(format!("payload.{name}")));
        assert_eq!(column(&format!("{name}.part = 'a'")), Ok(format!("{name}.part")));
        assert_eq!(column(&format!("{name}[3].x = 'a'")), Ok(format!("{name}[3].x")));
        assert_eq!(column(&format!("CASE WHEN TRUE THEN payload.{name} END = 'a'")), Ok(format!("payload.{name}")));
    }
    for (text, path) in [
        (r#""user-agent" = 'a'"#, "user-agent"),
        (r#"headers."user-agent"[0] = 'a'"#, "headers.user-agent[0]"),
        (r#""and" = 'a'"#, "and"),
        (r#"a."b.c" = 'a'"#, "a.b.c"),
        ("Payload.Age = 'a'", "Payload.Age"),
        ("values[0] = 'a'", "values[0]"),
        ("a.b[1][2].c[4294967295] = 'a'", "a.b[1][2].c[4294967295]"),
        ("CASE \"end\" WHEN 'a' THEN TRUE END", "end"),
        ("payload.and = 'a'", "payload.and"),
    ] {
        assert_eq!(column(text), Ok(path.to_owned()), "{text}");
    }
    for (text, message) in [
        (
            "CASE WHEN TRUE THEN end END = 'a'",
            "1:25: no SQL: Expected: END, found: END; a field that is called so stands in double quotes",
        ),
        ("a[-1] = 'a'", "1:4: an array's item is a whole number, from 0, as it stands"),
        ("a[b] = 'a'", "1:3: an array's item is a whole number, from 0, as it stands"),
        ("a[1:2] = 'a'", "1:1: a field's parts are .name and [number]"),
    ] {
        assert_eq!(column(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn calls_for_metrics() {
    let parts = |text: &str| {
        let call = call(text).map_err(|fault| fault.to_string())?;
        let mut scope = Scope { resolve: &mut super::resolve, event_time: true };
        let argument = |argument: &caudal::pipeline::sql::Argument| match argument.number() {
            Some(number) => format!("{number:?}"),
            None => {
                argument.expression(&mut scope).map_or_else(|fault| fault.to_string(), |e| format!("{:?}", e.of_type()))
            }
        };
        let mut scope_of = argument;
        Ok::<_, String>((call.name.clone(), call.arguments.iter().map(&mut scope_of).collect::<Vec<_>>().join(" ")))
    };
    for (text, name, arguments) in [
        ("count()", "count", ""),
        ("COUNT(*)", "count", ""),
        ("sum(i)", "sum", "Integer"),
        ("sum(i * x)", "sum", "Number"),
        ("quantile(x, 0.99)", "quantile", "Number 0.99"),
        ("top(t, 3)", "top", "Text 3.0"),
        ("mean(CASE WHEN b THEN x END)", "mean", "Number"),
        ("sum(nothing)", "sum", "1:5: no field `nothing`"),
        ("sum(i + t)", "sum", "1:9: `+` needs numbers, but `t` is text"),
    ] {
        assert_eq!(parts(text), Ok((name.to_owned(), arguments.to_owned())), "{text}");
    }
    for (text, message) in [
        ("i + 1", "1:1: a function is needed here, such as sum(amount)"),
        ("sum(i) + 1", "1:1: a function is needed here, such as sum(amount)"),
        ("sum(*)", "1:1: `*` is allowed in count(*) alone"),
        ("count(DISTINCT i)", "1:1: DISTINCT and ALL are not allowed in a function"),
        ("a.sum(i)", "1:1: a function's name is one word, without quotes"),
    ] {
        assert_eq!(parts(text), Err(message.to_owned()), "{text}");
    }
}

/// However odd a text, an answer comes soon.
#[test]
fn odd_texts_are_answered_soon() {
    let pieces = [
        "(",
        "CASE ",
        "CASE WHEN ",
        "a(",
        "a.b(",
        "NOT ",
        "- ",
        "+",
        "EXTRACT(",
        "SUBSTRING(",
        "TRIM(",
        "POSITION(",
        "CAST(",
        "a[",
        "[",
        "{",
        "TIMESTAMP ",
        "interval ",
        "a IN (",
        "a BETWEEN ",
        "a AND ",
        "a || ",
        "a = ",
        "a.",
        "'",
        "\"",
        "/*",
        "--",
        "$$",
        "::",
        "a::int[",
        "a IS DISTINCT FROM ",
        "CASE WHEN a THEN ",
        "array[",
        "((a, ",
        "map{",
        "lambda x : ",
        "case-",
        "x'",
        ";",
        "\0",
        "ä",
        "date ",
        "current_time(",
        "if(",
        "struct(",
        "prior ",
        "exists(",
        "position(position(",
    ];
    let begun = std::time::Instant::now();
    for a in pieces {
        for b in pieces {
            for text in [
                format!("{a}{b}").repeat(40),
                format!("{a}{b}").repeat(4096 / (a.len() + b.len())),
                format!("{}{}", a.repeat(60), b.repeat(60)),
            ] {
                // Whatever it is: it neither panics nor hangs.
                let _ = read(&text);
            }
        }
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn long_chains_are_one_level() {
    let any = format!("b{}", " OR b".repeat(500));
    let expr = read_condition(&any).unwrap();
    assert!(matches!(&expr, Expr::Call(_, operands) if operands.len() == 501));
    let row = (vec![None, None, None, None, None, None, Some(Scalar::Boolean(true)), None, None], 0);
    assert_eq!(evaluate(&expr, &[row]), (vec![Some(Scalar::Boolean(true))], 0));
}
