//! Where a job's webhooks go: their addresses, with what the environment says, looked at once before the job starts.

use hyper::Uri;

use crate::cli::exit::{Exit, Failure};
use crate::config::Webhooks;
use crate::core::plan::{Plan, WebhookPlan};
use crate::outbox::{Hook, is_public, literal};
use crate::pipeline::webhook_variable;

/// Each has a thread and two connections to the store.
const HOOKS_MAX: usize = 20;

/// The names of the variables that hold the pipelines' webhooks.
pub fn variables(plan: &Plan) -> Vec<&str> {
    plan.webhooks.iter().filter_map(|webhook| webhook_variable(&webhook.url)).collect()
}

/// # Errors
/// 78 where a variable is missing, an address cannot be used, or there are too many. Path and query of an address may be a secret, and are not shown.
pub fn hooks(config: &Webhooks, plan: &Plan) -> Result<Vec<Hook>, Failure> {
    if plan.webhooks.len() > HOOKS_MAX {
        let why =
            format!("{} webhooks in all pipelines together: at most {HOOKS_MAX} are allowed", plan.webhooks.len());
        return Err(Failure::new(Exit::Config, why));
    }
    let hook = |webhook: &WebhookPlan| {
        let url = held(config, &webhook.url).and_then(|url| checked(config, url));
        let url = url.map_err(|why| Failure::new(Exit::Config, format!("webhooks: {}: {why}", webhook.name)))?;
        let pipeline = plan.pipeline_name(webhook.pipeline).to_owned();
        Ok(Hook { pipeline, name: webhook.name.clone(), url, retry: webhook.retry })
    };
    plan.webhooks.iter().map(hook).collect()
}

/// The address, out of the variable that holds it if it names one.
fn held(config: &Webhooks, written: &str) -> Result<String, String> {
    let Some(name) = webhook_variable(written) else { return Ok(written.to_owned()) };
    let value = config.named.get(name).map(str::to_owned);
    value.ok_or_else(|| {
        format!("the variable {name} is not set: it holds the address; set it in the environment or in .env")
    })
}

fn checked(config: &Webhooks, url: String) -> Result<String, String> {
    let read: Uri = url.parse().map_err(|error| format!("its address cannot be read: {error}"))?;
    if !matches!(read.scheme_str(), Some("http" | "https")) || read.host().is_none_or(str::is_empty) {
        return Err("its address is none that begins with http:// or https:// and names a host".to_owned());
    }
    match literal(&read) {
        Some(address) if !config.private && !is_public(address) => Err(format!(
            "{address} is no address of the public internet; WEBHOOKS_PRIVATE=allow lets webhooks go there"
        )),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    #[test]
    fn addresses_are_looked_at_before_the_job_starts() {
        let check = |written: &str, private: &str, expected: Result<&str, &str>| {
            let mut environment: Variables = [
                ("HOOK", "https://hooks.example.com/T0/secret"),
                ("EMPTY", ""),
                ("PRIVATE", "http://10.0.0.7:8080/x"),
                ("HOST", "10.0.0.7"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            environment.insert("WEBHOOKS_PRIVATE".to_owned(), private.to_owned());
            let (config, _) = Config::from_variables(&environment, &Variables::new()).unwrap();
            let found = held(&config.webhooks, written).and_then(|url| checked(&config.webhooks, url));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{written}: {found}"),
                (found, _) => panic!("{written}: {found:?}"),
            }
        };
        check("${HOOK}", "deny", Ok("https://hooks.example.com/T0/secret"));
        check("https://hooks.example.com/x", "deny", Ok("https://hooks.example.com/x"));
        check("${PRIVATE}", "allow", Ok("http://10.0.0.7:8080/x"));
        check("${PRIVATE}", "deny", Err("10.0.0.7 is no address of the public internet"));
        check("http://169.254.169.254/", "deny", Err("WEBHOOKS_PRIVATE=allow"));
        check("http://[::ffff:127.0.0.1]/", "deny", Err("no address of the public internet"));
        check("${NOBODY}", "deny", Err("NOBODY is not set"));
        check("${EMPTY}", "deny", Err("EMPTY is not set"));
        check("${HOST}", "allow", Err("begins with http:// or https://"));
    }
}
