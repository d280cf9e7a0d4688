//! What is not wrong, and yet may not be what was meant: names that nothing reads, with the nearest that is read, and settings without effect.

use crate::config::given::Given;
use crate::config::{Http, VARIABLES};

/// For people.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    /// Names in `.env` that are no setting.
    unknown: Vec<String>,
    others: Vec<String>,
}

impl Warnings {
    /// As texts; `used` are names that pipeline files use.
    #[must_use]
    pub fn told(&self, used: &[&str]) -> Vec<String> {
        let unknown = self.unknown.iter().filter(|name| !used.contains(&name.as_str()));
        let unknown = unknown.map(|name| format!(".env: {name:?} is no setting of Caudal's{}", nearest(name)));
        unknown.chain(self.others.iter().cloned()).collect()
    }
}

pub(super) fn warnings(given: &Given, http: &Http) -> Warnings {
    let unknown = given.names_in_dotenv().filter(|name| !VARIABLES.contains(&name.as_str())).cloned().collect();
    let mut others = Vec::new();
    if given.text("DB_PASSWORD").is_some() && given.text("DB_HOST").is_none() {
        others.push("DB_PASSWORD is set but DB_HOST is not: results go to the embedded SQLite store".to_owned());
    }
    if !http.addr.is_loopback() && http.tls.is_none() {
        let addr = http.addr;
        others.push(format!(
            "HTTP_ADDR={addr} without TLS_CERT and TLS_KEY: tokens and events cross the network unencrypted, unless a proxy before this port does TLS"
        ));
    }
    Warnings { unknown, others }
}

fn nearest(name: &str) -> String {
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.6;
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_uppercase(), known);
    let best = VARIABLES.iter().map(|known| (likeness(known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|&(likeness, _)| likeness >= LIKENESS_MIN)
        .map(|(_, known)| format!("; did you mean {known}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Variables};

    #[test]
    fn what_nothing_reads_is_warned_about() {
        let dotenv = [("HTPP_PORT", "1"), ("SOMETHING_ELSE_ENTIRELY", "1"), ("DB_PASSWORD", "x")];
        let dotenv = dotenv.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (_, warnings) = Config::from_variables(&Variables::new(), &dotenv).unwrap();
        let warnings = warnings.told(&[]);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("did you mean HTTP_PORT?"), "{warnings:?}");
        assert!(!warnings[1].contains("did you mean"), "{warnings:?}");
        assert!(warnings[2].contains("DB_HOST"), "{warnings:?}");
    }
}
