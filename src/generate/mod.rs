//! The seeded event generator, driven by the topics' JSON Schemas and the pipeline file's hints: the same seed gives the same bytes.

mod random;
mod pattern;
mod moment;
mod program;
mod mistakes;

use crate::core::units::{Micros, TopicId};
use crate::generate::mistakes::Mistakes;
use crate::generate::moment::Dates;
use crate::generate::program::{Pen, Program};
use crate::generate::random::{Chance, Random};
use crate::pipeline::{BurstHint, Pipelines};

/// Earlier events that may be sent again. At 340 bytes an event they take 1.4 MB.
const MEMORY_EVENTS: usize = 4_096;
/// Sample events that each topic's program must get past the schema before it is trusted.
const PROOFS: usize = 32;
/// 0001-01-01 and 9999-12-31: no event lies outside.
const TIMES: (i64, i64) = (-62_135_596_800_000_000, 253_402_300_799_999_999);

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub seed: u64,
    /// Event time of the first event.
    pub start: Micros,
    /// Events in a second of event time: each next event is 1/rate later.
    pub rate: f64,
    /// Probabilities from 0 to 1, each for an event by itself.
    pub duplicates: f64,
    pub invalid: f64,
    pub late: f64,
    /// How far back a late event's time lies.
    pub late_by: Micros,
    /// Events are up to this much out of order, evenly.
    pub out_of_order: Micros,
    /// Overrides the file's hint.
    pub burst: Option<BurstHint>,
}

impl Default for Settings {
    /// Undisturbed, a thousand events a second from 2026-01-01T00:00:00Z on: a fixed moment, so that the bytes are the same on any day.
    fn default() -> Self {
        Self {
            seed: 1,
            start: Micros(1_767_225_600_000_000),
            rate: 1_000.0,
            duplicates: 0.0,
            invalid: 0.0,
            late: 0.0,
            late_by: Micros(3_600_000_000),
            out_of_order: Micros(0),
            burst: None,
        }
    }
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub topic: TopicId,
    pub kind: Kind,
    /// One line of JSON, without line end.
    pub line: Vec<u8>,
}

/// What was made of an event on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Valid,
    /// The bytes of an earlier valid event.
    Duplicate,
    Invalid,
    /// Valid, but its time lies `late_by` back.
    Late,
}

/// An endless stream of events.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    random: Random,
    dates: Dates,
    topics: Vec<Topic>,
    mistakes: Mistakes,
    /// Where `set_time` last put the stream, and the events since.
    base: Micros,
    since_base: u64,
    bursts: Vec<Volley>,
    memory: Memory,
    chances: Chances,
    left_out: Vec<String>,
}

#[derive(Debug)]
struct Topic {
    /// None: the job makes its events itself, or they cannot be generated.
    program: Option<Program>,
    /// Draws of 32 bits below it and not below the topic before it fall to this topic.
    share_end: u64,
    /// Events with an id can be sent again.
    has_id: bool,
}

#[derive(Debug)]
struct Volley {
    topic: TopicId,
    chance: Chance,
    size: u32,
    left: u32,
}

#[derive(Debug)]
struct Chances {
    duplicate: Chance,
    invalid: Chance,
    late: Chance,
}

