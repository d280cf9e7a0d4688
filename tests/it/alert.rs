//! When silence clears an alert. `docs/semantics.md`, "Alerts".

use std::sync::Arc;

use caudal::core::alert::{Alerts, Mark};
use caudal::core::columns::GroupValue;
use caudal::core::plan::Plan;
use caudal::core::row::AlertRow;
use caudal::core::units::{Epoch, Micros, Offset};
use serde_json::json;

use crate::support::plan;

const LASTS: i64 = 2_000_000;

fn logins() -> Arc<Plan> {
    let text = "\
pipeline: logins
topics: {login: {schema: login.json}}
id: id
time: {field: at, out_of_order: 0s}
alerts:
  blocked: {key: user, count: \"true\", at_least: 2, within: 1h, for: 2s}
";
    let name = json!({"type": "string"});
    let schema = json!({"type": "object", "properties": {"id": name, "user": name, "at": {"type": "string", "format": "date-time"}}});
    plan::of_file(text, ("login.json", &schema))
}

fn mark(user: &str, time: i64, offset: u64) -> Mark {
    Mark { alert: 0, key: GroupValue::Text(user.into()), moment: (Micros(time), Offset(offset)), ends: false }
}

fn epoch(alerts: &mut Alerts, number: u64, marks: Vec<Mark>, closing: i64) -> Vec<AlertRow> {
    alerts.finish(Epoch(number), marks, &[], |_| Micros(closing), |_| false)
}

/// Who waits for the next event that may never come is told when the first alert ends by time, and not before one stands.
#[test]
fn the_next_alert_that_time_clears_is_known() {
    let mut alerts = Alerts::new(logins());
    assert_eq!(epoch(&mut alerts, 1, vec![mark("a", 0, 0), mark("b", 7, 1)], 0), []);
    assert_eq!(alerts.next_clear(0), None, "none stands");

    let raised = epoch(&mut alerts, 2, vec![mark("b", 10, 2), mark("a", 20, 3)], 0);
    assert_eq!(raised.iter().map(|row| (row.raised.0, row.cleared)).collect::<Vec<_>>(), [(20, None), (10, None)]);
    assert_eq!(alerts.next_clear(0), Some(Micros(10 + LASTS)), "the earlier of two");

    assert_eq!(epoch(&mut alerts, 3, vec![], 10 + LASTS - 1), []);
    let cleared = epoch(&mut alerts, 4, vec![], 10 + LASTS);
    assert_eq!(
        cleared.iter().map(|row| (row.raised.0, row.cleared)).collect::<Vec<_>>(),
        [(10, Some(Micros(10 + LASTS)))]
    );
    assert_eq!(alerts.next_clear(0), Some(Micros(20 + LASTS)));
    assert_eq!(epoch(&mut alerts, 5, vec![], i64::MAX).len(), 1);
    assert_eq!(alerts.next_clear(0), None);
}
