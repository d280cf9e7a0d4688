//! The newest events as a simple page, for a browser that asks for `/events`. Everything of an event is escaped.

use std::fmt::Write;

use crate::core::row::AuditEvent;
use crate::core::time;

pub fn events(events: &[AuditEvent]) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Caudal: newest events</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"/favicon.svg\">\
         <link rel=\"stylesheet\" href=\"/assets/style.css\"></head>\n<body><main><h1>Newest events</h1><p><a href=\"/\">Caudal</a></p>\n\
         <table><thead><tr><th scope=\"col\">Offset</th><th scope=\"col\">Time</th><th scope=\"col\">Topic</th>\
         <th scope=\"col\">Event</th></tr></thead><tbody>\n",
    );
    for event in events {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            event.offset,
            time::format(event.time),
            escape(&event.topic),
            escape(&String::from_utf8_lossy(&event.body)),
        );
    }
    if events.is_empty() {
        out.push_str("<tr><td colspan=\"4\">No event is kept yet.</td></tr>\n");
    }
    out.push_str("</tbody></table></main></body></html>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