impl Generator {
    /// A topic whose schema asks for what cannot be generated is left out.
    ///
    /// # Errors
    /// If no topic is left (names the topics and the pointers), or a setting makes no sense.
    pub fn new(pipeline: &Pipelines, settings: Settings) -> Result<Self, String> {
        check(&settings)?;
        let mistakes = Mistakes::new(pipeline)?;
        let mut left_out = Vec::new();
        let mut programs = Vec::new();
        for (at, (plan, schema)) in pipeline.plan.topics.iter().zip(&pipeline.schemas).enumerate() {
            let compile = || {
                let schema = serde_json::from_str(schema).map_err(|error| error.to_string())?;
                let program = Program::compile(&schema, plan, &pipeline.plan.topic_field)?;
                prove(&program, &settings, |line| mistakes.judge(at, line))?;
                Ok(program)
            };
            let program = plan.emitted.is_none().then(compile).transpose();
            programs.push(program.unwrap_or_else(|why: String| {
                left_out.push(format!("topic {}: {why}", plan.name));
                None
            }));
        }
        let made = |at: usize| programs.get(at).is_some_and(Option::is_some);
        let weights: Vec<f64> =
            pipeline.hints.weights.iter().enumerate().map(|(at, w)| if made(at) { *w } else { 0.0 }).collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return Err(left_out.join("; "));
        }
        let bursts = settings.burst.as_ref().map_or(pipeline.hints.bursts.as_slice(), std::slice::from_ref);
        let volley = |burst: &BurstHint| Volley {
            topic: TopicId(burst.topic as u16),
            chance: Chance::of(burst.probability),
            size: burst.size,
            left: 0,
        };
        let bursts = bursts.iter().filter(|burst| made(burst.topic)).map(volley).collect();
        let mut sum = 0.0;
        let topics = programs.into_iter().zip(weights).zip(&pipeline.plan.topics);
        let topics = topics.map(|((program, weight), plan)| {
            sum += weight;
            let share_end = (sum / total * 4_294_967_296.0).round() as u64;
            Topic { program, share_end, has_id: plan.id.is_some() }
        });
        Ok(Self {
            random: Random::seeded(settings.seed),
            dates: Dates::default(),
            topics: topics.collect(),
            mistakes,
            base: settings.start,
            since_base: 0,
            bursts,
            memory: Memory::default(),
            chances: Chances {
                duplicate: Chance::of(settings.duplicates),
                invalid: Chance::of(settings.invalid),
                late: Chance::of(settings.late),
            },
            left_out,
            settings,
        })
    }

    /// Of which topics no events are made, and why.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether every event has an id, by which a repetition of it is known.
    #[must_use]
    pub fn has_ids(&self) -> bool {
        self.topics.iter().all(|topic| topic.has_id || topic.program.is_none())
    }

    /// The next event.
    pub fn generate(&mut self) -> Generated {
        let mut line = Vec::new();
        let (topic, kind) = self.write(&mut line);
        Generated { topic, kind, line }
    }

    /// Appends the next event's line, without line end.
    pub fn write(&mut self, into: &mut Vec<u8>) -> (TopicId, Kind) {
        let topic = self.next_topic();
        if !self.memory.is_empty() && self.random.hits(self.chances.duplicate) {
            let (topic, line) = self.memory.any(&mut self.random);
            into.extend_from_slice(line);
            return (topic, Kind::Duplicate);
        }
        let late = self.random.hits(self.chances.late);
        let back = match (late, self.settings.out_of_order.0) {
            (true, _) => self.settings.late_by,
            (false, 0) => Micros(0),
            (false, most) => Micros(self.random.between(0, most)),
        };
        let time = Micros(self.time().minus(back).0.clamp(TIMES.0, TIMES.1));
        let from = into.len();
        let at = usize::from(topic.0);
        let Some(Topic { program: Some(program), has_id, .. }) = self.topics.get(at) else {
            panic!("topic {at} is none of the plan's, or the job makes its events")
        };
        program.write(&mut Pen { random: &mut self.random, dates: &mut self.dates, time }, into);
        if self.random.hits(self.chances.invalid) {
            self.mistakes.make(at, from, into, &mut self.random);
            return (topic, Kind::Invalid);
        }
        if *has_id && self.chances.duplicate != Chance::of(0.0) {
            self.memory.keep(topic, into.get(from..).unwrap_or_default());
        }
        (topic, if late { Kind::Late } else { Kind::Valid })
    }

    /// An event that the topic's schema accepts, the same one for the same seed; it is none of the stream. None: the plan has no such topic, it
    /// was left out, or the job makes its events itself.
    #[must_use]
    pub fn example(&self, topic: TopicId) -> Option<Vec<u8>> {
        let mut random = Random::seeded(self.settings.seed);
        let mut line = Vec::new();
        let mut pen = Pen { random: &mut random, dates: &mut Dates::default(), time: self.settings.start };
        self.topics.get(usize::from(topic.0))?.program.as_ref()?.write(&mut pen, &mut line);
        Some(line)
    }

    /// Event time from now on: for a generator that follows the clock. Moves forward only.
    pub fn set_time(&mut self, time: Micros) {
        if time > self.time() {
            self.base = time;
            self.since_base = 0;
        }
    }

    /// The time of the event that comes next, before disorder.
    #[must_use]
    pub fn time(&self) -> Micros {
        self.base.plus(Micros((self.since_base as f64 * 1_000_000.0 / self.settings.rate) as i64))
    }

    /// Moves time on and chooses a topic. The events of a volley come at one moment, beside the stream's own.
    fn next_topic(&mut self) -> TopicId {
        for volley in &mut self.bursts {
            if volley.left > 0 {
                volley.left -= 1;
                return volley.topic;
            }
            if self.random.hits(volley.chance) {
                volley.left = volley.size;
            }
        }
        self.since_base += 1;
        let drawn = u64::from(self.random.below(u32::MAX));
        let at = self.topics.iter().position(|topic| drawn < topic.share_end).unwrap_or(0);
        TopicId(at as u16)
    }
}

/// Keywords that hold only together (a pattern and a length) can defeat a program: better now than event by event.
fn prove(program: &Program, settings: &Settings, judge: impl Fn(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let mut random = Random::seeded(settings.seed);
    let mut dates = Dates::default();
    let mut line = Vec::new();
    for _ in 0..PROOFS {
        line.clear();
        program.write(&mut Pen { random: &mut random, dates: &mut dates, time: settings.start }, &mut line);
        judge(&line).map_err(|why| format!("the schema refuses what the generator makes of it: {why}"))?;
    }
    Ok(())
}

fn check(settings: &Settings) -> Result<(), String> {
    if !(settings.rate.is_finite() && settings.rate > 0.0) {
        return Err(format!("rate {}: more than 0 events a second are allowed", settings.rate));
    }
    for (name, probability) in
        [("duplicates", settings.duplicates), ("invalid", settings.invalid), ("late", settings.late)]
    {
        if !(0.0..=1.0).contains(&probability) {
            return Err(format!("{name} {probability}: a probability from 0 to 1 is allowed"));
        }
    }
    if settings.out_of_order.0 < 0 || settings.late_by.0 < 0 {
        return Err("out_of_order and late_by are not negative".to_owned());
    }
    Ok(())
}

/// The newest valid events, so that some can be sent again.
#[derive(Debug, Default)]
struct Memory {
    lines: Vec<(TopicId, Vec<u8>)>,
    next: usize,
}

impl Memory {
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn keep(&mut self, topic: TopicId, line: &[u8]) {
        match self.lines.get_mut(self.next) {
            Some((of, kept)) => {
                *of = topic;
                kept.clear();
                kept.extend_from_slice(line);
            }
            None => self.lines.push((topic, line.to_vec())),
        }
        self.next = (self.next + 1) % MEMORY_EVENTS;
    }

    /// Any one of them; there is at least one.
    fn any(&self, random: &mut Random) -> (TopicId, &[u8]) {
        let (topic, line) = &self.lines[random.index(self.lines.len())];
        (*topic, line)
    }
}
