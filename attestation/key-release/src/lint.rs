//! What in a policy deserves a second look, though it is a policy.

use crate::diff::covers;
use crate::policy::ManifestRule;
use crate::{GrantRules, ReleasePolicy};
use anchorhold_rats::Timestamp;

/// From how many seconds before its end on a policy is said to end soon: 30 days.
pub const SOON_S: i64 = 30 * 86_400;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// The stable code.
    pub code: &'static str,
    /// The grant; `None` where it is the policy as a whole.
    pub grant: Option<String>,
    /// What it is, for people.
    pub text: String,
}

impl Lint {
    /// Whether it is a mistake or soon one, and not only a choice that is weaker than another.
    #[must_use]
    pub fn is_serious(&self) -> bool {
        self.code != "look_at"
    }
}

/// Looks at `policy` at the time `at`.
#[must_use]
pub fn lint(policy: &ReleasePolicy, at: Timestamp) -> Vec<Lint> {
    let mut out = Vec::new();
    let whole = |code, text| Lint { code, grant: None, text };
    let expires = policy.expires();
    if at >= expires {
        out.push(whole("expired", format!("expired at {expires}: a broker refuses every request under it")));
    } else if at.plus_seconds(SOON_S) >= expires {
        out.push(whole(
            "expires_soon",
            format!("expires at {expires}: from then on every request is refused"),
        ));
    }
    for (place, grant) in policy.grants().iter().enumerate() {
        let mut of_grant = |code, text| out.push(Lint { code, grant: Some(grant.name().to_owned()), text });
        lint_revoked(policy, grant, &mut of_grant);
        lint_machines(policy, grant, &mut of_grant);
        let earlier = policy.grants().iter().take(place);
        if let Some(other) = earlier.clone().find(|other| covers(other, grant)) {
            let text =
                format!("everything that it allows, the grant \"{}\" before it allows already", other.name());
            of_grant("shadowed", text);
        }
        for rule in grant.rules() {
            if let Some(why) = rule.weaker() {
                of_grant("look_at", format!("{} = {}: {why}", rule.path(), rule.value()));
            }
        }
    }
    out
}

/// Things that a grant names and the policy revokes.
fn lint_revoked(policy: &ReleasePolicy, grant: &GrantRules, report: &mut impl FnMut(&'static str, String)) {
    let revoked = &policy.revoked;
    let images = grant.measurements();
    for image in images.iter().filter(|image| revoked.measurements.contains(image)) {
        report("revoked_image", format!("image sha384:{image} is granted here and revoked"));
    }
    if images.iter().all(|image| revoked.measurements.contains(image)) {
        report("unreachable", "every image that it names is revoked".to_owned());
    }
    if let ManifestRule::OneOf(manifests) = &grant.manifests {
        for manifest in manifests.iter().filter(|manifest| revoked.manifests.contains(manifest)) {
            report("revoked_manifest", format!("manifest sha256:{manifest} is granted here and revoked"));
        }
        if manifests.iter().all(|manifest| revoked.manifests.contains(manifest)) {
            report("unreachable", "every manifest that it names is revoked".to_owned());
        }
    }
}

/// Machines that a grant names and refuses, and families of which it accepts none.
fn lint_machines(policy: &ReleasePolicy, grant: &GrantRules, report: &mut impl FnMut(&'static str, String)) {
    fn one<T: PartialEq + ToString>(
        family: &'static str,
        allowed: Option<&Vec<T>>,
        denied: &[T],
        report: &mut impl FnMut(&'static str, String),
    ) {
        let Some(allowed) = allowed else { return };
        for machine in allowed.iter().filter(|machine| denied.contains(machine)) {
            report(
                "revoked_machine",
                format!("{family} {} is granted here and refused", machine.to_string()),
            );
        }
        if allowed.iter().all(|machine| denied.contains(machine)) {
            let text = if allowed.is_empty() {
                "no machine is listed"
            } else {
                "every machine that is listed is refused"
            };
            report("unreachable", format!("{family}: {text}"));
        }
    }
    // The machines are the same for each image of the grant.
    let Some(appraisal) = policy.appraisals(grant).next() else { return };
    if let Some(snp) = &appraisal.snp {
        one("snp chip", snp.allowed_chips.as_ref(), &snp.denied_chips, report);
    }
    if let Some(tdx) = &appraisal.tdx {
        one("tdx platform", tdx.allowed_platforms.as_ref(), &tdx.denied_platforms, report);
    }
    if let Some(gpu) = &appraisal.gpu {
        one("gpu", gpu.allowed_devices.as_ref(), &gpu.denied_devices, report);
    }
}
