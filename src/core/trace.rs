//! W3C trace context (Level 1): which trace a request belongs to, as its `traceparent` and `tracestate` headers say. It is kept with the request's events and shown with
//! them, and no result depends on it. What is invalid is passed over, as the recommendation asks: a broken tracer must not cost events.

use std::fmt;
use std::sync::Arc;

use crate::core::units::Offset;

/// What is kept of a `tracestate`: the recommendation asks for at least so much.
const STATE_BYTES_MAX: usize = 512;
/// Where there is more, members longer than this are left out first.
const LONG_MEMBER_BYTES: usize = 128;
/// A `tracestate` with more members is invalid.
const MEMBERS_MAX: usize = 32;
/// `00-` trace-id `-` parent-id `-` flags.
const PARENT_BYTES: usize = 55;

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: [u8; 16],
    pub parent_id: [u8; 8],
    pub flags: u8,
    /// Vendors' members, as they came; empty where there are none.
    pub state: Arc<str>,
}

/// The events of one request and its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    pub first: Offset,
    pub count: u32,
    pub trace: Trace,
}

impl Trace {
    /// Reads a `traceparent`, and the `tracestate` beside it, its header lines joined by commas. None where the first is invalid; an invalid second one is left out.
    #[must_use]
    pub fn parse(parent: &[u8], state: Option<&[u8]>) -> Option<Self> {
        let parent = parent.trim_ascii();
        let (known, rest) = parent.split_at_checked(PARENT_BYTES)?;
        let [v1, v2, b'-', ids @ ..] = known else { return None };
        let [version] = hex(&[*v1, *v2])?;
        // Version 00 is this long; a later one may go on after a dash.
        let fits = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with(b"-") };
        let (trace_id, ids) = ids.split_at_checked(32)?;
        let (parent_id, flags) = ids.strip_prefix(b"-")?.split_at_checked(16)?;
        let (trace_id, parent_id) = (hex::<16>(trace_id)?, hex::<8>(parent_id)?);
        let [flags] = hex(flags.strip_prefix(b"-")?)?;
        let valid = version != 0xff && fits && trace_id != [0; 16] && parent_id != [0; 8];
        let state = state.and_then(members).unwrap_or_default();
        valid.then(|| Self { trace_id, parent_id, flags, state: state.into() })
    }

    /// The `traceparent`, of version 00.
    #[must_use]
    pub fn parent(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-{:02x}", hex(&self.trace_id), hex(&self.parent_id), self.flags)
    }

    /// The `tracestate`, where there is one.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        Some(&*self.state).filter(|state| !state.is_empty())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent())?;
        self.state().map_or(Ok(()), |state| write!(f, " {state}"))
    }
}

impl Traced {
    #[must_use]
    pub fn holds(&self, offset: Offset) -> bool {
        offset >= self.first && offset.0 - self.first.0 < u64::from(self.count)
    }

    /// The trace of the event at this offset, if one of these is of it.
    #[must_use]
    pub fn of(all: &[Self], offset: Offset) -> Option<&Trace> {
        all.iter().find(|traced| traced.holds(offset)).map(|traced| &traced.trace)
    }
}

/// Lower-case digits only, as the recommendation has it.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// The members of a `tracestate`, shortened by whole ones to `STATE_BYTES_MAX`. None where it is invalid.
fn members(state: &[u8]) -> Option<String> {
    let state = std::str::from_utf8(state).ok()?;
    let is_blank = |c: char| c == ' ' || c == '\t';
    let mut members: Vec<&str> =
        state.split(',').map(|member| member.trim_matches(is_blank)).filter(|member| !member.is_empty()).collect();
    let keys: Option<Vec<&str>> = members.iter().map(|member| key_of(member)).collect();
    let mut keys = keys?;
    keys.sort_unstable();
    if members.len() > MEMBERS_MAX || keys.windows(2).any(|pair| pair.first() == pair.last()) {
        return None;
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    if length(&members) > STATE_BYTES_MAX {
        members.retain(|member| member.len() <= LONG_MEMBER_BYTES);
    }
    while length(&members) > STATE_BYTES_MAX {
        members.pop();
    }
    Some(members.join(","))
}

/// The key of a member that is one: `key=value`, the key perhaps `tenant@system`.
fn key_of(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let is_rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
    let part = |text: &str, first: fn(u8) -> bool, longest: usize| {
        text.len() <= longest && text.bytes().all(is_rest) && text.bytes().next().is_some_and(first)
    };
    let letter = |b: u8| b.is_ascii_lowercase();
    let key_is = match key.split_once('@') {
        None => part(key, letter, 256),
        Some((tenant, system)) => {
            part(tenant, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), 241) && part(system, letter, 14)
        }
    };
    let is_value = |b: u8| (0x20..=0x7e).contains(&b) && b != b',' && b != b'=';
    let value_is = value.len() <= 256 && value.bytes().all(is_value) && value.bytes().last().is_some_and(|b| b != b' ');
    (key_is && value_is).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What the recommendation says of each, and its test suite tries.
    #[test]
    fn what_is_invalid_is_passed_over() {
        let later = format!("cc{}-what-the-future-brings", &PARENT[2..]);
        let exact = format!("cc{}", &PARENT[2..]);
        for good in [PARENT, &later, &exact, "\t00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff "] {
            assert!(Trace::parse(good.as_bytes(), None).is_some(), "{good}");
        }
        let found = Trace::parse(later.as_bytes(), None).map(|trace| trace.parent());
        assert_eq!(found.as_deref(), Some(PARENT));
        let bad = [
            String::new(),
            format!("{PARENT}-00"),
            format!("{PARENT}."),
            format!("cc{}.what", &PARENT[2..]),
            format!("ff{}", &PARENT[2..]),
            PARENT.to_uppercase(),
            PARENT.replace('-', "_"),
            PARENT[..54].to_owned(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é".to_owned(),
        ];
        for bad in bad {
            assert_eq!(Trace::parse(bad.as_bytes(), None), None, "{bad}");
        }
    }

    #[test]
    fn a_state_is_kept_or_left_out() {
        let state =
            |text: &str| Trace::parse(PARENT.as_bytes(), Some(text.as_bytes())).expect(PARENT).state.to_string();
        for (given, kept) in [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            (" a=1 ,\t, 0t@sys=2 3", "a=1,0t@sys=2 3"),
            ("", ""),
            ("a", ""),
            ("A=1", ""),
            ("1a=1", ""),
            ("a=1,a=2", ""),
            ("a=1=2", ""),
            ("a=", ""),
            ("a=é", ""),
        ] {
            assert_eq!(state(given), kept, "{given:?}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&many(32)), many(32));
        assert_eq!(state(&many(33)), "");
        let long = format!(
            "long={},{}",
            "v".repeat(200),
            (0..20).map(|n| format!("k{n}={}", "v".repeat(30))).collect::<Vec<_>>().join(",")
        );
        let kept = state(&long);
        assert!(kept.starts_with("k0=") && (400..=512).contains(&kept.len()), "{kept}");
    }
}
