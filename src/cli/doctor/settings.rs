//! The settings, and the pipeline files that they name.

use std::sync::Arc;

use crate::cli::check::{self, Checked};
use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::cli::plural::count;
use crate::cli::webhooks;
use crate::config::{Config, Examined, Http};
use crate::core::plan::Plan;
use crate::pipeline::Bundle;

/// A token that is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The settings, with the defaults for what is wrong, and whether something is.
pub fn look(findings: &mut Findings) -> (Config, bool) {
    let Examined { config, warnings, wrong } = Config::examine();
    let plan = Bundle::read(&config.pipelines).and_then(|bundle| bundle.pipelines()).ok().map(|read| read.plan);
    for wrong in &wrong {
        findings.problem(
            "settings",
            Exit::Config,
            wrong,
            "correct it in the environment or in .env; .env.example lists what may stand there",
        );
    }
    let used = plan.as_ref().map(|plan| webhooks::variables(plan)).unwrap_or_default();
    let told = warnings.told(&used);
    for warning in &told {
        findings.warn("settings", warning, "correct the name, or take the line out");
    }
    if wrong.is_empty() && told.is_empty() {
        findings.ok("settings", "no unknown name, no wrong value");
    }
    access(&config.http, findings);
    pipelines(&config, plan.as_ref(), findings);
    (config, !wrong.is_empty())
}

/// Who may reach the job. That others may without a token is a wrong setting.
fn access(http: &Http, findings: &mut Findings) {
    let tokens = &http.tokens;
    let short = tokens.iter().filter(|(token, _)| token.len() < TOKEN_BYTES_MIN).count();
    let asked = if tokens.is_empty() {
        "no token is asked for".to_owned()
    } else {
        format!("{} may be used", count(tokens.iter().count() as u64, "token"))
    };
    let where_from = if http.addr.is_loopback() {
        "this machine alone".to_owned()
    } else {
        format!("whoever reaches {}", http.addr)
    };
    let found = format!("{where_from} may ask the job; {asked}");
    if short > 0 {
        let cure = format!("use {TOKEN_BYTES_MIN} characters or more, as openssl rand -hex 16 prints");
        findings.warn("access", format!("{found}, of which {short} can be guessed"), cure);
    } else {
        findings.ok("access", found);
    }
}

fn pipelines(config: &Config, plan: Option<&Arc<Plan>>, findings: &mut Findings) {
    if config.pipelines.is_empty() {
        let found = "PIPELINES names no file: there is nothing to run";
        findings.problem("pipelines", Exit::Config, found, "name a pipeline file in PIPELINES");
        return;
    }
    match check::check(&config.pipelines) {
        Err(faults) => {
            let found = faults.to_string();
            findings.problem(
                "pipelines",
                Exit::Config,
                found.trim_end(),
                "mend the file; caudal check FILE says whether it is well",
            );
        }
        Ok(checked) => checked.iter().for_each(|file| of_file(file, findings)),
    }
    if let Some(Err(failure)) = plan.map(|plan| webhooks::hooks(&config.webhooks, plan)) {
        findings.problem(
            "webhooks",
            Exit::Config,
            failure.why,
            "correct the variable, or the webhook in the pipeline file",
        );
    }
}

fn of_file(checked: &Checked, findings: &mut Findings) {
    let file = checked.file();
    match checked.failures() {
        0 => findings.ok("pipelines", format!("{file}: {}", checked.summary())),
        failed => findings.warn(
            "pipelines",
            format!("{file}: {} of its own fails", count(failed as u64, "test")),
            format!("caudal check {file} shows what was expected, and what came"),
        ),
    }
}
