//! Which roots are trusted and what is accepted, as the command line says it.

mod accepted;
pub(crate) mod roots;

use crate::exit::Failure;
use crate::output::remark;
use accepted::Accepted;
use anchorhold_evaluation::UsedProfile;
use anchorhold_rats::{Ed25519PublicKey, Measurement, Tee, Timestamp};
use anchorhold_relying_party::Floor;
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, dangerous};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is accepted, from flags or a policy file, under which roots and for which time.
#[derive(clap::Args)]
pub(crate) struct TrustArgs {
    /// A launch digest that is accepted, in hex: MEASUREMENT of SEV-SNP, or MRTD of TDX, which is the firmware alone; may be
    /// repeated. All other rules are the strict ones; no GPU and no paravisor is accepted
    #[arg(long, value_name = "HEX", conflicts_with_all = ["policy", "profile"])]
    measurement: Vec<Measurement>,
    /// The lowest TCB of an AMD product that is accepted: genoa=BL,TEE,SNP,UCODE, milan likewise, or
    /// turin=FMC,BL,TEE,SNP,UCODE; may be repeated [default: genoa=10,0,23,84]
    #[arg(long, value_name = "PRODUCT=N,..", conflicts_with_all = ["policy", "profile"], requires = "measurement")]
    min_tcb: Vec<Floor>,
    /// A release policy; a guest is accepted that one of its grants accepts
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    policy: Option<PathBuf>,
    /// An appraisal profile, TOML, or signed; what its tables accept is accepted
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// A list of machines, TOML, or signed: it allows or revokes them whatever else is said; may be repeated
    #[arg(long, value_name = "FILE")]
    machines: Vec<PathBuf>,
    /// A key that must have signed the profile and the machine lists, in hex as `owner show` prints it; may be repeated
    #[arg(long, value_name = "HEX")]
    profile_signer: Vec<Ed25519PublicKey>,
    /// How many of these keys must have signed each file
    #[arg(long, value_name = "N", default_value_t = 1, requires = "profile_signer")]
    profile_threshold: usize,
    /// Trust these roots instead of the vendors': the root of SEV-SNP as DER, or several as PEM, each recognised by its
    /// key and name; for simulated guests, which protect nothing
    #[arg(long, value_name = "FILE")]
    dangerous_simulated_root: Option<PathBuf>,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// What a verification judges by. Any one of the policies may accept.
pub(crate) struct Trust {
    pub(crate) anchors: TrustAnchors,
    pub(crate) policies: Vec<AppraisalPolicy>,
    pub(crate) profile: Option<UsedProfile>,
    pub(crate) at: Timestamp,
}

impl Trust {
    /// What the client judges by.
    pub(crate) fn relying(&self) -> anchorhold_client::Trust {
        anchorhold_client::Trust { anchors: self.anchors.clone(), policies: self.policies.clone() }
    }
}

impl TrustArgs {
    /// Reads the files that the flags name, and warns of roots that are not the vendors'.
    pub(crate) fn read(&self) -> Result<Trust, Failure> {
        let trust = self.read_again()?;
        if self.dangerous_simulated_root.is_some() {
            remark(WARNING);
        }
        Ok(trust)
    }

    /// The same, for those who were warned. There is no verification without a word on what is accepted.
    pub(crate) fn read_again(&self) -> Result<Trust, Failure> {
        let at = self.at.map_or_else(now, Ok)?;
        let signers = accepted::signers(&self.profile_signer, self.profile_threshold)?;
        let Accepted { mut policies, profile } = match (&self.policy, &self.profile) {
            (Some(path), _) => accepted::by_release_policy(path, at)?,
            (None, Some(path)) => accepted::by_profile(path, signers.as_ref(), at)?,
            (None, None) if self.measurement.is_empty() => {
                let text = "what is accepted is not said: give --measurement, --profile or --policy";
                return Err(Failure::usage(text).hint("the measurement of a release is published with it"));
            }
            (None, None) => accepted::by_flags(&self.measurement, &self.min_tcb),
        };
        accepted::apply_machines(&self.machines, signers.as_ref(), &mut policies, at)?;
        let anchors = match &self.dangerous_simulated_root {
            None => TrustAnchors::production(),
            Some(path) => {
                let anchors = roots::read(path)?;
                policies = policies.into_iter().map(dangerous::allow_simulated).collect();
                anchors
            }
        };
        Ok(Trust { anchors, policies, profile, at })
    }

    /// Whether another time than the present is asked for.
    pub(crate) const fn is_for_another_time(&self) -> bool {
        self.at.is_some()
    }

    /// Says what a measurement alone leaves open.
    pub(crate) fn remark_on(&self, tee: Tee) {
        if tee == Tee::Tdx && !self.measurement.is_empty() {
            remark(FIRMWARE_ONLY);
        }
    }
}

const WARNING: &str = "\
anchorhold: warning: SIMULATED ROOT. Anybody can make evidence under this root. Whatever the verdict says, no hardware
anchorhold: warning: has vouched for anything, and nothing is protected from whoever runs the server.";
const FIRMWARE_ONLY: &str = "\
anchorhold: warning: of TDX, --measurement is MRTD, the firmware alone; what it booted is judged only by a --profile";

/// The present, from the system's clock.
pub(crate) fn now() -> Result<Timestamp, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| Failure::other("the system's clock is before 1970"))?;
    Ok(Timestamp::from_unix_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
}
