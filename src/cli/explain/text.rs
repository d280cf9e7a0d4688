//! What `explain` tells, for people: each pipeline as YAML, the plan in its comments.

use crate::cli::explain::facts::{Alert, Column, Derived, Emit, Field, Job, Pipeline, Topic, View, Window};

/// One document for each pipeline.
pub fn job(job: &Job) -> String {
    let documents: Vec<String> = job.pipelines.iter().map(|pipeline| document(job, pipeline)).collect();
    documents.join("---\n")
}

fn document(job: &Job, pipeline: &Pipeline) -> String {
    let Pipeline { file, name, effective, topics, fields, derived, windows, views, alerts, emits } = pipeline;
    let topics: Vec<&Topic> = job.topics.iter().filter(|topic| topics.contains(&topic.name)).collect();
    let mut plan = Vec::new();
    plan.extend(heading("What it reads"));
    plan.extend(table(topics.iter().map(|topic| topic_row(topic))));
    plan.push(String::new());
    plan.extend(table(fields.iter().map(field_row).chain(derived.iter().map(derived_row))));
    plan.extend(heading("When windows close"));
    plan.extend(watermark(&topics));
    plan.extend(windows.iter().flat_map(about_window));
    plan.extend(views.iter().flat_map(about_view));
    plan.extend(alerts.iter().flat_map(about_alert));
    plan.extend(emits.iter().flat_map(about_emit));
    // Whatever the file is called, it stays in its comment.
    let file = file.replace(['\n', '\r'], " ");
    let comments: Vec<String> = plan.iter().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    format!(
        "# Pipeline {name}: {file} with every default spelled out (schemas and events stand beside that file), and its plan.\n{effective}{}",
        comments.concat()
    )
}

fn heading(title: &str) -> [String; 2] {
    [String::new(), format!("== {title} ==")]
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &[String; N]| -> String {
        row.iter().zip(&widths).map(|(cell, &width)| format!("  {cell:<width$}")).collect()
    };
    rows.iter().map(line).collect()
}

fn topic_row(topic: &Topic) -> [String; 4] {
    let Topic { name, id, remember, time, format, zone, schema_compiled, .. } = topic;
    let id = id.as_ref().map_or("no id: no duplicates".to_owned(), |id| format!("id {id}, remembered {remember}"));
    let zone = zone.as_ref().map(|zone| format!(", {zone} where it names no zone")).unwrap_or_default();
    let slow = if *schema_compiled { "" } else { "its schema is checked the slower way" };
    [format!("topic {name}"), id, format!("time {time} ({format}{zone})"), slow.to_owned()]
}

fn field_row(Field { path, of_type, topics }: &Field) -> [String; 4] {
    let topics = if topics.is_empty() { String::new() } else { format!("of {}", topics.join(", ")) };
    ["field".to_owned(), path.clone(), (*of_type).to_owned(), topics]
}

fn derived_row(Derived { name, of_type }: &Derived) -> [String; 4] {
    ["derived".to_owned(), name.clone(), (*of_type).to_owned(), String::new()]
}

fn watermark(topics: &[&Topic]) -> Vec<String> {
    let mut lines = vec![
        "The watermark is the least, over the topics that are not idle, of the newest event's time less `out_of_order`.".to_owned(),
    ];
    lines.extend(table(topics.iter().map(|topic| {
        let Topic { name, out_of_order, max_future, idle_after, .. } = topic;
        [
            format!("topic {name}"),
            format!("newest time - {out_of_order}"),
            format!("idle after {idle_after} without events"),
            format!("invalid if more than {max_future} ahead of its arrival"),
        ]
    })));
    lines
}

fn about_window(window: &Window) -> Vec<String> {
    let Window { name, kind, size, every, slice, gap, late_allow, emit, view, columns, sqlite, postgres } = window;
    let mut lines = heading(&format!("Window {name}: {kind}")).to_vec();
    lines.push(match (size, every, slice, gap) {
        (Some(size), Some(every), Some(slice), _) if size != every => {
            format!("[start, start + {size}), a new one every {every}, made of slices of {slice}.")
        }
        (Some(size), ..) => format!("[start, start + {size}), start a multiple of {size} since 1970 (UTC)."),
        (.., gap) => format!(
            "A group's events that lie less than {} apart; it ends so long after the last.",
            gap.as_deref().unwrap_or("-")
        ),
    });
    let later = if late_allow == "0s" {
        "events that come after that are dead letters \"late\"".to_owned()
    } else {
        format!("events that come up to {late_allow} later revise its row, later ones are dead letters \"late\"")
    };
    lines.push(format!("Closed when the watermark reaches its end; {later}."));
    lines.push(match emit {
        Some(emit) => format!("While open, a row that changed is shown again after {emit}."),
        None => "Rows are shown only when they are closed.".to_owned(),
    });
    lines.push(format!("SELECT * FROM {view} gives"));
    let head = ["column", "PostgreSQL", "SQLite", ""].map(str::to_owned);
    lines.extend(table(std::iter::once(head).chain(columns.iter().map(column_row))));
    lines.push(format!("PostgreSQL: {postgres}"));
    lines.push(format!("SQLite:     {sqlite}"));
    lines
}

fn column_row(column: &Column) -> [String; 4] {
    let Column { name, postgres, sqlite, of } = column;
    [name.clone(), (*postgres).to_owned(), (*sqlite).to_owned(), of.replace('\n', " ")]
}

fn about_alert(Alert { name, by, cleared, key }: &Alert) -> Vec<String> {
    let mut lines = heading(&format!("Alert {name}")).to_vec();
    let each = if key.is_empty() { String::new() } else { format!(" For each {} by itself.", key.join(", ")) };
    lines.push(format!("Raised by {by}.{each}"));
    lines.push(format!("Cleared by {cleared}."));
    lines.push(format!("GET /alerts?alert={name} tells of it; SELECT * FROM alerts WHERE alert = '{name}'."));
    lines
}

fn about_emit(Emit { topic, from, fields }: &Emit) -> Vec<String> {
    let mut lines = heading(&format!("Makes {topic}")).to_vec();
    lines.push(format!("Of {}: event_id, timestamp, {}.", from.join(", "), fields.join(", ")));
    lines
}

fn about_view(view: &View) -> Vec<String> {
    let View { name, key, latest, history } = view;
    let mut lines = heading(&format!("View {name}")).to_vec();
    lines.push(format!("For each {key}, the latest {}: GET /views/{name}/KEY", latest.join(", ")));
    if *history {
        lines.push(format!("and what each event said: GET /views/{name}/KEY/history"));
    }
    lines.push(format!("SELECT key, value FROM views WHERE view = '{name}' gives the values as JSON."));
    lines
}
