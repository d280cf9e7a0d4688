//! Prometheus' text format, read apart.

use std::collections::BTreeMap;

/// A metric as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub kind: String,
    /// Of its samples, without `le`; None: it has no sample.
    pub labels: Option<Vec<String>>,
}

/// By name.
pub fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            let metric = Metric { kind: kind.to_owned(), labels: None };
            assert!(metrics.insert(name.to_owned(), metric).is_none(), "{name} is there twice");
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                name.strip_suffix(suffix).filter(|name| metrics.get(*name).is_some_and(|m| m.kind == "histogram"))
            });
            let metric = metrics.get_mut(family.unwrap_or(name)).unwrap_or_else(|| panic!("no TYPE before {line}"));
            let labels = names(labels.trim_end_matches('}'));
            assert!(metric.labels.as_ref().is_none_or(|before| *before == labels), "other labels: {line}");
            metric.labels = Some(labels);
        }
    }
    metrics
}

/// Names of labels whose values hold no `="`.
fn names(labels: &str) -> Vec<String> {
    let names = labels.match_indices("=\"").map(|(at, _)| labels[..at].rsplit([',', '{']).next().unwrap_or_default());
    names.filter(|name| *name != "le").map(str::to_owned).collect()
}
