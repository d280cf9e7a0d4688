//! Rows as the tables hold them: names instead of the plan's numbers, groups and values as JSON, text that every database takes. It knows no database.

use std::borrow::Cow;

use crate::core::columns::GroupValue;
use crate::core::emit::{alert_key, alert_of};
use crate::core::json::{self, Object};
use crate::core::plan::{Plan, WindowPlan};
use crate::core::row::{AlertRow, Value, WindowRow};
use crate::store::{StoredAlert, StoredRow};

/// Stands for U+0000 in stored text: PostgreSQL's text cannot hold that character, and JSON may bring it. `SYMBOL FOR NULL`, so that people see it.
const NUL_SHOWN: &str = "\u{2400}";

/// Text as every store keeps it: U+0000 is shown as U+2400, all else is as it was. Bodies are bytes and are kept as they are.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', NUL_SHOWN)) } else { Cow::Borrowed(text) }
}

impl StoredRow {
    /// The row as it stands in `metrics_out`.
    ///
    /// # Panics
    /// If the row is of no window of the plan: every row is made from it.
    #[must_use]
    pub fn of(plan: &Plan, row: &WindowRow) -> Self {
        let Some(window) = plan.windows.get(row.window) else { panic!("window {} is none of the plan's", row.window) };
        Self {
            metric_id: row.metric_id,
            pipeline: plan.pipeline_of(window).name.clone(),
            window: window.name.clone(),
            start: row.start,
            end: row.end,
            group: group_json(window, &row.group),
            values: values_json(window, &row.values),
            event_count: row.event_count,
            revision: row.revision,
            closed: row.closed,
            digest: row.digest,
            epoch: row.epoch,
        }
    }
}

impl StoredAlert {
    /// The alert as it stands in `alerts`.
    #[must_use]
    pub fn of(plan: &Plan, row: &AlertRow) -> Self {
        let alert = alert_of(plan, row);
        Self {
            alert_id: row.alert_id,
            pipeline: plan.pipeline_name(alert.pipeline).to_owned(),
            alert: alert.name.clone(),
            key: alert_key(plan, alert, &row.key, |_, value| json::group_value(value, string)),
            from: row.from,
            to: row.to,
            raised: row.raised,
            cleared: row.cleared,
            details: row.details.clone(),
            epoch: row.epoch,
        }
    }
}

pub(super) fn group_json(window: &WindowPlan, group: &[GroupValue]) -> String {
    assert_eq!(window.group.len(), group.len(), "a group has a value for each of its names");
    let mut object = Object::new();
    for (field, value) in window.group.iter().zip(group) {
        object.member(&clean(&field.name), json::group_value(value, string));
    }
    object.finish()
}

fn values_json(window: &WindowPlan, values: &[Value]) -> String {
    assert_eq!(window.metrics.len(), values.len(), "a row has a value for each of its metrics");
    let mut object = Object::new();
    for ((name, _), value) in window.metrics.iter().zip(values) {
        object.member(&clean(name), json::metric_value(value, string));
    }
    object.finish()
}

/// A JSON string, cleaned.
pub(super) fn string(text: &str) -> String {
    json::string(&clean(text))
}

/// The JSON texts of the group values that read as `text`: a string, and perhaps a number or a boolean. Null reads as nothing.
pub(super) fn readings(text: &str) -> [String; 2] {
    let string = string(text);
    let bare = match text {
        "true" | "false" => true,
        _ => text.parse::<i64>().is_ok_and(|n| n.to_string() == text),
    };
    if bare { [string, text.to_owned()] } else { [string.clone(), string] }
}
