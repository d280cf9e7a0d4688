//! Pre-aggregation and exact sums: an epoch's rows into the panes of a window like `by_region`, beside a plain hash map over the same keys.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use foldhash::fast::RandomState;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use caudal::core::aggregate::{Rows, preaggregate};
use caudal::core::columns::{Column, GroupValue};
use caudal::core::exact::ExactSum;
use caudal::core::plan::{Audit, ColumnId, ColumnKind, ColumnPlan, FieldPath, Metric, Plan, WindowPlan};
use caudal::core::units::Micros;

/// An epoch's rows fall into so many windows.
const WINDOWS: i64 = 3;
const SOURCES: u32 = 3;

pub fn bench(c: &mut Criterion) {
    bench_panes(c);
    bench_sums(c);
}

fn bench_panes(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregate");
    for rows in [2_000, 20_000, 60_000] {
        for regions in [1, 16, 500] {
            let groups = WINDOWS as u32 * SOURCES * regions;
            group.throughput(Throughput::Elements(rows as u64));
            let case = format!("{rows} rows, {groups} groups");
            let (numbers, fields) = epoch(rows, regions);
            let rows = Rows { numbers: &numbers, fields: &fields, skip: None };
            for (name, metric) in [("count", None), ("integer mean", Some(INTEGER)), ("number mean", Some(NUMBER))] {
                let plan = plan(metric);
                group.bench_function(BenchmarkId::new(name, &case), |b| {
                    b.iter(|| preaggregate(&plan, 0, black_box(&rows)));
                });
            }
            group.bench_function(BenchmarkId::new("number mean, hash map", &case), |b| {
                b.iter(|| hash_map(black_box(&rows)));
            });
        }
    }
    group.finish();
}

const INTEGER: ColumnId = ColumnId(2);
const NUMBER: ColumnId = ColumnId(3);

fn plan(mean: Option<ColumnId>) -> Plan {
    let column = |name: &str, kind| ColumnPlan { path: FieldPath(vec![name.to_owned()]), kind };
    let mut metrics = vec![("n".to_owned(), Metric::Count)];
    metrics.extend(mean.map(|column| ("mean".to_owned(), Metric::Mean(column))));
    Plan {
        pipeline: "bench".to_owned(),
        topic_field: "source".to_owned(),
        topics: Vec::new(),
        columns: vec![
            column("source", ColumnKind::Group),
            column("region", ColumnKind::Group),
            column("age", ColumnKind::Integer),
            column("amount", ColumnKind::Number),
        ],
        windows: vec![WindowPlan {
            name: "by_region".to_owned(),
            every: Micros(5_000_000),
            group: vec![("source".to_owned(), ColumnId(0)), ("region".to_owned(), ColumnId(1))],
            late_allow: Micros(0),
            emit: Micros(0),
            metrics,
        }],
        audit: Audit::None,
    }
}

/// The window's numbers and the plan's columns; one value in ten is absent.
fn epoch(rows: usize, regions: u32) -> (Vec<i64>, Vec<Column>) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut codes = |values: u32| Column::Group {
        codes: (0..rows).map(|_| random.random_range(0..values)).collect(),
        dictionary: (0..values).map(|v| GroupValue::Text(format!("value {v}").into())).collect(),
    };
    let (source, region) = (codes(SOURCES), codes(regions));
    let numbers = (0..rows).map(|_| 352_000_000 + random.random_range(0..WINDOWS)).collect();
    let age = (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(0..100))).collect();
    let amount = (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(-90.0..90.0))).collect();
    (numbers, vec![source, region, Column::Integer(age), Column::Number(amount)])
}

fn hash_map(rows: &Rows) -> std::collections::HashMap<u64, (u64, u64, ExactSum), RandomState> {
    let [Column::Group { codes: source, .. }, Column::Group { codes: region, dictionary }, _, Column::Number(amount)] =
        rows.fields
    else {
        panic!("the columns of `epoch`")
    };
    let mut panes: std::collections::HashMap<u64, (u64, u64, ExactSum), RandomState> =
        std::collections::HashMap::default();
    for (row, number) in rows.numbers.iter().enumerate() {
        let code = u64::from(source[row]) * dictionary.len() as u64 + u64::from(region[row]);
        let pane = panes.entry(*number as u64 * u64::from(SOURCES) * dictionary.len() as u64 + code).or_default();
        pane.0 += 1;
        if let Some(value) = amount[row] {
            pane.1 += 1;
            pane.2.add(value);
        }
    }
    panes
}

fn bench_sums(c: &mut Criterion) {
    const VALUES: usize = 4096;
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let ordinary: Vec<f64> = (0..VALUES).map(|_| random.random_range(-90.0..90.0)).collect();
    let wide: Vec<f64> =
        (0..VALUES).map(|_| random.random_range(-1.0..1.0) * 10f64.powi(random.random_range(-30..30))).collect();
    let mut group = c.benchmark_group("exact sum");
    group.throughput(Throughput::Elements(VALUES as u64));
    for (name, values) in [("ordinary", &ordinary), ("wide", &wide)] {
        group.bench_function(BenchmarkId::new("add", name), |b| {
            b.iter(|| {
                let mut sum = ExactSum::default();
                for &value in black_box(values) {
                    sum.add(value);
                }
                sum
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    for (name, values) in [("ordinary", &ordinary), ("wide", &wide)] {
        let mut sum = ExactSum::default();
        for &value in values {
            sum.add(value);
        }
        group.bench_function(BenchmarkId::new("value", name), |b| b.iter(|| black_box(&sum).value()));
        group.bench_function(BenchmarkId::new("mean", name), |b| b.iter(|| black_box(&sum).mean(VALUES as u64)));
    }
    group.finish();
}
