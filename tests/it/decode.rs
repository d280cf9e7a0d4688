//! Decode against the sequential model's own reading of a line, which has its own JSON, its own dates and the reference schemas: the same events, the
//! same refusals, whatever bytes come and however they are cut. How single schemas are checked is tested beside decode.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use caudal::core::columns::{Column, EventId, GroupValue, Numbering, Reason, Slab};
use caudal::core::decode::{Decoded, Decoder};
use caudal::core::plan::{
    Audit, ColumnId, ColumnKind, ColumnPlan, FieldPath, PipelinePlan, Plan, Step, TimeFormat, TopicPlan, Unit,
};
use caudal::core::units::{Millis, Offset, TopicId};
use caudal::generate::{Generator, Settings};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::{Field, Reading, is_read, read};
use super::support::plan::{column, plan, topic};
use super::support::traffic::civic_safety;

/// A plan, its schemas, its decoder.
struct Subject {
    plan: Arc<Plan>,
    schemas: Vec<String>,
    decoder: Decoder,
}

impl Subject {
    fn new(plan: Arc<Plan>, schemas: Vec<String>) -> Self {
        Self { decoder: Decoder::new(plan.clone(), 42), plan, schemas }
    }
}

static CIVIC_SAFETY: LazyLock<Subject> = LazyLock::new(|| {
    let pipeline = civic_safety();
    Subject::new(pipeline.plan, pipeline.schemas)
});

/// Topics whose schemas leave everything open, the second by a keyword that only the reference knows, each with a time of another format; columns of each
/// kind, of which the first topic's pipeline reads only some.
static OPEN: LazyLock<Subject> = LazyLock::new(|| {
    let schemas = ["{}", r#"{"minProperties": 3}"#, "{}", "{}"].map(str::to_owned);
    let topics = vec![
        TopicPlan { id: Some(FieldPath::top("id")), ..topic("a", &schemas[0], "t") },
        topic("é\"", &schemas[1], "t"),
        TopicPlan { time_format: TimeFormat::Rfc3339 { zone: Some(-5_400) }, ..topic("z", &schemas[2], "t") },
        TopicPlan { time_format: TimeFormat::Unix(Unit::Milliseconds), ..topic("u", &schemas[3], "t") },
    ];
    let item = FieldPath(vec![Step::Name("o".into()), Step::Item(1), Step::Name("g".into())]);
    let columns = vec![
        column("g", ColumnKind::Group),
        column("n", ColumnKind::Integer),
        column("x", ColumnKind::Number),
        column("x", ColumnKind::Boolean),
        column("o.g", ColumnKind::Group),
        column("o.o.n", ColumnKind::Integer),
        column("t", ColumnKind::Group),
        ColumnPlan { path: item, kind: ColumnKind::Number },
    ];
    let mut plan = Plan { topic_field: "s".into(), ..plan("open", topics, columns, Vec::new()) };
    let (first, second) = ([0, 1, 2], [3, 4, 5, 6, 7]);
    let pipeline = &mut plan.pipelines[0];
    pipeline.reads = first.map(ColumnId).into();
    let other = PipelinePlan {
        name: "other".into(),
        topics: [1, 2, 3].map(TopicId).into(),
        reads: second.map(ColumnId).into(),
        audit: Audit::None,
        ..PipelinePlan::default()
    };
    plan.pipelines.push(other);
    Subject::new(Arc::new(plan), schemas.into())
});

/// Events of the generator, a third of them wrong in some way.
static EVENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let pipeline = civic_safety();
    let settings = Settings { seed: 5, invalid: 0.3, ..Settings::default() };
    let mut generator = Generator::new(&pipeline, settings).unwrap();
    (0..1_000).map(|_| generator.generate().line).collect()
});

/// Between the generator's first event and its last, so that the rule of the future is met from both sides.
const TAKEN: Millis = Millis(1_767_225_600_500 - 60_000);

/// What became of each line, in the order of offsets.
type Fates = Vec<(u64, Result<(Reading, Option<EventId>), (Option<usize>, Reason)>)>;

