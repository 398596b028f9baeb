//! Which roots are trusted and what is accepted, as the command line says it.

use crate::exit::Failure;
use crate::files;
use crate::output::remark;
use anchorhold_key_release::{MAX_POLICY_BYTES, ReleasePolicy};
use anchorhold_rats::{Measurement, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{self, GenoaTcb, MilanTcb, MinimumTcb, TurinTcb};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Genoa's firmware with the fix for CVE-2024-56161 (AMD-SB-3019). Other products have no floor here, because a floor
/// that is not known to be safe is none.
const GENOA_FLOOR: GenoaTcb = GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 };

/// What is accepted, from flags or a policy file, under which roots and for which time.
#[derive(clap::Args)]
pub(crate) struct TrustArgs {
    /// A launch digest that is accepted, in hex; may be repeated
    #[arg(long, value_name = "HEX", conflicts_with = "policy")]
    measurement: Vec<Measurement>,
    /// The lowest TCB of a product that is accepted: genoa=BL,TEE,SNP,UCODE, milan likewise, or
    /// turin=FMC,BL,TEE,SNP,UCODE; may be repeated [default: genoa=10,0,23,84]
    #[arg(long, value_name = "PRODUCT=N,..", conflicts_with = "policy", requires = "measurement")]
    min_tcb: Vec<Floor>,
    /// A release policy; a guest is accepted that one of its grants accepts
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Trust this root instead of AMD's; for the software guest, which protects nothing
    #[arg(long, value_name = "DER")]
    dangerous_simulated_root: Option<PathBuf>,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// `genoa=10,0,23,84`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    Milan(MilanTcb),
    Genoa(GenoaTcb),
    Turin(TurinTcb),
}

impl FromStr for Floor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str =
            "wanted genoa=BL,TEE,SNP,UCODE, milan=BL,TEE,SNP,UCODE or turin=FMC,BL,TEE,SNP,UCODE";
        let (product, numbers) = text.split_once('=').ok_or(WANTED)?;
        let numbers: Vec<u8> =
            numbers.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| WANTED)?;
        match (product, numbers.as_slice()) {
            ("milan", &[bootloader, tee, snp, microcode]) => {
                Ok(Self::Milan(MilanTcb { bootloader, tee, snp, microcode }))
            }
            ("genoa", &[bootloader, tee, snp, microcode]) => {
                Ok(Self::Genoa(GenoaTcb { bootloader, tee, snp, microcode }))
            }
            ("turin", &[fmc, bootloader, tee, snp, microcode]) => {
                Ok(Self::Turin(TurinTcb { fmc, bootloader, tee, snp, microcode }))
            }
            _ => Err(WANTED),
        }
    }
}

/// What a verification judges by. Any one of the policies may accept.
pub(crate) struct Trust {
    pub(crate) anchors: TrustAnchors,
    pub(crate) policies: Vec<AppraisalPolicy>,
    pub(crate) at: Timestamp,
}

impl TrustArgs {
    /// Reads the files that the flags name. There is no verification without a word on what is accepted.
    pub(crate) fn read(&self) -> Result<Trust, Failure> {
        let at = self.at.map_or_else(now, Ok)?;
        let mut policies = match &self.policy {
            Some(path) => from_policy(&files::read_text(path, MAX_POLICY_BYTES)?, at)?,
            None if self.measurement.is_empty() => {
                let text = "what is accepted is not said: give --measurement or --policy";
                return Err(Failure::usage(text).hint("the measurement of a release is published with it"));
            }
            None => vec![from_floors(&self.measurement, &self.min_tcb).into()],
        };
        let anchors = match &self.dangerous_simulated_root {
            None => TrustAnchors::production(),
            Some(path) => {
                let root = files::read(path, MAX_CERTIFICATE_BYTES)?;
                let anchors = dangerous::simulated_anchors(&SimulatedRoots::amd(&root))
                    .map_err(|e| Failure::other(e).hint(ROOT_HINT))?;
                policies = policies.into_iter().map(dangerous::allow_simulated).collect();
                remark(WARNING);
                anchors
            }
        };
        Ok(Trust { anchors, policies, at })
    }
}

const ROOT_HINT: &str = "`anchorhold simulated-root FILE` writes the root of the software guest";
const WARNING: &str = "\
anchorhold: warning: SIMULATED ROOT. Anybody can make evidence under this root. Whatever the verdict says, no hardware
anchorhold: warning: has vouched for anything, and nothing is protected from whoever runs the server.";

fn from_floors(measurements: &[Measurement], floors: &[Floor]) -> snp::Policy {
    let mut minimum = MinimumTcb::default();
    if floors.is_empty() {
        minimum.genoa = Some(GENOA_FLOOR);
    }
    for floor in floors {
        match *floor {
            Floor::Milan(floor) => minimum.milan = Some(floor),
            Floor::Genoa(floor) => minimum.genoa = Some(floor),
            Floor::Turin(floor) => minimum.turin = Some(floor),
        }
    }
    let mut policy = snp::Policy::strict(measurements.to_vec(), minimum);
    // A platform that was below the floor at launch, or can be rolled back below it, could read the guest's memory.
    policy.min_committed_tcb = Some(minimum);
    policy.min_launch_tcb = Some(minimum);
    policy
}

/// What the grants of a release policy accept, without what it revokes.
fn from_policy(text: &str, at: Timestamp) -> Result<Vec<AppraisalPolicy>, Failure> {
    let policy = ReleasePolicy::from_toml(text).map_err(Failure::other)?;
    if at >= policy.expires() {
        return Err(Failure::other(format!("policy {} expired at {}", policy.id(), policy.expires())));
    }
    let revoked = policy.revoked_measurements();
    let without_revoked = |mut appraisal: AppraisalPolicy| {
        if let Some(policy) = &mut appraisal.snp {
            policy.measurements.retain(|measurement| !revoked.contains(measurement));
        }
        appraisal
    };
    Ok(policy.grants().iter().map(|grant| without_revoked(grant.appraisal().clone())).collect())
}

/// The present, from the system's clock.
pub(crate) fn now() -> Result<Timestamp, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| Failure::other("the system's clock is before 1970"))?;
    Ok(Timestamp::from_unix_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_floors_and_refuses_what_is_none() {
        let genoa = GenoaTcb { bootloader: 1, tee: 2, snp: 3, microcode: 4 };
        assert_eq!("genoa=1,2,3,4".parse(), Ok(Floor::Genoa(genoa)));
        assert!(matches!("turin=1,2,3,4,5".parse(), Ok(Floor::Turin(TurinTcb { fmc: 1, microcode: 5, .. }))));
        assert!(matches!("milan=1,2,3,4".parse(), Ok(Floor::Milan(_))));
        for text in
            ["genoa", "genoa=1,2,3", "genoa=1,2,3,4,5", "genoa=1,2,3,256", "rome=1,2,3,4", "turin=1,2,3,4"]
        {
            assert!(text.parse::<Floor>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_floors_only_genoa_has_one_and_it_holds_for_launch_and_committed_too() {
        let policy = from_floors(&[Measurement::new([1; 48])], &[]);
        assert_eq!(policy.min_tcb.genoa, Some(GENOA_FLOOR));
        assert_eq!((policy.min_tcb.milan, policy.min_tcb.turin), (None, None));
        assert_eq!(policy.min_launch_tcb, Some(policy.min_tcb));
        assert_eq!(policy.min_committed_tcb, Some(policy.min_tcb));
    }
}
