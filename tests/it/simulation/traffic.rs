//! The client: random submissions, and its own record of what was acknowledged. It knows what a pipeline looks like and nothing of the engine.

use bytes::Bytes;
use caudal::core::keyed::KeyHash;
use caudal::core::plan::{Plan, Rule, Source, TimeFormat, Unit, WindowKind};
use caudal::core::row::DeadLetter;
use caudal::core::units::{Micros, TopicId};
use caudal::ingest::letters::Claim;
use caudal::ingest::{Fate, Kept, Submission};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use super::pipelines::REGIONS;

/// Ids that may come again.
const IDS_KEPT: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None yet.
    Waiting,
    /// The job died first: it may be in the log or not.
    Lost,
    Refused,
    /// At this offset.
    Accepted(u64),
}

impl Request {
    pub fn body(&self) -> Bytes {
        self.lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect::<String>().into()
    }
}

/// One request. Every line is unlike any other, ever.
pub struct Request {
    pub lines: Vec<String>,
    pub answer: Answer,
    pub fates: Option<oneshot::Receiver<Vec<Fate>>>,
    /// The dead letters that its lines are retries of, one each; otherwise empty.
    pub retries: Vec<u64>,
    /// Its Idempotency-Key, if it has one.
    pub key: Option<KeyHash>,
    pub topic: Option<TopicId>,
}

/// A dead letter that is to be discarded.
pub struct Discard {
    pub letter: u64,
    pub answer: Option<oneshot::Receiver<()>>,
}

#[derive(Default)]
pub struct Client {
    pub requests: Vec<Request>,
    pub discards: Vec<Discard>,
    lines: u64,
    /// (topic, id, time).
    recent: Vec<(usize, String, i64)>,
}

impl Client {
    /// A request of a few events around this wall-clock time.
    pub fn request(&mut self, plan: &Plan, now_ms: u64, rng: &mut ChaCha8Rng) -> Submission {
        let outside = plan.topics.iter().filter(|topic| topic.emitted.is_none()).count();
        let one_topic = rng.random_bool(0.6).then(|| rng.random_range(0..outside));
        let count = rng.random_range(1..=12);
        let lines: Vec<String> = (0..count)
            .map(|_| {
                let topic = one_topic.unwrap_or_else(|| rng.random_range(0..outside));
                self.lines += 1;
                self.line(plan, topic, one_topic.is_none(), now_ms, rng)
            })
            .collect();
        let bytes: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
        let (applied, fates) = rng.random_bool(0.3).then(oneshot::channel).unzip();
        let topic = one_topic.map(|t| TopicId(t as u16));
        // No other request has its lines.
        let key = rng.random_bool(0.4).then(|| KeyHash::of(&lines[0]));
        self.requests.push(Request { lines, answer: Answer::Waiting, fates, retries: Vec::new(), key, topic });
        Submission {
            topic,
            lines: Bytes::from(bytes),
            count: count as u32,
            applied,
            retries: None,
            kept: Kept::default(),
        }
    }

    /// Letters of one topic are sent anew, one of them perhaps with another body.
    pub fn retry(
        &mut self,
        plan: &Plan,
        letters: &[DeadLetter],
        claim: Claim,
        now_ms: u64,
        rng: &mut ChaCha8Rng,
    ) -> Submission {
        let topic = letters[0].topic.as_ref().map(|name| plan.topic(name).unwrap());
        let lines: Vec<Vec<u8>> = match letters {
            [_] if rng.random_bool(0.4) => {
                self.lines += 1;
                let of = topic.map_or(0, |topic| usize::from(topic.0));
                vec![self.line(plan, of, topic.is_none(), now_ms, rng).into_bytes()]
            }
            letters => letters.iter().map(|letter| letter.body.clone()).collect(),
        };
        let (applied, fates) = rng.random_bool(0.3).then(oneshot::channel).unzip();
        let (count, bytes) = (lines.len() as u32, lines.iter().flat_map(|l| [l.as_slice(), b"\n"]).flatten().copied());
        let bytes: Bytes = bytes.collect();
        let retries = letters.iter().map(|letter| letter.offset.0).collect();
        self.requests.push(Request {
            lines: lines.into_iter().map(text).collect(),
            answer: Answer::Waiting,
            fates,
            retries,
            key: None,
            topic,
        });
        Submission { topic, lines: bytes, count, applied, retries: Some(claim), kept: Kept::default() }
    }