/// What a decoder makes of a slab, in the model's words. A reading's `uuid` is left out: the identity stands beside it.
fn fates(subject: &Subject, slab: &Slab) -> Fates {
    let Decoded { columns, rejects } = subject.decoder.decode(slab);
    let line = |(start, length): (u32, u32)| &slab.bytes[start as usize..(start + length) as usize];
    let mut fates = Fates::new();
    for row in 0..columns.offset.len() {
        let topic = columns.topic[row];
        // What no pipeline of the topic reads may be anything.
        let fields = columns.fields.iter().enumerate().map(|(at, column)| {
            let is_read = is_read(&subject.plan, usize::from(topic.0), at);
            match column {
                Column::Group { codes, dictionary } if is_read => Field::Group(dictionary[codes[row] as usize].clone()),
                Column::Group { .. } => Field::Group(GroupValue::Null),
                Column::Integer(values) => Field::Integer(values[row].filter(|_| is_read)),
                Column::Number(values) => Field::Number(values[row].filter(|_| is_read)),
                Column::Boolean(values) => Field::Boolean(values[row].filter(|_| is_read)),
                Column::Json(_) => panic!("no plan here has a view"),
            }
        });
        let reading = Reading {
            topic: usize::from(topic.0),
            time: columns.time[row].0,
            id: subject.decoder.id_text(topic, line(columns.line[row])),
            uuid: None,
            fields: fields.collect(),
        };
        fates.push((columns.offset[row].0, Ok((reading, columns.id[row]))));
    }
    for reject in rejects {
        assert!(!reject.detail.is_empty() && line(reject.line).len() == reject.line.1 as usize, "{reject:?}");
        fates.push((reject.offset.0, Err((reject.topic.map(|topic| usize::from(topic.0)), reject.reason))));
    }
    fates.sort_by_key(|fate| fate.0);
    fates
}

/// Equal identities are equal ids, and a UUID's is its 16 bytes.
fn check_identities(subject: &Subject, read: &[(Reading, EventId)]) {
    let same = |a: &Reading, b: &Reading| if a.uuid.is_some() { a.uuid == b.uuid } else { a.id == b.id };
    for (at, (reading, identity)) in read.iter().enumerate() {
        assert!(reading.uuid.is_none_or(|uuid| *identity == EventId(uuid)), "{reading:?}");
        assert!(subject.plan.topics[reading.topic].id.is_some());
        for (other, of_other) in &read[at + 1..] {
            assert_eq!(same(reading, other), identity == of_other, "{reading:?} {other:?}");
        }
    }
}

/// Decodes the lines as one slab and compares every one with the model. The answer is how many are valid.
fn check(subject: &Subject, taken: Option<Millis>, topic: Option<usize>, lines: &[Vec<u8>]) -> usize {
    let slab = Slab {
        first_offset: Offset(1_000),
        count: lines.len() as u32,
        ingest: taken.unwrap_or(Millis(0)),
        topic: topic.map(|topic| TopicId(topic as u16)),
        bytes: lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect(),
        numbering: if taken.is_some() { Numbering::Dense } else { Numbering::Bytes },
    };
    let expected = read(&subject.plan, &subject.schemas, taken, topic, lines);
    let fates = fates(subject, &slab);
    assert_eq!(fates.len(), lines.len());
    let mut start = 0;
    let mut identified = Vec::new();
    for (at, ((line, expected), (offset, fate))) in lines.iter().zip(expected).zip(fates).enumerate() {
        let shown = String::from_utf8_lossy(&line[..line.len().min(1_000)]);
        assert_eq!(offset, 1_000 + if taken.is_some() { at } else { start } as u64, "{shown}");
        start += line.len() + 1;
        let without_uuid = expected.clone().map(|reading| Reading { uuid: None, ..reading });
        let (got, identity) = match fate {
            Ok((reading, identity)) => (Ok(reading), identity),
            Err(refusal) => (Err(refusal), None),
        };
        assert_eq!(got, without_uuid, "{shown}");
        if let Ok(reading) = expected {
            assert_eq!(identity.is_some(), reading.id.is_some(), "{shown}");
            identified.extend(identity.map(|identity| (reading, identity)));
        }
    }
    check_identities(subject, &identified);
    identified.len()
}

