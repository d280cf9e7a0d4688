//! Texts that match a regular expression, for the expressions that people write into schemas: literals, classes, groups, alternatives and
//! repetition, with or without anchors at the ends. Anything else is refused.

use crate::generate::random::Random;

/// How often a part without upper bound (`*`, `+`, `{2,}`) is repeated at most, beyond its lower bound.
const UNBOUNDED_EXTRA: u32 = 8;
/// `{n}`: longer texts are no use in a sample event.
const REPEAT_MAX: u32 = 1_000;
/// Characters of a text: repetitions of repetitions multiply.
const TEXT_MAX: u64 = 10_000;
/// Groups in groups.
const DEPTH_MAX: usize = 16;

/// Writes texts that match.
#[derive(Debug)]
pub struct Pattern(Part);

#[derive(Debug)]
enum Part {
    /// Each as it stands in a JSON string.
    OneOf(Vec<Vec<u8>>),
    Sequence(Vec<Part>),
    Either(Vec<Part>),
    Repeat(Box<Part>, u32, u32),
}

impl Pattern {
    /// # Errors
    /// What in the expression cannot be generated.
    pub fn compile(expression: &str) -> Result<Self, String> {
        let body = expression.strip_prefix('^').unwrap_or(expression);
        // `^a|b$` anchors each alternative at one end only: the whole of either still matches. A `$` that is escaped is no anchor.
        let escaped =
            body.strip_suffix('$').is_some_and(|rest| rest.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1);
        let body = if escaped { body } else { body.strip_suffix('$').unwrap_or(body) };
        let mut reader = Reader { rest: body.chars().peekable() };
        let part = reader.alternatives(0)?;
        if reader.rest.next().is_some() {
            return Err("an unmatched )".to_owned());
        }
        match part.longest() {
            0..=TEXT_MAX => Ok(Self(part)),
            longest => Err(format!("texts of up to {longest} characters")),
        }
    }

    /// Appends a matching text, escaped for a JSON string.
    pub fn write(&self, random: &mut Random, into: &mut Vec<u8>) {
        self.0.write(random, into);
    }
}

impl Part {
    fn write(&self, random: &mut Random, into: &mut Vec<u8>) {
        match self {
            Self::OneOf(chars) => {
                let at = if chars.len() == 1 { 0 } else { random.index(chars.len()) };
                into.extend_from_slice(&chars[at]);
            }
            Self::Sequence(parts) => parts.iter().for_each(|part| part.write(random, into)),
            Self::Either(parts) => parts[random.index(parts.len())].write(random, into),
            Self::Repeat(part, least, most) => {
                let times = if least == most { *least } else { least + random.below(most - least + 1) };
                (0..times).for_each(|_| part.write(random, into));
            }
        }
    }
}