    fn line(&mut self, plan: &Plan, topic: usize, mixed: bool, now_ms: u64, rng: &mut ChaCha8Rng) -> String {
        let n = self.lines;
        if rng.random_bool(0.03) {
            return garbage(n, rng);
        }
        let again = self.recent.choose(rng).filter(|_| rng.random_bool(0.12)).cloned();
        let (topic, id, time) = match again {
            // Another topic's id is no duplicate; in a request of one topic it cannot be helped.
            Some((of, id, time)) if mixed => (of, id, time),
            Some((_, id, time)) => (topic, id, time),
            None => (topic, id(n, rng), self.time(plan, topic, now_ms, rng)),
        };
        let time = if rng.random_bool(0.1) { self.time(plan, topic, now_ms, rng) } else { time };
        self.recent.push((topic, id.clone(), time));
        if self.recent.len() > IDS_KEPT {
            // Some stay for long: an id that comes again after it was forgotten counts anew.
            self.recent.swap_remove(rng.random_range(IDS_KEPT / 4..IDS_KEPT));
        }

        let id = if rng.random_bool(0.1) { id.to_uppercase() } else { id };
        let mut fields = vec![format!(r#""n":{n}"#)];
        let mut field = |chance: f64, text: String, rng: &mut ChaCha8Rng| {
            if rng.random_bool(chance) {
                fields.push(text);
            }
        };
        field(0.98, format!(r#""event_id":"{id}""#), rng);
        field(0.01, r#""event_id":7"#.to_owned(), rng);
        let timestamp = match plan.topics[topic].time_format {
            TimeFormat::Rfc3339 { zone } => format!("\"{}\"", rfc3339(time, zone, rng)),
            TimeFormat::Unix(unit) => unix(time, unit, rng),
        };
        field(0.99, format!(r#""timestamp":{timestamp}"#), rng);
        let region = REGIONS.choose(rng).unwrap();
        field(0.95, format!(r#""region":"{region}""#), rng);
        // Nobody but the job sends to the last topic, if it is an emitted one.
        let wrong = plan.topics.last().filter(|topic| topic.emitted.is_some() && rng.random_bool(0.5));
        let wrong = wrong.map_or("topic.unknown", |topic| &topic.name);
        let source = if rng.random_bool(0.98) { &plan.topics[topic].name } else { wrong };
        field(if mixed { 0.98 } else { 0.2 }, format!(r#""source":"{source}""#), rng);
        let payload = payload(rng);
        field(0.9, format!(r#""payload":{payload}"#), rng);
        field(0.02, r#""region":1"#.to_owned(), rng);
        format!("{{{}}}", fields.join(","))
    }

    /// Most events are of now, with some disorder; others lie exactly on a boundary, are late, or of the future.
    fn time(&self, plan: &Plan, topic: usize, now_ms: u64, rng: &mut ChaCha8Rng) -> i64 {
        let now = now_ms as i64 * 1000;
        let plan_of = &plan.topics[topic];
        let grid = |t: i64| t.div_euclid(1_000_000) * 1_000_000;
        let nudge = *[-1, 0, 0, 0, 1].choose(rng).unwrap();
        let window = plan.windows.choose(rng).unwrap();
        let (WindowKind::Tumbling { every: span }
        | WindowKind::Hopping { size: span, .. }
        | WindowKind::Session { gap: span }) = window.kind;
        let Micros(reach) = span.plus(window.late_allow).plus(plan_of.out_of_order);
        // In a session with another event, or just not.
        if let (Some(gap), Some((_, _, other))) = (window.kind.gap(), self.recent.choose(rng))
            && rng.random_bool(0.25)
        {
            return (other + if rng.random() { gap.0 } else { -gap.0 } + nudge).min(now);
        }
        // As far from another event as a pattern or a join reaches, or just not; as an event, or as the watermark that it makes.
        if let (Some(within), Some((_, _, other))) = (spans(plan).choose(rng), self.recent.choose(rng))
            && rng.random_bool(0.2)
        {
            let far = other + if rng.random_bool(0.7) { within.0 } else { -within.0 };
            let lag = if rng.random_bool(0.3) { plan_of.out_of_order.0 } else { 0 };
            return (far + lag + nudge).min(now);
        }
        match rng.random_range(0..100) {
            0..50 => now - rng.random_range(0..=plan_of.out_of_order.0 + 1),
            // As watermark or as event, exactly at a window's edge.
            50..65 => grid(now) - plan_of.out_of_order.0.min(1) * rng.random_range(0..2) + nudge,
            65..75 => grid(now) + plan_of.out_of_order.0 % 1_000_000 + nudge,
            75..82 => grid(now - rng.random_range(0..=reach)) + nudge,
            82..90 => now - rng.random_range(0..=2 * reach),
            90..93 => now - rng.random_range(0..=4 * 3_600_000_000),
            93..97 => now + plan_of.max_future.0 + nudge,
            97..99 => now + rng.random_range(0..=2 * plan_of.max_future.0 + 1),
            _ => *[-1, 0, -62_135_596_800_000_000, 253_402_300_799_999_999].choose(rng).unwrap(),
        }
    }
}

/// The client's lines are all text.
fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap()
}

/// The times within which patterns and joins look.
fn spans(plan: &Plan) -> Vec<Micros> {
    let patterns = plan.alerts.iter().filter_map(|alert| match &alert.rule {
        Rule::Pattern(pattern) => Some(pattern.within),
        Rule::Condition { .. } | Rule::Anomaly(_) => None,
    });
    let joins = plan.emits.iter().filter_map(|emit| match &emit.source {
        Source::Join(join) => Some(join.within),
        Source::Events { .. } => None,
    });
    patterns.chain(joins).collect()
}

fn id(n: u64, rng: &mut ChaCha8Rng) -> String {
    if rng.random_bool(0.7) {
        let bits: u128 = rng.random();
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    } else {
        format!("e{n}")
    }
}

fn payload(rng: &mut ChaCha8Rng) -> String {
    let ages = ["0", "-7", "41", "5.0", "3e0", "null", "9223372036854775807", "-9223372036854775808", "1.5", "\"x\""];
    let rare_ages = ["9223372036854775808", "1e300", "-0", "-0.0", "18446744073709551616"];
    let scores = ["0.1", "0.2", "0.30000000000000004", "-0.0", "0", "7", "1e16", "-1e16", "2.5e-3", "null"];
    let rare_scores =
        ["1.7e308", "-1.7e308", "5e-324", "-4.9e-324", "9007199254740993", "18446744073709551617", "1e400"];
    let mut fields = Vec::new();
    if rng.random_bool(0.8) {
        let age = match rng.random_range(0..20) {
            0 => (*rare_ages.choose(rng).unwrap()).to_owned(),
            1..=5 => (*ages.choose(rng).unwrap()).to_owned(),
            _ => rng.random_range(0..100).to_string(),
        };
        fields.push(format!(r#""age":{age}"#));
    }
    if rng.random_bool(0.8) {
        let score = match rng.random_range(0..20) {
            0 => (*rare_scores.choose(rng).unwrap()).to_owned(),
            1..=5 => (*scores.choose(rng).unwrap()).to_owned(),
            _ => format!("{:?}", rng.random_range(-1000.0..1000.0_f64)),
        };
        fields.push(format!(r#""score":{score}"#));
    }
    if rng.random_bool(0.6) {
        fields.push(format!(
            r#""flag":{}"#,
            ["true", "false", "true", "false", "true", "false", "null", "7"].choose(rng).unwrap()
        ));
    }
    if rng.random_bool(0.6) {
        fields
            .push(format!(r#""level":{}"#, ["1", "2", "2.0", "-3", "1", "2", "null", "\"high\""].choose(rng).unwrap()));
    }
    if rng.random_bool(0.5) {
        let tags =
            [r#"["a"]"#, r#"["a","b"]"#, r#"["b",[]]"#, "[]", "[true]", "[7]", "[null]", r#"{"0":"a"}"#, "[[1]]"];
        // Few are wrong.
        let many = if rng.random_bool(0.9) { 3 } else { tags.len() };
        fields.push(format!(r#""tags":{}"#, tags[..many].choose(rng).unwrap()));
    }
    format!("{{{}}}", fields.join(","))
}

fn garbage(n: u64, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..6) {
        0 => format!(r#"{{"n":{n}"#),
        1 => format!("{n}"),
        2 => format!(r#"{{"n":{n},"n":{n}}}"#),
        3 => format!(r#"{{"n":{n},"deep":{}1{}}}"#, "[".repeat(130), "]".repeat(130)),
        4 => format!(r#"{{"n":{n},"lone":"\ud800"}}"#),
        _ => format!(r#"{{"n":{n},}}"#),
    }
}

/// One of the ways to write a moment. Where there is a `zone` that times are of unless they say otherwise, they need not say it.
fn rfc3339(micros: i64, zone: Option<i32>, rng: &mut ChaCha8Rng) -> String {
    let left_out = zone.filter(|_| rng.random_bool(0.6)).map(|seconds| i64::from(seconds) / 60);
    let zone_minutes: i64 = match left_out {
        Some(minutes) => minutes,
        None if rng.random_bool(0.2) => rng.random_range(-720..=720),
        None => 0,
    };
    let local = micros.saturating_add(zone_minutes * 60_000_000);
    let (days, of_day) = (local.div_euclid(86_400_000_000), local.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let fraction = match fraction {
        0 if rng.random_bool(0.8) => String::new(),
        f if rng.random_bool(0.3) => format!(".{f:06}{}", rng.random_range(0..1000)),
        f if f % 1000 == 0 => format!(".{:03}", f / 1000),
        f => format!(".{f:06}"),
    };
    let named = match zone_minutes {
        _ if left_out.is_some() => String::new(),
        0 => (*["Z", "Z", "z", "+00:00"].choose(rng).unwrap()).to_owned(),
        m => format!("{}{:02}:{:02}", if m < 0 { '-' } else { '+' }, m.abs() / 60, m.abs() % 60),
    };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let between = if zone.is_some() && rng.random_bool(0.3) { ' ' } else { 'T' };
    format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{fraction}{named}")
}

/// One of the ways to write a moment as a number: with few digits or many, with an exponent, as a text.
fn unix(micros: i64, unit: Unit, rng: &mut ChaCha8Rng) -> String {
    let places: i32 = match unit {
        Unit::Seconds => 6,
        Unit::Milliseconds => 3,
        Unit::Microseconds => 0,
        Unit::Nanoseconds => -3,
    };
    let sign = if micros < 0 { "-" } else { "" };
    let mut digits = micros.unsigned_abs().to_string();
    // The number is 0.digits · 10^point.
    let mut point = digits.len() as i32 - places;
    if rng.random_bool(0.4) {
        let more = rng.random_range(1..=24);
        digits.extend((0..more).map(|_| char::from(b'0' + rng.random_range(0..10))));
    }
    let exponent = match rng.random_range(0..4) {
        0 => *[-6, -3, 3, 6, 9, 12].choose(rng).unwrap(),
        _ => 0,
    };
    point -= exponent;
    while point < 1 {
        digits.insert(0, '0');
        point += 1;
    }
    while digits.len() < point as usize {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point as usize);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = if rng.random_bool(0.7) { fraction.trim_end_matches('0') } else { fraction };
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    let exponent = match exponent {
        0 => String::new(),
        e if e > 0 && rng.random() => format!("E+{e}"),
        e => format!("e{e}"),
    };
    let number = format!("{sign}{whole}{fraction}{exponent}");
    if rng.random_bool(0.3) { format!("\"{number}\"") } else { number }
}

/// (year, month, day) of a day counted from 1970-01-01, by walking there.
fn civil(mut days: i64) -> (i64, i64, i64) {
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    // 400 years have 146,097 days.
    let mut year = 1970 + days.div_euclid(146_097) * 400;
    days = days.rem_euclid(146_097);
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, days + 1)
}