/// A change to a line's bytes. Line ends are no part of a line.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Delete(Index, usize),
    Duplicate(Index, usize),
    Insert(Index, Vec<u8>),
}

impl Change {
    fn apply(&self, line: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bit) if !line.is_empty() => {
                let at = at.index(line.len());
                line[at] ^= 1 << bit;
            }
            Self::Delete(at, length) => {
                let at = at.index(line.len() + 1);
                line.drain(at..(at + length).min(line.len()));
            }
            Self::Duplicate(at, length) => {
                let at = at.index(line.len() + 1);
                let end = (at + length).min(line.len());
                let copy = line[at..end].to_vec();
                line.splice(end..end, copy);
            }
            Self::Insert(at, bytes) => {
                let at = at.index(line.len() + 1);
                line.splice(at..at, bytes.iter().copied());
            }
            Self::Flip(..) => {}
        }
        line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    }
}

fn change() -> impl Strategy<Value = Change> {
    let snippet = select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\",
        "\\u",
        "\\u0",
        "\\u0041",
        "\\ud83d",
        "\\ud83d\\ude00",
        "0",
        "1",
        "e",
        "E5",
        "-",
        "+",
        ".",
        "e400",
        "null",
        "true",
        " ",
        "\t",
        "\r",
        "\0",
        "\u{1f}",
        "é",
        "\u{feff}",
        "\"region\":\"RM\",",
        "99999999999999999999",
    ]);
    let bytes = prop_oneof![
        3 => snippet.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), 1..4usize).prop_map(|(at, length)| Change::Delete(at, length)),
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Change::Duplicate(at, length)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

fn event() -> impl Strategy<Value = Vec<u8>> {
    any::<Index>().prop_map(|at| at.get(&EVENTS).clone())
}

/// An event that is changed in some places, mostly few.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    (event(), prop::collection::vec(change(), 0..4)).prop_map(|(mut line, changes)| {
        for change in &changes {
            change.apply(&mut line);
        }
        line
    })
}

