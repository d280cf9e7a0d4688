//! Pre-aggregation and exact sums: an epoch's rows into the panes of a window like `by_region`, beside a plain hash map over the same keys.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use foldhash::fast::RandomState;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use caudal::core::aggregate::{Rows, preaggregate};
use caudal::core::columns::{Column, GroupValue};
use caudal::core::exact::ExactSum;
use caudal::core::plan::{ColumnId, ColumnKind, Fraction, Metric, Plan};
use caudal::core::units::{Micros, Offset};

use crate::plan::{self, column, window};

/// An epoch's rows fall into so many windows.
const WINDOWS: i64 = 3;
const SOURCES: u32 = 3;
/// Of the window, in microseconds.
const EVERY: i64 = 5_000_000;

pub fn bench(c: &mut Criterion) {
    bench_panes(c);
    bench_metrics(c);
    bench_sums(c);
}

fn bench_panes(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregate");
    for rows in [2_000, 20_000, 60_000] {
        for regions in [1, 16, 500] {
            let groups = WINDOWS as u32 * SOURCES * regions;
            group.throughput(Throughput::Elements(rows as u64));
            let case = format!("{rows} rows, {groups} groups");
            let (time, fields) = epoch(rows, regions);
            let offset: Vec<Offset> = (0..rows as u64).map(Offset).collect();
            let rows = Rows { time: &time, offset: &offset, fields: &fields, skip: None };
            for (name, metric) in [
                ("count", None),
                ("integer mean", Some(Metric::Mean(INTEGER))),
                ("number mean", Some(Metric::Mean(NUMBER))),
            ] {
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

/// Each metric over 65,536 rows of 300 groups; what `count` takes is in every other.
fn bench_metrics(c: &mut Criterion) {
    const ROWS: usize = 65_536;
    const REGIONS: u32 = 100;
    let half = Fraction::new(0.5).expect("it is from 0 to 1");
    let metrics = [
        ("count", Metric::Count),
        ("count_if", Metric::CountIf(FLAG)),
        ("sum, integers", Metric::Sum(INTEGER)),
        ("sum, numbers", Metric::Sum(NUMBER)),
        ("min, integers", Metric::Min(INTEGER)),
        ("min, numbers", Metric::Min(NUMBER)),
        ("stddev, integers", Metric::Stddev(INTEGER)),
        ("stddev, numbers", Metric::Stddev(NUMBER)),
        ("first, integers", Metric::First(INTEGER)),
        ("last, texts", Metric::Last(REGION)),
        ("quantile, integers", Metric::Quantile(INTEGER, half)),
        ("quantile, numbers", Metric::Quantile(NUMBER, half)),
        ("distinct, integers", Metric::Distinct(INTEGER)),
        ("distinct, numbers", Metric::Distinct(NUMBER)),
        ("distinct, texts", Metric::Distinct(REGION)),
    ];
    let (_, fields) = epoch(ROWS, REGIONS);
    // One window's, in the order of the rows.
    let (time, offset): (Vec<Micros>, Vec<Offset>) =
        (0..ROWS).map(|row| (Micros(row as i64), Offset(row as u64))).unzip();
    let rows = Rows { time: &time, offset: &offset, fields: &fields, skip: None };
    let mut group = c.benchmark_group("metric");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, metric) in metrics {
        let plan = plan(Some(metric));
        group.bench_function(name, |b| b.iter(|| preaggregate(&plan, 0, black_box(&rows))));
    }
    group.finish();
    // Two epochs' panes of the same keys, as an owner merges them, with their values as it publishes them.
    let mut group = c.benchmark_group("metric, a pane");
    for (name, metric) in metrics {
        let plan = plan(Some(metric));
        let panes = preaggregate(&plan, 0, &rows);
        let [one, two, ..] = panes.as_slice() else { panic!("hundreds of panes") };
        let (one, two) = (&one.partial, &two.partial);
        group.bench_function(BenchmarkId::new("merge", name), |b| {
            b.iter_batched_ref(|| one.clone(), |one| one.merge(black_box(two)), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("value", name), |b| b.iter(|| black_box(one).values(&plan.windows[0])));
    }
    group.finish();
}

const REGION: ColumnId = ColumnId(1);
const INTEGER: ColumnId = ColumnId(2);
const NUMBER: ColumnId = ColumnId(3);
const FLAG: ColumnId = ColumnId(4);

fn plan(metric: Option<Metric>) -> Plan {
    let mut metrics = vec![("n", Metric::Count)];
    metrics.extend(metric.map(|metric| ("metric", metric)));
    let columns = vec![
        column("source", ColumnKind::Group),
        column("region", ColumnKind::Group),
        column("age", ColumnKind::Integer),
        column("amount", ColumnKind::Number),
        column("flag", ColumnKind::Boolean),
    ];
    let group = [("source", ColumnId(0)), ("region", ColumnId(1))];
    plan::plan("bench", Vec::new(), columns, vec![window("by_region", Micros(EVERY), &group, &metrics)])
}

/// The events' times and the plan's columns; one value in ten is absent.
fn epoch(rows: usize, regions: u32) -> (Vec<Micros>, Vec<Column>) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut codes = |values: u32| Column::Group {
        codes: (0..rows).map(|_| random.random_range(0..values)).collect(),
        dictionary: (0..values).map(|v| GroupValue::Text(format!("value {v}").into())).collect(),
    };
    let (source, region) = (codes(SOURCES), codes(regions));
    let times = (0..rows).map(|_| Micros((352_000_000 + random.random_range(0..WINDOWS)) * EVERY)).collect();
    let age = (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(0..100))).collect();
    let amount = (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(-90.0..90.0))).collect();
    let flag = (0..rows).map(|_| random.random_bool(0.9).then(|| random.random())).collect();
    (times, vec![source, region, Column::Integer(age), Column::Number(amount), Column::Boolean(flag)])
}

fn hash_map(rows: &Rows) -> std::collections::HashMap<u64, (u64, u64, ExactSum), RandomState> {
    let [
        Column::Group { codes: source, .. },
        Column::Group { codes: region, dictionary },
        _,
        Column::Number(amount),
        _,
    ] = rows.fields
    else {
        panic!("the columns of `epoch`")
    };
    let mut panes: std::collections::HashMap<u64, (u64, u64, ExactSum), RandomState> =
        std::collections::HashMap::default();
    for (row, time) in rows.time.iter().enumerate() {
        let number = time.0.div_euclid(EVERY);
        let code = u64::from(source[row]) * dictionary.len() as u64 + u64::from(region[row]);
        let pane = panes.entry(number as u64 * u64::from(SOURCES) * dictionary.len() as u64 + code).or_default();
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
