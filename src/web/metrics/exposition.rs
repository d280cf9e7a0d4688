//! Families of metrics, and how they are written: Prometheus' text, OpenMetrics and Prometheus' protobuf. It knows nothing of what is measured.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet, prometheus_protobuf,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::coordinator::status::{Durations, SCHEMA};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its name is written with `_total` behind it.
    Counter,
    Gauge,
    Histogram,
}

/// Everything of one name.
#[derive(Clone, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [&'static str],
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub struct Sample {
    /// Values of the family's labels, in order.
    pub labels: Vec<String>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Whole(u64),
    Number(f64),
    Durations(Durations),
}

/// Prometheus' text format 0.0.4. Families without samples are there by name, so that whoever reads it sees what there can be.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        // A string takes whatever is written.
        let _ = write_family(&mut text, family);
    }
    text
}

fn write_family(text: &mut String, family: &Family) -> fmt::Result {
    let (suffix, kind) = match family.kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
        Kind::Histogram => ("", "histogram"),
    };
    let name = format!("{}{suffix}", family.name);
    writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(family.help, false))?;
    for Sample { labels, value } in &family.samples {
        let labels = labels_of(family, labels);
        match value {
            Value::Whole(value) => writeln!(text, "{name}{} {value}", braced(&labels, None))?,
            Value::Number(value) => writeln!(text, "{name}{} {}", braced(&labels, None), shown(*value))?,
            Value::Durations(Durations { count, sum_s, coarse, .. }) => {
                let mut upto = 0;
                for (bound, within) in coarse {
                    upto += within;
                    writeln!(text, "{name}_bucket{} {upto}", braced(&labels, Some(*bound)))?;
                }
                writeln!(text, "{name}_sum{} {}", braced(&labels, None), shown(*sum_s))?;
                writeln!(text, "{name}_count{} {count}", braced(&labels, None))?;
            }
        }
    }
    Ok(())
}

fn braced(labels: &[(&str, &str)], bound: Option<f64>) -> String {
    let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)));
    let all: Vec<String> = labels.chain(bound.map(|bound| format!("le=\"{}\"", shown(bound)))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

/// In Go's words where Rust has others.
fn shown(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        // As OpenMetrics has it: 1 is 1.0, so that a bound has one name in all formats.
        _ => format!("{number:?}"),
    }
}

fn escaped(text: &str, is_quoted: bool) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_quoted { escaped.replace('"', "\\\"") } else { escaped }
}

fn labels_of<'a>(family: &Family, values: &'a [String]) -> Vec<(&'static str, &'a str)> {
    assert_eq!(family.labels.len(), values.len(), "{} has a value for each label", family.name);
    family.labels.iter().copied().zip(values.iter().map(String::as_str)).collect()
}

/// OpenMetrics text 1.0.0.
pub fn open_metrics(families: Vec<Family>) -> Option<Vec<u8>> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry(families)).ok()?;
    Some(text.into_bytes())
}

/// Length-delimited messages.
pub fn protobuf(families: Vec<Family>) -> Option<Vec<u8>> {
    prometheus_protobuf::encode_to_vec(&registry(families)).ok()
}

fn registry(families: Vec<Family>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(families)));
    registry
}

#[derive(Debug)]
struct Collected(Vec<Family>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // Prometheus 2.42 looks at the first sample of a histogram's message before it asks whether there is one.
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut samples = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for Sample { labels, value } in &family.samples {
                let labels = labels_of(family, labels);
                if labels.is_empty() {
                    encode(&mut samples, family.kind, value)?;
                } else {
                    encode(&mut samples.encode_family(&labels)?, family.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Kind::Counter, Value::Number(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (_, Value::Whole(value)) => encoder.encode_gauge(value),
        (_, Value::Number(value)) => encoder.encode_gauge(value),
        (_, Value::Durations(durations)) => encode_durations(encoder, durations),
    }
}

fn encode_durations(encoder: &mut MetricEncoder, durations: &Durations) -> fmt::Result {
    let Durations { count, sum_s, coarse, fine } = durations;
    let (spans, deltas) = sparse(fine);
    let none = NativeHistogramBuckets { spans: &[], deltas: &[] };
    let native = NativeHistogram {
        schema: i32::from(SCHEMA),
        zero_threshold: 0.0,
        zero_count: 0,
        negative: none,
        positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
        created: None,
    };
    encoder.encode_histogram_with_native::<NoLabelSet>(*sum_s, *count, coarse, None, native)
}

/// Runs of buckets that follow on each other, each with the gap before it and its length; and each bucket's count as the difference to the one before.
fn sparse(fine: &[(i32, u64)]) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<(i32, u32)>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut next, mut before) = (0, 0);
    for &(index, count) in fine {
        match spans.last_mut() {
            Some((_, length)) if index == next => *length += 1,
            _ => spans.push((index - next, 1)),
        }
        deltas.push(count as i64 - before);
        (next, before) = (index + 1, count as i64);
    }
    if spans.is_empty() {
        // By this a native histogram without a duration is told from one that is not native.
        spans.push((0, 0));
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_buckets_are_spans_and_differences() {
        let check = |fine: &[(i32, u64)], spans: &[(i32, u32)], deltas: &[i64]| {
            assert_eq!(sparse(fine), (spans.to_vec(), deltas.to_vec()), "{fine:?}");
        };
        check(&[], &[(0, 0)], &[]);
        check(&[(-3, 5)], &[(-3, 1)], &[5]);
        check(&[(-3, 5), (-2, 2), (1, 7)], &[(-3, 2), (2, 1)], &[5, -3, 5]);
    }

    #[test]
    fn text_is_escaped() {
        let family = |labels, help, value: &str| Family {
            name: "caudal_x",
            kind: Kind::Counter,
            help,
            labels,
            samples: vec![Sample { labels: vec![value.to_owned()], value: Value::Number(1.0) }],
        };
        assert_eq!(
            text(&[family(&["a"], "A \\ and\nanother.", "a\"b\\c\nd")]),
            "# HELP caudal_x_total A \\\\ and\\nanother.\n# TYPE caudal_x_total counter\ncaudal_x_total{a=\"a\\\"b\\\\c\\nd\"} 1.0\n"
        );
    }
}
