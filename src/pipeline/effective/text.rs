//! A tree as YAML text that a person likes to read, and that `yaml::parse` reads as the same tree. Knows nothing of pipelines.

use serde_json::Value as Json;

/// Words that YAML, in one version or the other, does not read as texts.
const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "nan", "inf", "infinity"];

/// What stands under a key or in a list.
#[derive(Clone, Debug)]
pub enum Item {
    /// Any text; in quotes where YAML would take it for something else.
    Text(String),
    /// As it stands: a number, a duration, `true`, `~`.
    Plain(String),
    Json(Json),
    /// On one line.
    List(Vec<Item>),
    /// On one line.
    Line(Vec<(&'static str, Item)>),
    /// Each entry on a line of its own.
    Map(Vec<(String, Item)>),
    /// Each item on a line of its own.
    Items(Vec<Item>),
    /// The key is not there: a comment says what that means.
    Absent(&'static str),
}

/// The entries as a document.
pub fn document(entries: &[(String, Item)]) -> String {
    map_text(entries, 0)
}

fn map_text(entries: &[(String, Item)], indent: usize) -> String {
    entries.iter().map(|(key, item)| entry_text(key, item, indent)).collect()
}

fn entry_text(key: &str, item: &Item, indent: usize) -> String {
    let (blank, below) = (" ".repeat(indent), indent + 2);
    let key_text = name(key);
    match item {
        Item::Absent(meaning) => format!("{blank}# {key}: (none: {meaning})\n"),
        Item::Map(entries) if has_entry(entries) => format!("{blank}{key_text}:\n{}", map_text(entries, below)),
        // A comment alone is no mapping.
        Item::Map(absent) => format!("{blank}{key_text}: {{}}\n{}", map_text(absent, below)),
        Item::Items(items) if !items.is_empty() => {
            let items: String = items.iter().map(|item| item_text(item, below)).collect();
            format!("{blank}{key_text}:\n{items}")
        }
        Item::Text(text) => format!("{blank}{key_text}: {}\n", scalar(text, below)),
        other => format!("{blank}{key_text}: {}\n", on_one_line(other)),
    }
}

fn has_entry(entries: &[(String, Item)]) -> bool {
    entries.iter().any(|(_, item)| !matches!(item, Item::Absent(_)))
}

/// One item of a list, after its dash.
fn item_text(item: &Item, indent: usize) -> String {
    let text = match item {
        Item::Map(entries) => map_text(entries, indent + 2),
        other => on_one_line(other) + "\n",
    };
    format!("{}- {}", " ".repeat(indent), text.trim_start_matches(' '))
}

fn on_one_line(item: &Item) -> String {
    match item {
        Item::Text(text) => name(text),
        Item::Plain(text) => text.clone(),
        Item::Json(json) => escaped(&json.to_string()),
        Item::List(items) | Item::Items(items) => {
            format!("[{}]", items.iter().map(on_one_line).collect::<Vec<_>>().join(", "))
        }
        Item::Line(entries) => braced(entries.iter().map(|(key, item)| (*key, item))),
        Item::Map(entries) => braced(entries.iter().map(|(key, item)| (key.as_str(), item))),
        Item::Absent(_) => "~".to_owned(),
    }
}

fn braced<'a>(entries: impl Iterator<Item = (&'a str, &'a Item)>) -> String {
    let entries = entries.filter(|(_, item)| !matches!(item, Item::Absent(_)));
    let entries: Vec<String> = entries.map(|(key, item)| format!("{}: {}", name(key), on_one_line(item))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A key, or a text within brackets.
fn name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if begins_like_a_text(text) && text.chars().all(plain) { text.to_owned() } else { quoted(text) }
}

/// A text on the line of its key, or in a block below it.
fn scalar(text: &str, indent: usize) -> String {
    let printable = |c: char| (' '..='~').contains(&c);
    if begins_like_a_text(text)
        && text.chars().all(printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
    {
        return text.to_owned();
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    let is_block = body.contains('\n')
        && !body.starts_with(' ')
        && body.split('\n').all(|line| line.chars().all(printable) && !line.trim().is_empty());
    if !is_block {
        return quoted(text);
    }
    let sign = if body.len() == text.len() { "|-" } else { "|" };
    let blank = " ".repeat(indent);
    let lines: Vec<String> = body.lines().map(|line| format!("\n{blank}{line}")).collect();
    format!("{sign}{}", lines.concat())
}

/// Whether the text can stand as it is, as far as its beginning and YAML's words decide it.
fn begins_like_a_text(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    escaped(&Json::from(text).to_string())
}

/// JSON is YAML but for a few characters that YAML lets nobody write.
fn escaped(json: &str) -> String {
    let hidden =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let escape = |c: char| if hidden(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::yaml::{Node, Value, parse};

    /// Texts that YAML likes to misunderstand, and any others.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~\n]{0,20}",
            "[a-z]{1,3}[ :#,'\"{}\\[\\]&*!|>%@`~-]{1,3}[a-z\n ]{0,5}",
            "(yes|No|null|~|true|1e3|0x1f|\\.5|007|2026-11-22|12:30|-|---|a: b|a #b|<<|=|\u{85}|\u{feff}|\r\n)",
            any::<String>(),
        ]
    }

    fn entry<'a>(root: &'a Node, key: &str) -> &'a Value {
        let Value::Map(entries) = &root.value else { panic!("no mapping: {root:?}") };
        &entries.iter().find(|(name, _)| name.name == key).unwrap_or_else(|| panic!("no {key:?} in {root:?}")).1.value
    }

    fn text(value: &Value) -> &str {
        let Value::Text(text) = value else { panic!("no text: {value:?}") };
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(one in texts(), key in texts()) {
            let item = || Item::Text(one.clone());
            let json = serde_json::json!({"a": [one.clone(), 1.5, null_or(&one)]});
            let entries = [
                ("scalar".to_owned(), item()),
                ("list".to_owned(), Item::List(vec![item(), item()])),
                ("line".to_owned(), Item::Line(vec![("a", item())])),
                ("map".to_owned(), Item::Map(vec![(format!("k{key}"), item()), ("gone".to_owned(), Item::Absent("x"))])),
                ("items".to_owned(), Item::Items(vec![Item::Json(json), Item::Map(vec![(key.clone(), item())])])),
                ("last".to_owned(), Item::Map(vec![("gone".to_owned(), Item::Absent("x"))])),
            ];
            let written = document(&entries);
            let read = parse(&written).unwrap_or_else(|error| panic!("{error:?}\n{written}"));
            prop_assert_eq!(text(entry(&read, "scalar")), one.as_str(), "{}", written);
            let Value::List(list) = entry(&read, "list") else { panic!("{written}") };
            prop_assert!(list.len() == 2 && list.iter().all(|node| text(&node.value) == one), "{}", written);
            for (map, name) in [("line", "a".to_owned()), ("map", format!("k{key}"))] {
                let below = Node { value: entry(&read, map).clone(), ..read.clone() };
                prop_assert_eq!(text(entry(&below, &name)), one.as_str(), "{}", written);
            }
            let Value::List(items) = entry(&read, "items") else { panic!("{written}") };
            let [json, map] = items.as_slice() else { panic!("{written}") };
            let Value::List(values) = entry(json, "a") else { panic!("{written}") };
            prop_assert!(values.first().is_some_and(|node| text(&node.value) == one), "{}", written);
            prop_assert_eq!(text(entry(map, &key)), one.as_str(), "{}", written);
            prop_assert!(matches!(entry(&read, "last"), Value::Map(none) if none.is_empty()), "{}", written);
        }
    }

    /// Some events hold nothing where others hold a text.
    fn null_or(text: &str) -> Json {
        if text.len().is_multiple_of(2) { Json::Null } else { Json::from(text) }
    }
}
