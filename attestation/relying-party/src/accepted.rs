//! What is accepted, under which roots.

use crate::floor::Floor;
use crate::roots::{RootsError, read_roots};
use anchorhold_appraisal_policy::{AppraisalProfile, MachineList, NotInForce, PolicyError};
use anchorhold_evaluation::UsedProfile;
use anchorhold_rats::{EvidenceError, Measurement, Timestamp};
use anchorhold_verifier::snp::{self, GenoaTcb, MinimumTcb};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, dangerous, tdx};
use serde::Deserialize;

/// The longest JSON of [`Accepted`], in bytes.
pub const MAX_ACCEPTED_BYTES: usize = 4 * 1024 * 1024;
/// The most measurements that are named one by one.
pub const MAX_MEASUREMENTS: usize = 256;
/// The most machine lists.
pub const MAX_LISTS: usize = 16;

/// Genoa's firmware with the fix for CVE-2024-56161 (AMD-SB-3019). Other products have no floor here, because a floor
/// that is not known to be safe is none.
const GENOA_FLOOR: GenoaTcb = GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 };

/// Why there is nothing to judge by, or nothing to judge.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON of [`Accepted`], or an unknown key.
    #[error("what is accepted is not the expected JSON (line {line}, column {column})")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// More than is read.
    #[error("{what}: the limit is {limit}")]
    Limit {
        /// Which length or count.
        what: &'static str,
        /// The most.
        limit: usize,
    },
    /// Neither a measurement nor a profile.
    #[error("what is accepted is not said: give measurements or a profile")]
    Nothing,
    /// Both, or floors without measurements.
    #[error("{what}")]
    Both {
        /// Which do not go together.
        what: &'static str,
    },
    /// A floor is not of the form that [`Floor`] reads.
    #[error("min_tcb: {0}")]
    Floor(&'static str),
    /// The profile, or a machine list, is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The profile, or a machine list, does not hold at the time.
    #[error(transparent)]
    NotInForce(#[from] NotInForce),
    /// The roots are none.
    #[error("simulated roots: {0}")]
    Roots(#[from] RootsError),
    /// The text of a log's key is none.
    #[error("not a verifier key: expected name+hash+key")]
    Key,
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] EvidenceError),
}

/// What a relying party accepts, as it says it. What is not named is not accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accepted {
    /// Launch digests: MEASUREMENT of SEV-SNP, or MRTD of TDX, which is the firmware alone. All other rules are the strict ones;
    /// no GPU and no paravisor is accepted.
    pub measurements: Vec<Measurement>,
    /// The lowest TCB of AMD's products, as [`Floor`] reads them; beside `measurements` only. Without any, Genoa has the floor of
    /// AMD-SB-3019 and other products are refused.
    pub min_tcb: Vec<String>,
    /// An appraisal profile, TOML; instead of `measurements`.
    pub profile: Option<String>,
    /// Machine lists, TOML.
    pub machines: Vec<String>,
    /// Roots in the place of the vendors', PEM. Whoever holds their keys can make any evidence, and nothing is protected.
    pub dangerous_simulated_roots: Option<String>,
}

/// What a verification judges by.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The roots.
    pub anchors: TrustAnchors,
    /// The rules.
    pub policy: AppraisalPolicy,
    /// The profile that the rules come from.
    pub profile: Option<UsedProfile>,
    /// The time to judge for.
    pub at: Timestamp,
}

