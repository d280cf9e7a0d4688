//! The file's `webhooks`: who is told of which alerts, and where.

use crate::core::plan::{AlertPlan, WebhookPlan};
use crate::core::units::Micros;
use crate::pipeline::alerts::{ALERTS_MAX, Alert};
use crate::pipeline::file::{MILLISECOND, bounded};
use crate::pipeline::names::{NAME_ALLOWED, is_name};
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, span, text};
use crate::pipeline::yaml::{Node, Value, quote};

/// Of one pipeline; each has a thread.
const WEBHOOKS_MAX: usize = 20;
const URL_BYTES_MAX: usize = 2_000;
const RETRY_DEFAULT: Micros = Micros(24 * 3_600_000_000);
const URL_ALLOWED: &str =
    "an address that begins with http:// or https://, or ${NAME}, the environment variable that holds it";

const WEBHOOK: Keys = Keys { section: "a webhook", known: &["on", "url", "retry"], later: &[] };

#[derive(Debug)]
pub struct Webhook {
    pub name: At<String>,
    pub on: Vec<At<String>>,
    /// None was noted.
    pub url: Option<At<String>>,
    pub retry: Micros,
}

pub fn webhooks(node: &Node, faults: &mut Faulty) -> Vec<Webhook> {
    let entries = mapping(node, "webhooks: a mapping from a webhook's name to {on: [ALERT, …], url: URL}", faults);
    bounded(entries.len(), (0, WEBHOOKS_MAX), "webhooks", node, faults);
    let mut webhooks = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no webhook's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let section = Section::read(node, &WEBHOOK, faults);
        let on = match section.get("on") {
            Some(node) => on(node, faults),
            None => section.missing("on: [ALERT, …]", "names the alerts that it tells of", faults),
        };
        let url = match section.get("url") {
            Some(node) => url(node, faults),
            None => section.missing("url: URL", "is where they are sent to", faults),
        };
        let retry = section.get("retry").and_then(|node| span(node, "retry", MILLISECOND, faults));
        webhooks.push(Webhook {
            name: At { place: key.place, it: key.name.clone() },
            on,
            url,
            retry: retry.unwrap_or(RETRY_DEFAULT),
        });
    }
    webhooks
}

fn on(node: &Node, faults: &mut Faulty) -> Vec<At<String>> {
    let Value::List(items) = &node.value else {
        let allowed = "a list of alerts, such as [surge]";
        faults.note(node.place, format!("on: {} stands where {allowed} is allowed", node.value.describe()));
        return Vec::new();
    };
    bounded(items.len(), (1, ALERTS_MAX), "alerts of a webhook", node, faults);
    let alert = |node: &Node, faults: &mut Faulty| {
        text(node, "an alert's name", faults).map(|it| At { place: node.place, it: it.to_owned() })
    };
    items.iter().filter_map(|item| alert(item, faults)).collect()
}

fn url(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let written = text(node, URL_ALLOWED, faults)?;
    let begins = ["http://", "https://"].iter().any(|begin| written.starts_with(begin));
    let plain = begins && !written.contains("${") && !written.chars().any(|c| c.is_whitespace() || c.is_control());
    if (plain || variable(written).is_some()) && written.len() <= URL_BYTES_MAX {
        return Some(At { place: node.place, it: written.to_owned() });
    }
    faults.note(node.place, format!("url: {} is not allowed; it is {URL_ALLOWED}", quote(written)));
    None
}

/// The environment variable that holds the address, where the file says `${NAME}`. It is the whole of it: an address that only has it in it would send what it holds to
/// whoever the file says.
#[must_use]
pub fn variable(url: &str) -> Option<&str> {
    let name = url.strip_prefix("${")?.strip_suffix('}')?;
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (plain && !name.is_empty()).then_some(name)
}

/// Resolves one; what is wrong is noted. `planned` are the pipeline's own alerts, from `first` on among all; `written` those of the file: one with a fault is
/// not among the planned.
pub fn plan(
    pipeline: usize,
    webhook: &Webhook,
    (planned, first): (&[AlertPlan], usize),
    written: &[Alert],
    faults: &mut Faulty,
) -> Option<WebhookPlan> {
    let mut alerts = Vec::new();
    for name in &webhook.on {
        let names = || written.iter().map(|alert| alert.name.it.as_str());
        if !names().any(|alert| alert == name.it) {
            let hint = hint(&name.it, names());
            faults.note(name.place, format!("on: this file has no alert {}{hint}", quote(&name.it)));
        }
        alerts.extend(planned.iter().position(|alert| alert.name == name.it).map(|at| first + at));
    }
    alerts.sort_unstable();
    alerts.dedup();
    let url = webhook.url.as_ref()?.it.clone();
    Some(WebhookPlan { pipeline, name: webhook.name.it.clone(), alerts, url, retry: webhook.retry })
}
