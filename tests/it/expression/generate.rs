//! Rows full of edges, and random expressions: each as Caudal reads it and as PostgreSQL does.
#![allow(clippy::many_single_char_names, reason = "operands have no better names")]

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use caudal::core::expression::Type;

use super::Row;
use crate::scalar::Scalar;

const TEXTS: [&str; 17] = [
    "",
    " ",
    "a",
    "abc",
    "ABC",
    " abc ",
    "äöü",
    "Straße",
    "日本語",
    "a,b,,c",
    "12",
    " -7 ",
    "1.5e3",
    "true",
    "off",
    "%_\\",
    "high",
];
const INTEGERS: [i64; 14] =
    [0, 1, -1, 2, 3, 7, -10, 1000, i64::MAX, i64::MIN, i64::MAX - 1, 1 << 53, (1 << 53) + 1, -(1 << 62)];
const NUMBERS: [f64; 18] = [
    0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    1e15,
    123_456.789,
    1e-5,
    1e308,
    -1e308,
    5e-324,
    9.3e18,
    1e-300,
    3.0,
];
/// 0001-01-01, 9999-12-31, and times between.
const TIMES: [i64; 8] = [
    -62_135_596_800_000_000,
    253_402_300_799_999_999,
    0,
    -1,
    1_795_348_800_123_456,
    951_782_400_000_000,
    -11_676_096_000_000_000,
    1_700_000_000_000_001,
];

pub fn row(random: &mut ChaCha8Rng) -> Row {
    let mut value = |of: Type| {
        if random.random_ratio(1, 6) {
            return None;
        }
        Some(match of {
            Type::Text => Scalar::Text((*TEXTS.choose(random).unwrap()).to_owned()),
            Type::Integer => Scalar::Integer(*INTEGERS.choose(random).unwrap()),
            Type::Number => Scalar::Number(*NUMBERS.choose(random).unwrap()),
            Type::Boolean => Scalar::Boolean(random.random()),
            Type::Timestamp => Scalar::Timestamp(*TIMES.choose(random).unwrap()),
        })
    };
    let values = super::FIELDS.iter().map(|(_, of)| value(*of)).collect();
    (values, *TIMES.choose(random).unwrap())
}

/// The same expression in both dialects.
#[derive(Clone, Debug)]
pub struct Made {
    pub ours: String,
    pub theirs: String,
}

fn both(text: String) -> Made {
    Made { ours: text.clone(), theirs: text }
}

pub struct Maker<'r> {
    pub random: &'r mut ChaCha8Rng,
}

pub const TYPES: [Type; 5] = [Type::Text, Type::Integer, Type::Number, Type::Boolean, Type::Timestamp];

