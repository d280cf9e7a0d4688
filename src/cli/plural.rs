//! Numbers of things, for people.

/// `1 file`, `2 files`.
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_one() {
        for (n, expected) in [(0, "0 files"), (1, "1 file"), (2, "2 files"), (21, "21 files")] {
            assert_eq!(count(n, "file"), expected);
        }
    }
}
