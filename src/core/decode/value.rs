//! An accepted line as a tree, for the reference and for the texts of refusals: the slow road.

use serde_json::{Map, Number, Value};

use crate::core::decode::json;
use crate::core::schema::Num;

/// The value of a line that a pass has accepted as JSON (and so nests at most `walk::DEPTH_MAX` deep).
pub(super) fn value(line: &[u8]) -> Value {
    Tree { line, at: 0 }.value()
}

struct Tree<'a> {
    line: &'a [u8],
    at: usize,
}

impl Tree<'_> {
    /// The next byte that is neither white space nor a separator.
    fn next_byte(&mut self) -> u8 {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') = self.line.get(self.at) {
            self.at += 1;
        }
        *self.line.get(self.at).expect("a pass has accepted the line, so a value or its end stands here")
    }

    fn value(&mut self) -> Value {
        match self.next_byte() {
            b'"' => Value::String(self.text()),
            b'{' => self.object(),
            b'[' => self.array(),
            b't' => self.word(4, Value::Bool(true)),
            b'f' => self.word(5, Value::Bool(false)),
            b'n' => self.word(4, Value::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, length: usize, value: Value) -> Value {
        self.at += length;
        value
    }

    fn text(&mut self) -> String {
        let text = json::string(self.line, self.at + 1).expect("a pass has accepted this string");
        self.at = text.end + 1;
        let plain = text.plain(self.line, &mut Vec::new()).to_vec();
        String::from_utf8(plain).expect("accepted strings are UTF-8")
    }

    fn number(&mut self) -> Value {
        let (number, end) = json::number(self.line, self.at).expect("a pass has accepted this number");
        self.at = end;
        let number = match number {
            Num::Integer(value) => Some(Number::from(value)),
            Num::Large(value) => Some(Number::from(value)),
            Num::Float(value) => Number::from_f64(value),
        };
        Value::Number(number.expect("an accepted number is finite"))
    }

    fn array(&mut self) -> Value {
        self.at += 1;
        let mut items = Vec::new();
        while self.next_byte() != b']' {
            items.push(self.value());
        }
        self.at += 1;
        Value::Array(items)
    }

    fn object(&mut self) -> Value {
        self.at += 1;
        let mut members = Map::new();
        while self.next_byte() != b'}' {
            let name = self.text();
            let value = self.value();
            members.insert(name, value);
        }
        self.at += 1;
        Value::Object(members)
    }
}