impl Accepted {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Limit`].
    pub fn from_json(json: &str) -> Result<Self, Error> {
        limit(json.len(), MAX_ACCEPTED_BYTES, "bytes of what is accepted")?;
        serde_json::from_str(json).map_err(|e| Error::Malformed { line: e.line(), column: e.column() })
    }

    /// What the verifier asks for, at a time.
    ///
    /// # Errors
    /// [`Error`] when nothing is accepted, or what is named cannot be read or does not hold at `at`.
    pub fn trust(&self, at: Timestamp) -> Result<Trust, Error> {
        limit(self.measurements.len(), MAX_MEASUREMENTS, "measurements")?;
        limit(self.machines.len(), MAX_LISTS, "machine lists")?;
        let (mut policy, profile) = match &self.profile {
            Some(_) if !self.measurements.is_empty() => {
                return Err(Error::Both { what: "give either measurements or a profile" });
            }
            Some(_) if !self.min_tcb.is_empty() => {
                return Err(Error::Both {
                    what: "min_tcb goes with measurements; a profile has its own floors",
                });
            }
            Some(text) => by_profile(text, at)?,
            None if self.measurements.is_empty() => return Err(Error::Nothing),
            None => {
                let floors = self.min_tcb.iter().map(|floor| floor.parse().map_err(Error::Floor));
                (strict_policy(&self.measurements, &floors.collect::<Result<Vec<_>, _>>()?), None)
            }
        };
        for text in &self.machines {
            MachineList::from_toml(text)?.apply(&mut policy, at)?;
        }
        let anchors = match &self.dangerous_simulated_roots {
            None => TrustAnchors::production(),
            Some(pem) => {
                policy = dangerous::allow_simulated(policy);
                read_roots(pem.as_bytes())?
            }
        };
        Ok(Trust { anchors, policy, profile, at })
    }
}

fn by_profile(text: &str, at: Timestamp) -> Result<(AppraisalPolicy, Option<UsedProfile>), Error> {
    let profile = AppraisalProfile::from_toml(text)?;
    profile.require_at(at)?;
    let header = profile.header();
    let used = UsedProfile { id: header.id.clone(), version: header.version, digest: profile.digest() };
    Ok((profile.appraisal().clone(), Some(used)))
}

/// The strict rules for guests with one of these launch digests. Without floors, Genoa has that of AMD-SB-3019 and no other product is
/// accepted.
#[must_use]
pub fn strict_policy(measurements: &[Measurement], floors: &[Floor]) -> AppraisalPolicy {
    let tdx = tdx::Policy::strict(measurements.to_vec());
    AppraisalPolicy { tdx: Some(tdx), ..from_floors(measurements, floors).into() }
}

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

fn limit(observed: usize, limit: usize, what: &'static str) -> Result<(), Error> {
    if observed > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_attester::software::simulated_roots_pem;

    fn at() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn without_floors_only_genoa_has_one_and_it_holds_for_launch_and_committed_too() {
        let policy = from_floors(&[Measurement::new([1; 48])], &[]);
        assert_eq!(policy.min_tcb.genoa, Some(GENOA_FLOOR));
        assert_eq!((policy.min_tcb.milan, policy.min_tcb.turin), (None, None));
        assert_eq!(policy.min_launch_tcb, Some(policy.min_tcb));
        assert_eq!(policy.min_committed_tcb, Some(policy.min_tcb));
    }

    #[test]
    fn refuses_to_judge_when_nothing_is_accepted_or_two_things_are() {
        assert!(matches!(Accepted::default().trust(at()), Err(Error::Nothing)));
        let measurements = vec![Measurement::new([1; 48])];
        let profile = Some(String::new());
        let both =
            Accepted { measurements: measurements.clone(), profile: profile.clone(), ..Accepted::default() };
        assert!(matches!(both.trust(at()), Err(Error::Both { .. })));
        let floors = Accepted { min_tcb: vec!["genoa=1,2,3,4".into()], profile, ..Accepted::default() };
        assert!(matches!(floors.trust(at()), Err(Error::Both { .. })));
        let floor = Accepted { measurements, min_tcb: vec!["rome=1,2,3,4".into()], ..Accepted::default() };
        assert!(matches!(floor.trust(at()), Err(Error::Floor(_))));
    }

    #[test]
    fn refuses_unknown_keys_and_excess_and_quotes_nothing() {
        let error = Accepted::from_json(r#"{"measurement":["secret"]}"#).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && !error.to_string().contains("secret"));
        assert!(matches!(Accepted::from_json(&" ".repeat(MAX_ACCEPTED_BYTES + 1)), Err(Error::Limit { .. })));
        let many = Accepted {
            measurements: vec![Measurement::new([1; 48]); MAX_MEASUREMENTS + 1],
            ..Accepted::default()
        };
        assert!(matches!(many.trust(at()), Err(Error::Limit { what: "measurements", .. })));
        let lists = Accepted { machines: vec![String::new(); MAX_LISTS + 1], ..Accepted::default() };
        assert!(matches!(lists.trust(at()), Err(Error::Limit { what: "machine lists", .. })));
    }

    #[test]
    fn the_roots_are_the_vendors_unless_others_are_named() {
        let measurements = vec![Measurement::new([1; 48])];
        let accepted = Accepted { measurements, ..Accepted::default() };
        assert!(!accepted.trust(at()).unwrap().anchors.are_simulated());
        let roots = Some(simulated_roots_pem());
        let simulated = Accepted { dangerous_simulated_roots: roots, ..accepted };
        assert!(simulated.trust(at()).unwrap().anchors.are_simulated());
    }
}
