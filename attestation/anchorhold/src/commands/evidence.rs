//! `anchorhold evidence`: evidence in files, judged offline.

mod input;
mod show;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, plain, remark};
use crate::trust::{Trust, TrustArgs};
use anchorhold_evaluation::ear::{Ear, Signer};
use anchorhold_evaluation::{Evaluation, explain};
use anchorhold_rats::{EvidenceBundle, Expected, Nonce, ReportData};
use anchorhold_verifier::{Refusal, appraise, authenticate};
use std::fmt::Write as _;
use std::path::PathBuf;

const SHOW_EXAMPLE: &str = "\
Examples:
  anchorhold evidence show report.bin
  anchorhold evidence show bundle.json --json";
const VERIFY_EXAMPLE: &str = "\
Examples:
  anchorhold evidence verify bundle.json --measurement $MEASUREMENT --report-data $REPORT_DATA
  anchorhold evidence verify document.json --policy release.toml --any-report-data --json
  anchorhold evidence verify bundle.json --measurement $MEASUREMENT --any-report-data --ear key.pk8 > result.jwt";
const EXPLAIN_EXAMPLE: &str = "\
Example:
  anchorhold evidence explain bundle.json --measurement $MEASUREMENT --report-data $REPORT_DATA";
const MAX_KEY_BYTES: usize = 4096;

/// What to do with evidence in a file.
///
/// A file is an evidence bundle, an evidence object or an attestation document (JSON), or a bare SNP report or TDX quote.
/// Nothing is fetched.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show what evidence says, judging nothing
    #[command(after_help = SHOW_EXAMPLE)]
    Show {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Judge evidence offline: the verdict, and every rule that failed
    #[command(after_help = VERIFY_EXAMPLE)]
    Verify {
        #[command(flatten)]
        judge: JudgeArgs,
        /// Print an EAT Attestation Result instead, signed with this private key (PKCS#8 DER, P-256 or Ed25519)
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        ear: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Judge evidence offline, and show for every rule what it demands, what was wanted, and the bytes it judged
    #[command(after_help = EXPLAIN_EXAMPLE)]
    Explain {
        #[command(flatten)]
        judge: JudgeArgs,
        #[command(flatten)]
        format: Format,
    },
}

/// What is judged, and by what.
#[derive(clap::Args)]
pub(crate) struct JudgeArgs {
    /// The file
    file: PathBuf,
    /// Take the certificates of the report's signer from this file (DER or PEM, leaf first); may be repeated
    #[arg(long, value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// The report data that you expect, in hex
    #[arg(long, value_name = "HEX", required_unless_present = "any_report_data")]
    report_data: Option<ReportData>,
    /// The nonce that you expect in the reports of GPUs, in hex
    #[arg(long, value_name = "HEX")]
    gpu_nonce: Option<Nonce>,
    /// Accept whatever report data there is: then nothing says for whom or when the evidence was made
    #[arg(long, conflicts_with = "report_data")]
    any_report_data: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Show { file, format } => show::run(file, *format),
        Command::Verify { judge, ear, format } => verify(judge, ear.as_ref(), *format),
        Command::Explain { judge, format } => explained(judge, *format),
    }
}

fn verify(args: &JudgeArgs, ear: Option<&PathBuf>, format: Format) -> Result<Exit, Failure> {
    let (_, evaluation) = args.evaluate()?;
    match ear {
        Some(path) => {
            files::require_private(path)?;
            let signer = Signer::from_pkcs8(&files::read(path, MAX_KEY_BYTES)?).map_err(Failure::other)?;
            let result = Ear::of(&evaluation, args.gpu_nonce.as_ref(), None);
            output::text(&format!("{}\n", signer.sign(&result).map_err(Failure::other)?))?;
        }
        None if format.json => output::json(&evaluation)?,
        None => output::text(&evaluation.text())?,
    }
    Ok(evaluation.verdict.into())
}

fn explained(args: &JudgeArgs, format: Format) -> Result<Exit, Failure> {
    let (bundle, evaluation) = args.evaluate()?;
    let rules = explain(&evaluation.checks, &bundle.evidence);
    if format.json {
        output::json(&rules)?;
        return Ok(evaluation.verdict.into());
    }
    let mut out = String::new();
    for rule in &rules {
        let check = rule.check;
        // Writing to a string cannot fail.
        let outcome = format!("{:?}", check.outcome).to_lowercase();
        let stage = format!("{:?}", check.stage).to_lowercase();
        let _ = writeln!(out, "{} ({stage}): {outcome}", plain(&check.code));
        for (label, value) in [
            ("demands", rule.meaning.map(ToOwned::to_owned)),
            ("wanted", Some(check.wanted.clone())),
            ("observed", Some(check.observed.clone())),
            (
                "bytes",
                check.source.as_ref().zip(rule.bytes.as_ref()).map(|(source, bytes)| {
                    format!("{bytes} ({} at {:#x}, {} bytes)", source.part, source.offset, source.length)
                }),
            ),
        ] {
            if let Some(value) = value {
                let _ = writeln!(out, "  {label:9} {}", plain(&value));
            }
        }
    }
    output::text(&format!("{out}\n{}", evaluation.text()))?;
    Ok(evaluation.verdict.into())
}

impl JudgeArgs {
    fn evaluate(&self) -> Result<(EvidenceBundle, Evaluation), Failure> {
        let trust = self.trust.read()?;
        let bundle = input::read(&self.file, &self.certificates)?;
        let expected = Expected { report_data: self.expected(&bundle)?, gpu_nonce: self.gpu_nonce };
        let evaluation = evaluate(&bundle, &trust, &expected);
        Ok((bundle, evaluation))
    }

    fn expected(&self, bundle: &EvidenceBundle) -> Result<ReportData, Failure> {
        match self.report_data {
            Some(report_data) => Ok(report_data),
            None => {
                remark("anchorhold: warning: the report data is not judged; old or borrowed evidence passes");
                input::stated_report_data(&bundle.evidence)
            }
        }
    }
}

/// One acceptance is enough. Of several refusals the nearest is shown, with the fewest rules failed.
fn evaluate(bundle: &EvidenceBundle, trust: &Trust, expected: &Expected) -> Evaluation {
    let judged = trust.policies.iter().map(|policy| {
        authenticate(&bundle.evidence, &bundle.endorsements, &trust.anchors, trust.at)
            .and_then(|authentic| appraise(authentic, policy, expected))
    });
    let failed = |refusal: &Refusal| refusal.checks().failed().count();
    let nearest = judged.min_by_key(|outcome| outcome.as_ref().err().map_or(0, failed));
    let outcome = nearest.expect("there is at least one policy, so there was an acceptance or a refusal");
    Evaluation::of(bundle.evidence.tee, &outcome, trust.at, trust.anchors.are_simulated())
}