/// A number as people and machines write it.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        "-?[0-9]{1,24}(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        select(vec![
            "-0",
            "0.0",
            "-0.0",
            "5.0",
            "5e0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775808.0",
            "9.2233720368547758e18",
            "1e308",
            "1e309",
            "1e-400",
            "9007199254740993",
            "0.1",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "--1"
        ])
        .prop_map(str::to_owned),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9 é😀/]{0,9}",
        1 => select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0061", "\\u00e9", "\\ud83d\\ude00",
            "\\ud83d", "\\ude00", "\\x", "\\u12", "\t", "\u{7f}"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// JSON of some shape as text, now and then slightly wrong.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![select(vec!["null", "true", "false", "nul"]).prop_map(str::to_owned), number(), string()];
    scalar.prop_recursive(4, 24, 5, |inner| {
        let name =
            prop_oneof![3 => select(vec!["\"g\"", "\"n\"", "\"o\"", "\"x\""]).prop_map(str::to_owned), 1 => string()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((name, inner), 0..5).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// An event of `OPEN`: the members that it reads hold what they should or anything else, among members that nobody asked for.
fn open_event() -> impl Strategy<Value = Vec<u8>> {
    let text = |texts: &[&'static str]| select(texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>());
    let often = |good: BoxedStrategy<String>| prop_oneof![12 => good, 1 => json()];
    let member = |name: &'static str, value: BoxedStrategy<String>| {
        prop::option::weighted(0.9, value.prop_map(move |value| (format!("\"{name}\""), value)))
    };
    let time = prop_oneof![
        "20(2[0-7])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-4]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,9})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])"
            .prop_map(|text| format!("\"{text}\"")),
        "20(2[0-7])-0[1-9]-0[1-9][ Tt]0[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+01:30)?"
            .prop_map(|text| format!("\"{text}\"")),
        "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?",
        "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?".prop_map(|text| format!("\"{text}\"")),
        number(),
        number().prop_map(|text| format!("\"{text}\"")),
        text(&["2016-12-31T23:59:60Z", "0000-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-00:01",
            "2000-02-29t12:00:00.5z", "2026-01-01\\u005400:00:00Z"]),
    ];
    let id = prop_oneof![
        text(&[
            "",
            "a",
            "A",
            "9531985d-5d9d-49f8-9818-e811892f902b",
            "9531985D-5D9D-49F8-9818-E811892F902B",
            "9531985d5d9d49f89818e811892f902b",
            "9531985d-5d9d-49f8-9818-e811892f902g",
            "9531985d+5d9d-49f8-9818-e811892f902b",
            "\\u0061"
        ]),
        (1_020..1_028usize).prop_map(|length| format!("\"{}\"", "i".repeat(length))),
        string(),
    ];
    let members = (
        member("s", often(text(&["a", "a", "\\u0061", "é\\\"", "z", "u", "e"]).boxed()).boxed()),
        member("t", often(time.boxed()).boxed()),
        member("id", often(id.boxed()).boxed()),
        member("g", prop_oneof![string(), number(), json()].boxed()),
        member("n", often(number().boxed()).boxed()),
        member("x", often(number().boxed()).boxed()),
        member("o", json().boxed()),
        prop::collection::vec((string(), json()), 0..2),
    );
    let members = members.prop_map(|(s, t, id, g, n, x, o, others)| {
        [s, t, id, g, n, x, o].into_iter().flatten().chain(others).collect::<Vec<_>>()
    });
    members.prop_shuffle().prop_map(|members| object(members).replace('\n', " ").into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_events_are_to_decode_what_they_are_to_the_model(
        lines in prop::collection::vec(changed(), 1..24),
        topic in prop_oneof![3 => Just(None), 1 => (0..3usize).prop_map(Some)],
    ) {
        check(&CIVIC_SAFETY, Some(TAKEN), topic, &lines);
    }

    #[test]
    fn any_json_is_to_decode_what_it_is_to_the_model(
        lines in prop::collection::vec(open_event(), 1..24),
        taken in select(vec![None, Some(TAKEN)]),
        topic in prop_oneof![3 => Just(None), 2 => (0..4usize).prop_map(Some)],
    ) {
        check(&OPEN, taken, topic, &lines);
    }

    #[test]
    fn any_bytes_are_to_decode_what_they_are_to_the_model(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..24),
        within in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut lines = lines;
        lines.push([b"{\"s\":\"a\",\"g\":\"", &within[..], b"\"}"].concat());
        lines.iter_mut().flatten().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\t');
        check(&OPEN, Some(TAKEN), None, &lines);
    }

    #[test]
    fn a_file_has_the_same_events_however_it_is_cut(
        lines in prop::collection::vec((prop_oneof![4 => event(), 1 => changed(), 1 => Just(Vec::new()), 1 => Just(b" \t".to_vec())], any::<bool>()), 0..40),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        ended in any::<bool>(),
    ) {
        let (mut bytes, mut starts, mut expected) = (Vec::new(), vec![0], Vec::new());
        for (line, carriage_return) in lines {
            if !line.iter().all(u8::is_ascii_whitespace) {
                expected.push((bytes.len() as u64, line.clone()));
            }
            bytes.extend(line);
            bytes.extend_from_slice(if carriage_return { b"\r\n" } else { b"\n" });
            starts.push(bytes.len());
        }
        if !ended && bytes.pop().is_some() {
            starts.pop();
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&starts)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let bytes = Bytes::from(bytes);
        let slab = |from: usize, to: usize| Slab {
            first_offset: Offset(from as u64),
            count: 0,
            ingest: Millis(0),
            topic: None,
            bytes: bytes.slice(from..to),
            numbering: Numbering::Bytes,
        };
        let whole = fates(&CIVIC_SAFETY, &slab(0, bytes.len()));
        let parts: Fates = cuts.windows(2).flat_map(|cut| fates(&CIVIC_SAFETY, &slab(cut[0], cut[1]))).collect();
        prop_assert_eq!(&whole, &parts);
        let (offsets, lines): (Vec<u64>, Vec<Vec<u8>>) = expected.into_iter().unzip();
        prop_assert_eq!(whole.iter().map(|fate| fate.0).collect::<Vec<_>>(), offsets);
        let expected = read(&CIVIC_SAFETY.plan, &CIVIC_SAFETY.schemas, None, None, &lines);
        for ((_, fate), expected) in whole.into_iter().zip(expected) {
            let expected = expected.map(|reading| Reading { uuid: None, ..reading });
            prop_assert_eq!(fate.map(|(reading, _)| reading), expected);
        }
    }
}

#[test]
fn the_generators_events_are_to_decode_what_they_are_to_the_model() {
    let taken = check(&CIVIC_SAFETY, Some(TAKEN), None, &EVENTS);
    let ever = check(&CIVIC_SAFETY, None, None, &EVENTS);
    assert!(100 < taken && taken < ever && ever < EVENTS.len(), "{taken} and {ever}: every rule is met");
}

/// Lines that are easy on a decoder's weak points; one that took time by the square of their length would not end. Only the bytes' fates are asked.
#[test]
fn large_hostile_lines_have_their_fates() {
    const MANY: usize = 1_000_000;
    let names = |escape: &str| (0..MANY).map(|n| format!("\"{escape}{n}\":{n}")).collect::<Vec<_>>().join(",");
    let (plain, escaped) = (names("k"), names("\\u006b"));
    let long = "k".repeat(10 * MANY);
    let event = |rest: &str| format!(r#"{{"s":"a","id":"1","t":"2026-01-01T00:00:00Z",{rest}}}"#);
    let unix = |time: &str| format!(r#"{{"s":"u","t":"{time}"}}"#);
    let cases: [(&str, String, Result<(), Reason>); 19] = [
        ("arrays", "[".repeat(MANY), Err(Reason::Json)),
        ("objects", "{\"o\":".repeat(MANY), Err(Reason::Json)),
        ("closed arrays", event(&format!("\"o\":{}{}", "[".repeat(MANY), "]".repeat(MANY))), Err(Reason::Json)),
        ("closed objects", event(&format!("\"o\":{}1{}", "{\"o\":".repeat(MANY), "}".repeat(MANY))), Err(Reason::Json)),
        ("names", event(&plain), Ok(())),
        ("escaped names", event(&escaped), Ok(())),
        ("names twice", event(&format!("{plain},\"k0\":1")), Err(Reason::Json)),
        ("names twice, once escaped", event(&format!("{plain},\"\\u006b0\":1")), Err(Reason::Json)),
        ("one name again and again", event(&vec!["\"k\":1"; MANY].join(",")), Err(Reason::Json)),
        ("objects of one name", event(&format!("\"o\":[{}]", vec!["{\"k\":1}"; MANY].join(","))), Ok(())),
        ("a long name", event(&format!("\"{long}\":1")), Ok(())),
        ("a long name twice", event(&format!("\"{long}\":1,\"{long}\":1")), Err(Reason::Json)),
        ("a long id", event("\"g\":1").replace("\"1\"", &format!("\"{long}\"")), Err(Reason::Id)),
        ("a long group", event(&format!("\"g\":\"{long}\"")), Ok(())),
        ("escapes", event(&format!("\"g\":\"{}\"", "\\\\".repeat(MANY))), Ok(())),
        ("digits", event(&format!("\"x\":0.{}", "9".repeat(MANY))), Ok(())),
        ("blanks", event(&format!("\"x\":{}1", " ".repeat(MANY))), Ok(())),
        ("digits of a time", unix(&format!("0.{}", "9".repeat(MANY))), Ok(())),
        ("digits of a time's exponent", unix(&format!("1e-{}", "9".repeat(MANY))), Ok(())),
    ];
    for (name, line, expected) in cases {
        let slab = Slab {
            first_offset: Offset(0),
            count: 1,
            ingest: Millis(1_800_000_000_000),
            topic: None,
            bytes: Bytes::from(line + "\n"),
            numbering: Numbering::Dense,
        };
        let Decoded { columns, rejects } = OPEN.decoder.decode(&slab);
        let reasons: Vec<Reason> = rejects.iter().map(|reject| reject.reason).collect();
        assert_eq!(
            (columns.offset.len(), reasons),
            (usize::from(expected.is_ok()), expected.err().into_iter().collect()),
            "{name}"
        );
    }
}
