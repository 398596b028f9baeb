//! What the other verifiers say of a case.

use anchorhold_vectors::{Case, Pin, Platform};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, builtin};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Sev,
    DcapQvl,
}

impl Peer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sev => "sev 8.0.0",
            Self::DcapQvl => "dcap-qvl 0.7.1",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Refuse(String),
    Panic,
}

/// A panic on outside input is no verdict.
fn guarded(judge: impl FnOnce() -> Result<(), String>) -> Verdict {
    match catch_unwind(AssertUnwindSafe(judge)) {
        Ok(Ok(())) => Verdict::Accept,
        Ok(Err(why)) => Verdict::Refuse(why),
        Err(_) => Verdict::Panic,
    }
}

/// The report of an SNP guest under this ARK.
pub(crate) fn sev(report: &[u8], vek: &[u8], ask: &[u8], ark: &[u8]) -> Verdict {
    guarded(|| sev_under(report, vek, ask, || Certificate::from_der(ark)))
}

fn sev_under(
    report: &[u8],
    vek: &[u8],
    ask: &[u8],
    ark: impl FnOnce() -> std::io::Result<Certificate>,
) -> Result<(), String> {
    let read = |der| Certificate::from_der(der).map_err(|error| error.to_string());
    let ark = ark().map_err(|error| error.to_string())?;
    let chain = Chain::from((read(ask)?, ark, read(vek)?));
    let report = AttestationReport::from_bytes(report).map_err(|error| error.to_string())?;
    (&chain, &report).verify().map_err(|error| error.to_string())
}

/// A quote that is up to date is accepted; every other status is for the caller to refuse, as by default ours does.
pub(crate) fn dcap_qvl(verifier: &QuoteVerifier, quote: &[u8], collateral: &[u8], seconds: u64) -> Verdict {
    guarded(|| {
        let collateral: QuoteCollateralV3 =
            serde_json::from_slice(collateral).map_err(|error| error.to_string())?;
        let report = verifier.verify(quote, &collateral, seconds).map_err(|error| format!("{error:#}"))?;
        if report.status == "UpToDate" { Ok(()) } else { Err(report.status) }
    })
}

pub(crate) fn judge(folder: &Path, case: &Case) -> Verdict {
    let file = |role: &str| case.files.get(role).map(|path| std::fs::read(folder.join(path)).unwrap());
    let seconds = case.at.unix_seconds().try_into().unwrap();
    match case.platform {
        Platform::Tdx => {
            let (quote, Some(collateral)) = (file("quote").unwrap(), file("collateral")) else {
                return Verdict::Refuse("no collateral".into());
            };
            let verifier = match case.pin {
                Pin::Real => QuoteVerifier::new_prod(),
                Pin::Forged => QuoteVerifier::new(file("root").unwrap()),
            };
            dcap_qvl(&verifier, &quote, &collateral, seconds)
        }
        Platform::Snp => {
            let (Some(vek), Some(ask)) = (file("vek"), file("ask")) else {
                return Verdict::Refuse("no chain".into());
            };
            let report = file("report").unwrap();
            match case.pin {
                Pin::Forged => sev(&report, &vek, &ask, &file("ark").unwrap()),
                // The caller of `sev` names the product; any of the three that it has may be meant.
                Pin::Real => [builtin::milan::ark, builtin::genoa::ark, builtin::turin::ark]
                    .into_iter()
                    .map(|ark| guarded(|| sev_under(&report, &vek, &ask, ark)))
                    .reduce(|one, other| if one == Verdict::Accept { one } else { other })
                    .unwrap(),
            }
        }
        Platform::Nvidia | Platform::Azure | Platform::Tpm => panic!("no peer"),
    }
}
