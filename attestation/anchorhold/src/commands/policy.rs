//! `anchorhold policy`: release policies.

use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::{files, trust};
use anchorhold_key_release::{MAX_POLICY_BYTES, ReleasePolicy};
use anchorhold_rats::{Sha256Digest, Timestamp};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to do with a release policy.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Read a policy as a key broker would, and say what it holds
    #[command(after_help = "Example:\n  anchorhold policy check release.toml")]
    Check {
        /// The policy, TOML
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Serialize)]
struct Checked<'a> {
    policy: &'a str,
    version: u64,
    expires: Timestamp,
    digest: Sha256Digest,
    grants: Vec<CheckedGrant<'a>>,
}

#[derive(Serialize)]
struct CheckedGrant<'a> {
    name: &'a str,
    model: &'a str,
    measurements: usize,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let Command::Check { file, format } = command;
    check(file, *format)
}

fn check(path: &Path, format: Format) -> Result<Exit, Failure> {
    let text = files::read_text(path, MAX_POLICY_BYTES)?;
    let policy =
        ReleasePolicy::from_toml(&text).map_err(|e| Failure::other(format!("{}: {e}", path.display())))?;
    if trust::now()? >= policy.expires() {
        let text = format!("{}: expired at {}", path.display(), policy.expires());
        return Err(Failure::other(text).hint("a broker refuses every request under an expired policy"));
    }
    let grants = policy.grants().iter().map(|grant| CheckedGrant {
        name: grant.name(),
        model: grant.model_id().as_str(),
        measurements: grant.appraisal().snp.as_ref().map_or(0, |policy| policy.measurements.len()),
    });
    let checked = Checked {
        policy: policy.id(),
        version: policy.version(),
        expires: policy.expires(),
        digest: policy.digest(),
        grants: grants.collect(),
    };
    if format.json {
        output::json(&checked)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "policy", &format!("{} version {}", checked.policy, checked.version));
    line(&mut out, "expires", &checked.expires.to_string());
    line(&mut out, "digest", &checked.digest.to_string());
    for CheckedGrant { name, model, measurements } in &checked.grants {
        line(&mut out, "grant", &format!("{name}: {model}, {measurements} measurement(s)"));
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}