impl Part {
    /// Characters of the longest text.
    fn longest(&self) -> u64 {
        match self {
            Self::OneOf(_) => 1,
            Self::Sequence(parts) => parts.iter().fold(0, |sum, part| sum.saturating_add(part.longest())),
            Self::Either(parts) => parts.iter().map(Self::longest).max().unwrap_or(0),
            Self::Repeat(part, _, most) => part.longest().saturating_mul(u64::from(*most)),
        }
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn alternatives(&mut self, depth: usize) -> Result<Part, String> {
        if depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} groups in one another"));
        }
        let mut branches = vec![self.sequence(depth)?];
        while self.rest.next_if_eq(&'|').is_some() {
            branches.push(self.sequence(depth)?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Part::Either(branches) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Part, String> {
        let mut parts = Vec::new();
        while let Some(c) = self.rest.next_if(|c| !matches!(c, '|' | ')')) {
            let part = self.atom(c, depth)?;
            parts.push(self.repeated(part)?);
        }
        Ok(Part::Sequence(parts))
    }

    fn atom(&mut self, c: char, depth: usize) -> Result<Part, String> {
        Ok(match c {
            '.' => one_of(&printable()),
            '[' => self.class()?,
            '\\' => one_of(&self.escape()?),
            '(' => {
                if self.rest.next_if_eq(&'?').is_some() && self.rest.next_if_eq(&':').is_none() {
                    return Err("a group that begins with (? other than (?:".to_owned());
                }
                let part = self.alternatives(depth + 1)?;
                self.rest.next_if_eq(&')').ok_or("a group without its )")?;
                part
            }
            '^' | '$' => return Err(format!("the anchor {c} in the middle")),
            '*' | '+' | '?' | '{' => return Err(format!("{c} with nothing before it")),
            _ => one_of(&[c]),
        })
    }

    fn repeated(&mut self, part: Part) -> Result<Part, String> {
        let (least, most) = match self.rest.peek() {
            Some('?') => (0, 1),
            Some('*') => (0, UNBOUNDED_EXTRA),
            Some('+') => (1, 1 + UNBOUNDED_EXTRA),
            Some('{') => return self.counted(part),
            _ => return Ok(part),
        };
        self.rest.next();
        self.once(Part::Repeat(Box::new(part), least, most))
    }

    /// `{n}`, `{n,}` or `{n,m}`.
    fn counted(&mut self, part: Part) -> Result<Part, String> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(c) => text.push(c),
                None => return Err("a { without its }".to_owned()),
            }
        }
        let number =
            |n: &str| n.parse::<u32>().ok().filter(|&n| n <= REPEAT_MAX).ok_or(format!("the repetition {{{text}}}"));
        let (least, most) = match text.split_once(',') {
            None => (number(&text)?, number(&text)?),
            Some((least, "")) => (number(least)?, number(least)? + UNBOUNDED_EXTRA),
            Some((least, most)) => (number(least)?, number(most)?),
        };
        if least > most {
            return Err(format!("the repetition {{{text}}}"));
        }
        self.once(Part::Repeat(Box::new(part), least, most))
    }

    /// A lazy or possessive mark, or a repetition of a repetition, is refused.
    fn once(&mut self, part: Part) -> Result<Part, String> {
        match self.rest.peek() {
            Some(c @ ('?' | '*' | '+' | '{')) => Err(format!("{c} after a repetition")),
            _ => Ok(part),
        }
    }

    /// What stands after `[`.
    fn class(&mut self) -> Result<Part, String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut members: Vec<char> = Vec::new();
        loop {
            let c = self.rest.next().ok_or("a [ without its ]")?;
            let mut from = match c {
                ']' if !members.is_empty() => break,
                ']' => return Err("an empty class []".to_owned()),
                '[' => return Err("a [ within a class".to_owned()),
                '\\' => self.escape()?,
                _ => vec![c],
            };
            if self.rest.next_if_eq(&'-').is_some() {
                match (from.as_slice(), self.rest.peek().copied()) {
                    // `-` at the end stands for itself.
                    (_, Some(']')) => from.push('-'),
                    (&[first], Some(last)) if last != '\\' && first <= last && last.is_ascii() => {
                        self.rest.next();
                        from = (first..=last).collect();
                    }
                    _ => return Err("a range in a class that is not between two ASCII characters".to_owned()),
                }
            }
            members.extend(from);
        }
        if negated {
            members = printable().into_iter().filter(|c| !members.contains(c)).collect();
        }
        members.sort_unstable();
        members.dedup();
        if members.is_empty() { Err("a class that nothing printable is in".to_owned()) } else { Ok(one_of(&members)) }
    }

    /// What stands after `\`.
    fn escape(&mut self) -> Result<Vec<char>, String> {
        let c = self.rest.next().ok_or("a \\ at the end")?;
        Ok(match c {
            'd' => ('0'..='9').collect(),
            'w' => printable().into_iter().filter(|&c| c.is_ascii_alphanumeric() || c == '_').collect(),
            's' => vec![' '],
            _ if c.is_ascii_alphanumeric() => return Err(format!("\\{c}")),
            _ => vec![c],
        })
    }
}

fn printable() -> Vec<char> {
    (' '..='~').collect()
}

fn one_of(chars: &[char]) -> Part {
    let quoted = |&c: &char| {
        let text = serde_json::Value::from(String::from(c)).to_string();
        text.as_bytes()[1..text.len() - 1].to_vec()
    };
    Part::OneOf(chars.iter().map(quoted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_matches() {
        for expression in [
            "^S-[0-9]{4}$",
            "^[A-Z]{2}$",
            r"^1\.[0-9]{1,3}$",
            "^(red|green|(?:blue|grey)ish)$",
            r"^\d+\w*\s?[^a-z\d]{2,}$",
            r#"^["\\]{3}[a-]$"#,
            "abc",
            "^a|b$",
            r"^price\$",
            r"^\$$",
            ".{5}",
            "^[ñáx]{3}$",
            "",
        ] {
            let pattern = Pattern::compile(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
            let reference = regex::Regex::new(expression).unwrap();
            let mut random = Random::seeded(7);
            for _ in 0..200 {
                let mut line = b"\"".to_vec();
                pattern.write(&mut random, &mut line);
                line.push(b'"');
                let text: String = serde_json::from_slice(&line).unwrap();
                assert!(reference.is_match(&text), "{expression}: {text:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for (expression, part) in [
            ("(?=a)b", "(?"),
            (r"\bword", r"\b"),
            (r"\p{L}", r"\p"),
            ("a^b", "anchor"),
            ("*a", "nothing before"),
            ("a**", "after a repetition"),
            ("a{2,1}", "repetition"),
            ("a{99999}", "repetition"),
            ("((a{1000}){1000}){1000}", "characters"),
            ("(a", "without its )"),
            ("a)", "unmatched )"),
            ("[a", "without its ]"),
            ("[]", "empty class"),
            ("a\\", "at the end"),
        ] {
            let error = Pattern::compile(expression).unwrap_err();
            assert!(error.contains(part), "{expression}: {error}");
        }
        let deep = "(".repeat(50) + &")".repeat(50);
        assert!(Pattern::compile(&deep).is_err());
    }
}