/// PostgreSQL's name of the type.
pub fn theirs(of: Type) -> &'static str {
    match of {
        Type::Text => "text",
        Type::Integer => "int8",
        Type::Number => "float8",
        Type::Boolean => "bool",
        Type::Timestamp => "timestamptz",
    }
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Maker<'_> {
    fn pick(&mut self, count: u32) -> u32 {
        self.random.random_range(0..count)
    }

    pub fn any(&mut self, depth: u32) -> (Type, Made) {
        let of = *TYPES.choose(self.random).unwrap();
        (of, self.of(of, depth))
    }

    pub fn of(&mut self, of: Type, depth: u32) -> Made {
        if depth == 0 || self.pick(8) == 0 {
            return self.leaf(of);
        }
        if self.pick(3) == 0 {
            return self.general(of, depth - 1);
        }
        match of {
            Type::Text => self.text(depth - 1),
            Type::Integer => self.integer(depth - 1),
            Type::Number => self.number(depth - 1),
            Type::Boolean => self.boolean(depth - 1),
            Type::Timestamp => self.time(depth - 1),
        }
    }

    /// A field or a literal. PostgreSQL computes with constants before it looks at rows, and so meets errors that were not asked for: there, literals come out of
    /// functions of which it knows nothing.
    fn leaf(&mut self, of: Type) -> Made {
        let fields: Vec<&str> = super::FIELDS.iter().filter(|(_, field)| *field == of).map(|(name, _)| *name).collect();
        match self.pick(6) {
            0 => {
                let name = match of {
                    Type::Text => "TEXT",
                    Type::Integer => "INTEGER",
                    Type::Number => "DOUBLE PRECISION",
                    Type::Boolean => "BOOLEAN",
                    Type::Timestamp => "TIMESTAMP",
                };
                Made { ours: format!("CAST(NULL AS {name})"), theirs: format!("lit(NULL::{})", theirs(of)) }
            }
            1 | 2 => self.literal(of),
            _ if of == Type::Timestamp && self.pick(3) == 0 => {
                Made { ours: "event_time()".to_owned(), theirs: "et".to_owned() }
            }
            _ => both((*fields.choose(self.random).unwrap()).to_owned()),
        }
    }

    fn literal(&mut self, of: Type) -> Made {
        let written = match of {
            Type::Text => quoted(TEXTS.choose(self.random).unwrap()),
            Type::Integer => INTEGERS.choose(self.random).unwrap().to_string(),
            Type::Number => format!("{:?}", NUMBERS.choose(self.random).unwrap()),
            Type::Boolean => ["TRUE", "FALSE"].choose(self.random).unwrap().to_string(),
            Type::Timestamp => {
                let time = caudal::core::time::format(caudal::core::units::Micros(*TIMES.choose(self.random).unwrap()));
                format!("'{time}'")
            }
        };
        let ours = if of == Type::Timestamp { format!("TIMESTAMP {written}") } else { written.clone() };
        // A sign in front of the digits belongs to them only in quotes.
        let quoted = if written.starts_with('\'') { written } else { format!("'{written}'") };
        Made { ours, theirs: format!("lit({quoted}::{})", theirs(of)) }
    }

    /// A small integer, for places and lengths; PostgreSQL takes 32 bits there.
    fn small(&mut self) -> Made {
        if self.pick(2) == 0 {
            let made = self.leaf(Type::Integer);
            return Made { ours: format!("({} % 5)", made.ours), theirs: format!("({} % 5)::int4", made.theirs) };
        }
        let value = self.random.random_range(-3..8);
        Made { ours: value.to_string(), theirs: format!("lit({value}::int8)::int4") }
    }

    /// What there is for every type.
    fn general(&mut self, of: Type, depth: u32) -> Made {
        let (a, b, c) = (self.of(of, depth), self.of(of, depth), self.of(of, depth));
        let collated = |made: &Made| {
            if of == Type::Text { format!("({} COLLATE \"C\")", made.theirs) } else { made.theirs.clone() }
        };
        match self.pick(8) {
            0 => {
                let (when, then) = (self.of(Type::Boolean, depth), self.of(Type::Boolean, depth));
                let case = |w: &str, t: &str, a: &str, b: &str, c: &str| {
                    format!("CASE WHEN {w} THEN {a} WHEN {t} THEN {b} ELSE {c} END")
                };
                Made {
                    ours: case(&when.ours, &then.ours, &a.ours, &b.ours, &c.ours),
                    theirs: case(&when.theirs, &then.theirs, &a.theirs, &b.theirs, &c.theirs),
                }
            }
            1 => {
                let key = *TYPES.choose(self.random).unwrap();
                let (k, v, w) = (self.of(key, depth), self.of(key, depth), self.of(key, depth));
                let case = |k: &str, v: &str, w: &str, a: &str, b: &str| {
                    format!("CASE {k} WHEN {v} THEN {a} WHEN {w} THEN {b} END")
                };
                let collate = |made: &Made| {
                    if key == Type::Text { format!("({} COLLATE \"C\")", made.theirs) } else { made.theirs.clone() }
                };
                Made {
                    ours: case(&k.ours, &v.ours, &w.ours, &a.ours, &b.ours),
                    theirs: case(&collate(&k), &v.theirs, &w.theirs, &a.theirs, &b.theirs),
                }
            }
            2 => Made {
                ours: format!("COALESCE({}, {}, {})", a.ours, b.ours, c.ours),
                theirs: format!("COALESCE({}, {}, {})", a.theirs, b.theirs, c.theirs),
            },
            3 => Made {
                ours: format!("NULLIF({}, {})", a.ours, b.ours),
                theirs: format!("NULLIF({}, {})", collated(&a), collated(&b)),
            },
            4 => Made {
                ours: format!("GREATEST({}, {}, {})", a.ours, b.ours, c.ours),
                theirs: format!("GREATEST({}, {}, {})", collated(&a), collated(&b), collated(&c)),
            },
            5 => Made {
                ours: format!("LEAST({}, {})", a.ours, b.ours),
                theirs: format!("LEAST({}, {})", collated(&a), collated(&b)),
            },
            6 => Made { ours: format!("COALESCE(NULL, {}, NULL)", a.ours), theirs: a.theirs },
            _ => Made { ours: format!("({})", a.ours), theirs: format!("({})", a.theirs) },
        }
    }

    fn text(&mut self, depth: u32) -> Made {
        let (a, b, c) = (self.of(Type::Text, depth), self.of(Type::Text, depth), self.of(Type::Text, depth));
        let (m, n) = (self.small(), self.small());
        let make = |form: &dyn Fn(&str, &str, &str, &str, &str) -> String| Made {
            ours: form(&a.ours, &b.ours, &c.ours, &m.ours, &n.ours),
            theirs: form(&a.theirs, &b.theirs, &c.theirs, &m.theirs, &n.theirs),
        };
        match self.pick(17) {
            0 => make(&|a, b, _, _, _| format!("({a} || {b})")),
            1 => make(&|a, _, _, m, n| format!("SUBSTRING({a} FROM {m} FOR {n})")),
            2 => make(&|a, _, _, m, _| format!("SUBSTRING({a}, {m})")),
            3 => make(&|a, _, _, m, _| format!("LEFT({a}, {m})")),
            4 => make(&|a, _, _, m, _| format!("RIGHT({a}, {m})")),
            5 => make(&|a, b, c, _, _| format!("REPLACE({a}, {b}, {c})")),
            6 => make(&|a, _, _, _, _| format!("TRIM({a})")),
            7 => make(&|a, b, _, _, _| format!("TRIM(LEADING {b} FROM {a})")),
            8 => make(&|a, b, _, _, _| format!("RTRIM({a}, {b})")),
            9 => make(&|a, b, _, m, _| format!("SPLIT_PART({a}, {b}, {m})")),
            10 => make(&|a, b, c, _, _| format!("CONCAT({a}, {b}, {c})")),
            11 => Made { ours: format!("LOWER({})", a.ours), theirs: format!("unicode_lower({})", a.theirs) },
            12 => Made { ours: format!("UPPER({})", a.ours), theirs: format!("unicode_upper({})", a.theirs) },
            13 => {
                let i = self.of(Type::Integer, depth);
                Made { ours: format!("CAST({} AS TEXT)", i.ours), theirs: format!("({})::text", i.theirs) }
            }
            14 => {
                let x = self.of(Type::Number, depth);
                // Where PostgreSQL has −0, Caudal has 0.
                Made {
                    ours: format!("CAST({} AS TEXT)", x.ours),
                    theirs: format!("({} + 0.0::float8)::text", x.theirs),
                }
            }
            15 => {
                let b = self.of(Type::Boolean, depth);
                Made { ours: format!("CAST({} AS TEXT)", b.ours), theirs: format!("({})::text", b.theirs) }
            }
            _ => make(&|a, b, _, _, _| format!("({a} || ',' || {b})")),
        }
    }

    fn integer(&mut self, depth: u32) -> Made {
        let (a, b) = (self.of(Type::Integer, depth), self.of(Type::Integer, depth));
        let make = |form: &dyn Fn(&str, &str) -> String| Made {
            ours: form(&a.ours, &b.ours),
            theirs: form(&a.theirs, &b.theirs),
        };
        match self.pick(15) {
            0 => make(&|a, b| format!("({a} + {b})")),
            1 => make(&|a, b| format!("({a} - {b})")),
            2 => make(&|a, b| format!("({a} * {b})")),
            3 => make(&|a, b| format!("({a} % {b})")),
            4 => make(&|a, b| format!("MOD({a}, {b})")),
            5 => make(&|a, _| format!("(- {a})")),
            6 => make(&|a, _| format!("ABS({a})")),
            7 => Made { ours: format!("SIGN({})", a.ours), theirs: format!("SIGN({})::int8", a.theirs) },
            8 => {
                let t = self.of(Type::Text, depth);
                Made { ours: format!("LENGTH({})", t.ours), theirs: format!("LENGTH({})::int8", t.theirs) }
            }
            9 => {
                let (t, u) = (self.of(Type::Text, depth), self.of(Type::Text, depth));
                Made {
                    ours: format!("POSITION({} IN {})", u.ours, t.ours),
                    theirs: format!("STRPOS({}, {})::int8", t.theirs, u.theirs),
                }
            }
            10 => {
                let part = *["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "DOW", "DOY"].choose(self.random).unwrap();
                let time = self.of(Type::Timestamp, depth);
                Made {
                    ours: format!("EXTRACT({part} FROM {})", time.ours),
                    theirs: format!("EXTRACT({part} FROM {})::int8", time.theirs),
                }
            }
            11 => {
                let x = self.of(Type::Number, depth);
                Made { ours: format!("CAST({} AS BIGINT)", x.ours), theirs: format!("({})::int8", x.theirs) }
            }
            12 => {
                let b = self.of(Type::Boolean, depth);
                Made { ours: format!("CAST({} AS INTEGER)", b.ours), theirs: format!("({})::int4::int8", b.theirs) }
            }
            13 => {
                let t = self.of(Type::Text, depth);
                Made { ours: format!("CAST({} AS INTEGER)", t.ours), theirs: format!("({})::int8", t.theirs) }
            }
            _ => make(&|a, _| format!("ROUND({a})")).without_rounding(&a),
        }
    }

    fn number(&mut self, depth: u32) -> Made {
        let (a, b) = (self.of(Type::Number, depth), self.of(Type::Number, depth));
        let make = |form: &dyn Fn(&str, &str) -> String| Made {
            ours: form(&a.ours, &b.ours),
            theirs: form(&a.theirs, &b.theirs),
        };
        match self.pick(18) {
            0 => make(&|a, b| format!("({a} + {b})")),
            1 => make(&|a, b| format!("({a} - {b})")),
            2 => make(&|a, b| format!("({a} * {b})")),
            3 => make(&|a, b| format!("({a} / {b})")),
            4 => make(&|a, _| format!("(- {a})")),
            5 => make(&|a, _| format!("ABS({a})")),
            6 => make(&|a, _| format!("SIGN({a})")),
            7 => make(&|a, _| format!("ROUND({a})")),
            8 => make(&|a, _| format!("FLOOR({a})")),
            9 => make(&|a, _| format!("CEIL({a})")),
            10 => make(&|a, _| format!("TRUNC({a})")),
            11 => make(&|a, _| format!("SQRT({a})")),
            12 => {
                let (i, j) = (self.of(Type::Integer, depth), self.of(Type::Integer, depth));
                Made {
                    ours: format!("({} / {})", i.ours, j.ours),
                    theirs: format!("(({})::float8 / ({})::float8)", i.theirs, j.theirs),
                }
            }
            13 => {
                let i = self.of(Type::Integer, depth);
                Made {
                    ours: format!("({} + {})", i.ours, a.ours),
                    theirs: format!("(({})::float8 + {})", i.theirs, a.theirs),
                }
            }
            14 => {
                let part = *["SECOND", "EPOCH"].choose(self.random).unwrap();
                let time = self.of(Type::Timestamp, depth);
                Made {
                    ours: format!("EXTRACT({part} FROM {})", time.ours),
                    theirs: format!("EXTRACT({part} FROM {})::float8", time.theirs),
                }
            }
            15 => {
                let (m, n) = (self.of(Type::Timestamp, depth), self.of(Type::Timestamp, depth));
                Made {
                    ours: format!("({} - {})", m.ours, n.ours),
                    theirs: format!("EXTRACT(EPOCH FROM ({} - {}))::float8", m.theirs, n.theirs),
                }
            }
            16 => {
                let t = self.of(Type::Text, depth);
                Made { ours: format!("CAST({} AS DOUBLE)", t.ours), theirs: format!("({})::float8", t.theirs) }
            }
            _ => {
                let i = self.of(Type::Integer, depth);
                Made {
                    ours: format!("CAST({} AS DOUBLE PRECISION)", i.ours),
                    theirs: format!("({})::float8", i.theirs),
                }
            }
        }
    }

    fn boolean(&mut self, depth: u32) -> Made {
        let (a, b) = (self.of(Type::Boolean, depth), self.of(Type::Boolean, depth));
        let make = |form: &dyn Fn(&str, &str) -> String| Made {
            ours: form(&a.ours, &b.ours),
            theirs: form(&a.theirs, &b.theirs),
        };
        match self.pick(16) {
            0 | 1 => make(&|a, b| format!("({a} AND {b})")),
            2 | 3 => make(&|a, b| format!("({a} OR {b})")),
            4 => make(&|a, _| format!("(NOT {a})")),
            5 => {
                let test =
                    *["TRUE", "FALSE", "UNKNOWN", "NOT TRUE", "NOT FALSE", "NOT UNKNOWN"].choose(self.random).unwrap();
                make(&|a, _| format!("({a} IS {test})"))
            }
            6 => {
                let (_, any) = self.any(depth);
                let test = *["NULL", "NOT NULL"].choose(self.random).unwrap();
                Made { ours: format!("({} IS {test})", any.ours), theirs: format!("({} IS {test})", any.theirs) }
            }
            7 => {
                let (t, not) = (self.of(Type::Text, depth), *["", "NOT "].choose(self.random).unwrap());
                let pattern = *["%", "a%", "%b%", "_b_", r"\%\_%", "", "__%", "%ß%"].choose(self.random).unwrap();
                Made {
                    ours: format!("({} {not}LIKE '{pattern}')", t.ours),
                    theirs: format!("({} COLLATE \"C\" {not}LIKE '{pattern}')", t.theirs),
                }
            }
            8 => {
                let t = self.of(Type::Text, depth);
                let pattern = *["%A%", "äÖ%", "_B_", "strasse", "STRA%"].choose(self.random).unwrap();
                Made {
                    ours: format!("({} ILIKE '{pattern}')", t.ours),
                    theirs: format!("(unicode_lower({}) LIKE unicode_lower('{pattern}'))", t.theirs),
                }
            }
            9 => {
                let (t, u) = (self.of(Type::Text, depth), self.of(Type::Text, depth));
                Made {
                    ours: format!("STARTS_WITH({}, {})", t.ours, u.ours),
                    theirs: format!("STARTS_WITH({}, {})", t.theirs, u.theirs),
                }
            }
            10 => {
                let t = self.of(Type::Text, depth);
                Made { ours: format!("CAST({} AS BOOLEAN)", t.ours), theirs: format!("({})::bool", t.theirs) }
            }
            11 => {
                let t = self.of(Type::Text, depth);
                let pattern = *["^a", "b", "[0-9]+", "^$", "a.c"].choose(self.random).unwrap();
                Made {
                    ours: format!("REGEXP_LIKE({}, '{pattern}')", t.ours),
                    theirs: format!("({} ~ '{pattern}')", t.theirs),
                }
            }
            _ => self.comparison(depth),
        }
    }

    fn comparison(&mut self, depth: u32) -> Made {
        let of = *TYPES.choose(self.random).unwrap();
        let (mut a, b, c) = (self.of(of, depth), self.of(of, depth), self.of(of, depth));
        if of == Type::Text {
            a.theirs = format!("({} COLLATE \"C\")", a.theirs);
        }
        let make = |form: &dyn Fn(&str, &str, &str) -> String| Made {
            ours: form(&a.ours, &b.ours, &c.ours),
            theirs: form(&a.theirs, &b.theirs, &c.theirs),
        };
        let not = *["", "NOT "].choose(self.random).unwrap();
        match self.pick(5) {
            0 => make(&|a, b, c| format!("({a} {not}BETWEEN {b} AND {c})")),
            // PostgreSQL evaluates some candidates before others; spelled out, from left to right.
            1 => Made {
                ours: format!("({} {not}IN ({}, {}))", a.ours, b.ours, c.ours),
                theirs: format!("({not}({} = {} OR {} = {}))", a.theirs, b.theirs, a.theirs, c.theirs),
            },
            2 => make(&|a, b, _| format!("({a} IS {not}DISTINCT FROM {b})")),
            3 if of == Type::Number => {
                let i = self.of(Type::Integer, depth);
                Made {
                    ours: format!("({} <= {})", i.ours, b.ours),
                    theirs: format!("(({})::float8 <= {})", i.theirs, b.theirs),
                }
            }
            _ => {
                let op = *["=", "<>", "<", "<=", ">", ">="].choose(self.random).unwrap();
                make(&|a, b, _| format!("({a} {op} {b})"))
            }
        }
    }

    fn time(&mut self, depth: u32) -> Made {
        let a = self.of(Type::Timestamp, depth);
        let unit =
            *["second", "minute", "hour", "day", "week", "month", "quarter", "year"].choose(self.random).unwrap();
        Made {
            ours: format!("DATE_TRUNC('{unit}', {})", a.ours),
            theirs: format!("date_trunc('{unit}', {})", a.theirs),
        }
    }
}

impl Made {
    /// PostgreSQL rounds integers by way of doubles.
    fn without_rounding(self, of: &Self) -> Self {
        Self { ours: self.ours, theirs: of.theirs.clone() }
    }
}
