//! `anchorhold evidence verify` and `explain`.

use super::input::{self, InputArgs, TpmNonce};
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

const MAX_KEY_BYTES: usize = 4096;

/// What is judged, and by what.
#[derive(clap::Args)]
pub(crate) struct JudgeArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The report data that you expect, in hex; below Azure's paravisor, the nonce in the quote of the virtual TPM
    #[arg(long, value_name = "HEX", required_unless_present_any = ["any_report_data", "tpm_nonce"])]
    report_data: Option<ReportData>,
    /// The nonce that you expect in the quote of a virtual TPM, where it is not of 64 bytes, in hex
    #[arg(long, value_name = "HEX", conflicts_with = "report_data")]
    tpm_nonce: Option<TpmNonce>,
    /// The nonce that you expect in the reports of GPUs, in hex
    #[arg(long, value_name = "HEX")]
    gpu_nonce: Option<Nonce>,
    /// Accept whatever report data or nonce of a virtual TPM there is: then nothing says for whom or when the evidence was
    /// made
    #[arg(long, conflicts_with_all = ["report_data", "tpm_nonce"])]
    any_report_data: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn verify(args: &JudgeArgs, ear: Option<&PathBuf>, format: Format) -> Result<Exit, Failure> {
    let (_, evaluation) = args.evaluate()?;
    match ear {
        Some(path) => {
            let key = files::read_private(path, MAX_KEY_BYTES)?;
            let signer = Signer::from_pkcs8(&key).map_err(Failure::other)?;
            let result = Ear::of(&evaluation, args.gpu_nonce.as_ref(), None);
            output::text(&format!("{}\n", signer.sign(&result).map_err(Failure::other)?))?;
        }
        None if format.json => output::json(&evaluation)?,
        None => output::text(&evaluation.text())?,
    }
    Ok(evaluation.verdict.into())
}

pub(super) fn explained(args: &JudgeArgs, format: Format) -> Result<Exit, Failure> {
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
        let bundle = self.input.read()?;
        self.trust.remark_on(bundle.evidence.tee);
        let expected = Expected { gpu_nonce: self.gpu_nonce, ..self.expected(&bundle)? };
        let evaluation = evaluate(&bundle, &trust, &expected);
        Ok((bundle, evaluation))
    }

    fn expected(&self, bundle: &EvidenceBundle) -> Result<Expected, Failure> {
        match (self.report_data, &self.tpm_nonce) {
            (Some(report_data), _) => Ok(report_data.into()),
            // Else the nonce would be held against a report that has another.
            (None, Some(_)) if bundle.evidence.paravisor.is_none() => {
                Err(Failure::usage("--tpm-nonce is for evidence of a virtual TPM, and this has none")
                    .hint("give --report-data"))
            }
            (None, Some(nonce)) => Ok(nonce.expected()),
            (None, None) => {
                remark("anchorhold: warning: the report data is not judged; old or borrowed evidence passes");
                input::stated(&bundle.evidence)
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
        .by(trust.profile.clone())
}
