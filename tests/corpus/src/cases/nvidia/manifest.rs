//! Reference manifests: what they say, and what a device measured.

use super::policy::profile;
use super::{Edit, Made, PDI, at, manifest_signature};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::SigningKey;
use anchorhold_attester::software::gpu::{
    CertificateStatus, Chip, Edition, GpuConfig, OcspTemplate, RimResource, RimSigner, RimTemplate,
    simulated_nvidia_rim_root_der,
};
use anchorhold_rats::Timestamp;

const STAGE: &str = "rim";

/// Manifests of one device for driver and VBIOS, with few Resources so that they are small.
pub(super) struct Manifests {
    /// Who signs them.
    pub(super) signer: RimSigner,
    /// What that of the driver says.
    pub(super) template: RimTemplate,
    /// That of the driver, signed.
    pub(super) driver: Vec<u8>,
    /// That of the VBIOS, signed.
    pub(super) vbios: Vec<u8>,
}

impl Manifests {
    pub(super) fn make(config: &GpuConfig, at: Timestamp) -> anyhow::Result<Self> {
        let signer = RimSigner::make(config.chip, at)?;
        let (template, vbios) = (few(config, Edition::Driver), few(config, Edition::Vbios));
        let [driver, vbios] = [signer.sign(&template.document())?, signer.sign(&vbios.document())?];
        Ok(Self { signer, template, driver, vbios })
    }

    /// The manifest that says this, signed.
    pub(super) fn sign(&self, template: &RimTemplate) -> anyhow::Result<Vec<u8>> {
        Ok(self.signer.sign(&template.document())?)
    }

    /// The good device with both manifests.
    pub(super) fn case(&self, made: &Made) -> Case {
        self.beside(made.case()).rule("appraise_rim", true)
    }

    /// A case with both manifests and their root.
    fn beside(&self, case: Case) -> Case {
        case.file("driver-rim", self.driver.clone())
            .file("vbios-rim", self.vbios.clone())
            .file("rimroot", simulated_nvidia_rim_root_der())
    }

    /// The same with a changed text of the driver's manifest, signed again.
    fn document(&self, made: &Made, from: &str, to: &str) -> anyhow::Result<Case> {
        let document = self.template.document().replacen(from, to, 1);
        Ok(self.case(made).file("driver-rim", self.signer.sign(&document)?))
    }

    /// The same with other claims, signed again.
    fn template(&self, made: &Made, edit: impl FnOnce(&mut RimTemplate)) -> anyhow::Result<Case> {
        let mut template = self.template.clone();
        edit(&mut template);
        Ok(self.case(made).file("driver-rim", self.sign(&template)?))
    }
}

/// Some of the Resources: index 35 has no meaning while NVDEC0 is off.
fn few(config: &GpuConfig, edition: Edition) -> RimTemplate {
    let mut template = RimTemplate::of(config, edition);
    let kept: &[&str] = match edition {
        Edition::Driver => &["7", "23", "35"],
        Edition::Vbios => &["0", "12"],
        Edition::SwitchBios => &["30"],
    };
    template.resources.retain(|resource| kept.contains(&resource.index.as_str()));
    template
}

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let manifests = Manifests::make(made.device.config(), at()?)?;
    controls(suite, made, &manifests)?;
    claims(suite, made, &manifests)?;
    resources(suite, made, &manifests)?;
    measurements(suite, made, &manifests)?;
    revocation(suite, made, &manifests)?;
    manifest_signature::write(suite, made, &manifests)
}

fn controls(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    suite.add("nvidia-rim-good", manifests.case(made), "with manifests for driver and VBIOS")?;
    let whole = |edition| manifests.sign(&RimTemplate::of(made.device.config(), edition));
    let case = manifests
        .case(made)
        .file("driver-rim", whole(Edition::Driver)?)
        .file("vbios-rim", whole(Edition::Vbios)?);
    suite.add("nvidia-rim-good-whole", case, "with manifests of all 64 indices")?;
    let other = Made::new(GpuConfig::new(Chip::Gb100, PDI))?;
    let case = Manifests::make(other.device.config(), at()?)?.case(&other);
    suite.add("nvidia-rim-good-blackwell", case, "with manifests for a driver and VBIOS of Blackwell")?;
    for role in ["driver-rim", "vbios-rim"] {
        let case = manifests.case(made).without(role).refused(STAGE, "nvidia_rim_missing");
        suite.add(format!("nvidia-no-{role}"), case, "one manifest did not come")?;
    }
    let case = manifests.template(made, |template| template.product = "GB100".to_owned())?;
    suite.add(
        "nvidia-rim-chip",
        case.refused(STAGE, "nvidia_rim_missing"),
        "the manifest for the driver is of another chip",
    )?;
    for (id, version) in [("later", "590.13"), ("same-number", "590.12.0")] {
        let case = manifests.template(made, |template| template.version = version.to_owned())?;
        suite.add(
            format!("nvidia-rim-version-{id}"),
            case.refused(STAGE, "nvidia_rim_version"),
            "the manifest is of another version of the driver",
        )?;
    }
    let case = manifests.case(made).without("rimroot").refused(STAGE, "rim_no_trust_anchor");
    suite.add("nvidia-rim-no-anchor", case, "no root for manifests was named")
}

fn claims(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    for (id, code, from, to) in [
        ("patch", "rim_tag", " patch=\"false\"", " patch=\"true\""),
        ("supplemental", "rim_tag", " supplemental=\"false\"", " supplemental=\"true\""),
        ("no-payload", "rim_tag", "ns0:Payload", "ns0:Evidence"),
        ("no-edition", "rim_meta", " edition=\"GPU\"", ""),
        ("no-product", "rim_meta", " product=\"GH100\"", ""),
        ("indirect", "rim_meta", "PayloadType=\"direct\"", "PayloadType=\"indirect\""),
        ("spaces", "rim_meta", "colloquialVersion=\"590.12\"", "colloquialVersion=\"590 12\""),
    ] {
        let all = id == "no-payload";
        let case = if all {
            let document = manifests.template.document().replace(from, to);
            manifests.case(made).file("driver-rim", manifests.signer.sign(&document)?)
        } else {
            manifests.document(made, from, to)?
        };
        suite.add(format!("nvidia-rim-{id}"), case.refused(STAGE, code), "other claims, signed")?;
    }
    let edits: [(&str, Edit<RimTemplate>, &str, &str); 4] = [
        ("no-id", |t| t.tag_id.clear(), "rim_tag", "no tagId"),
        ("edition", |t| t.edition = "CPU".to_owned(), "rim_kind", "an edition that is not known"),
        ("switch-driver", |t| t.edition = "SWITCH".to_owned(), "rim_kind", "a driver of a switch"),
        ("version-form", |t| t.version = "590".to_owned(), "rim_kind", "a version that is of nothing"),
    ];
    for (id, edit, code, why) in edits {
        let case = manifests.template(made, edit)?.refused(STAGE, code);
        suite.add(format!("nvidia-rim-{id}"), case, why)?;
    }
    Ok(())
}

fn resources(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let edits: [(&str, Edit<RimResource>, &str); 8] = [
        ("kind", |r| r.kind = "File".to_owned(), "a Resource of another type"),
        ("active", |r| r.active = "true".to_owned(), "active is not True or False"),
        ("size", |r| r.size = "32".to_owned(), "another size"),
        ("index", |r| r.index = "07".to_owned(), "an index that is not in its shortest form"),
        ("index-last", |r| r.index = "254".to_owned(), "an index that no report can have"),
        ("alternatives", |r| r.alternatives = "2".to_owned(), "fewer values than it says"),
        ("no-value", |r| r.hashes.clear(), "no value"),
        ("value-short", |r| r.hashes.iter_mut().for_each(|hash| hash.truncate(64)), "a value of 32 bytes"),
    ];
    for (id, edit, why) in edits {
        let case = manifests.template(made, |t| t.resources.iter_mut().take(1).for_each(edit))?;
        suite.add(format!("nvidia-rim-resource-{id}"), case.refused(STAGE, "rim_resource"), why)?;
    }
    let case = manifests.template(made, |t| t.resources.extend(t.resources.first().cloned()))?;
    suite.add(
        "nvidia-rim-resource-twice",
        case.refused(STAGE, "rim_resource_duplicate"),
        "two Resources of one index",
    )?;
    let case = manifests.template(made, |t| {
        for resource in &mut t.resources {
            resource.active = "False".to_owned();
        }
    })?;
    suite.add("nvidia-rim-inactive", case.refused(STAGE, "rim_no_values"), "nothing is asked of a report")
}

fn measurements(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let value = made.device.config().chip.measurement(0);
    let case = manifests.template(made, |t| t.resources.push(RimResource::active(0, &[value])))?;
    suite.add(
        "nvidia-rim-index-conflict",
        case.refused(STAGE, "rim_index_conflict"),
        "the manifests of driver and VBIOS both have index 0",
    )?;
    let case = manifests.template(made, |t| t.resources.push(RimResource::active(64, &[[1; 48]])))?;
    suite.add(
        "nvidia-rim-measurement-missing",
        case.refused(STAGE, "rim_measurement_missing"),
        "the report has no block for an active index",
    )?;
    let case =
        manifests.template(made, |t| t.resources.push(RimResource::active(22, &[[1; 48], [2; 48]])))?;
    suite.add(
        "nvidia-rim-measurement",
        case.refused(STAGE, "rim_measurement"),
        "the measurement is none of the values",
    )?;
    for (id, index, nvdec0, accepted) in [
        ("driver", 7, 0x55, false),
        ("vbios", 12, 0x55, false),
        ("nvdec0-on", 35, 0xaa, false),
        ("nvdec0-off", 35, 0x55, true),
    ] {
        let other = made.config(|config| {
            config.nvdec0 = nvdec0;
            config.measurements.iter_mut().skip(index).take(1).for_each(|value| *value = [7; 48]);
        })?;
        let case = manifests.beside(other).rule("appraise_rim", true);
        if accepted {
            let why = "the measurement of a decoder that is off does not count";
            suite.add(format!("nvidia-rim-good-{id}"), case, why)?;
        } else {
            let case = case.refused(STAGE, "rim_measurement");
            suite.add(format!("nvidia-measured-{id}"), case, format!("another value at index {index}"))?;
        }
    }
    Ok(())
}

/// What is known of the manifests' signer.
fn revocation(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let now = at()?;
    let about_signer = |status: Option<CertificateStatus>| -> anyhow::Result<Vec<u8>> {
        let [(mut answer, key), ..] = manifests.signer.ocsp_templates(now)?;
        for entry in &mut answer.entries {
            entry.status = status.unwrap_or(entry.status);
        }
        Ok(answer.sign(&key)?)
    };
    let [brom, provisioner, identity] = made.device.ocsp_templates(now)?;
    let [_, third, second] = manifests.signer.ocsp_templates(now)?;
    let sign = |(answer, key): (OcspTemplate, SigningKey)| answer.sign(&key);
    let strict = [("require_rims", "true"), ("ocsp.require", "true"), ("ocsp.allow_hold", "true")];
    let case = manifests
        .beside(made.case())
        .file("ocsp-1", sign(brom)?)
        .file("ocsp-2", sign(provisioner)?)
        .file("ocsp-3", sign(identity)?)
        .file("ocsp-4", about_signer(None)?)
        .file("ocsp-5", sign(third)?)
        .file("ocsp-6", sign(second)?)
        .file("profile", profile(&strict));
    suite.add("nvidia-good-strict", case.clone(), "everything that a profile can ask for")?;
    for role in ["ocsp-4", "ocsp-5", "ocsp-6"] {
        let fewer = case.clone().without(role).refused("collateral", "nvidia_ocsp_missing");
        suite.add(format!("nvidia-rim-no-{role}"), fewer, "a certificate of the signer has no answer")?;
    }
    for (id, reason, code) in [("revoked", 1, "nvidia_ocsp_revoked"), ("hold", 6, "nvidia_ocsp_hold")] {
        let status = CertificateStatus::Revoked { at: now.plus_seconds(-86_400), reason: Some(reason) };
        let other = case.clone().file("ocsp-4", about_signer(Some(status))?).refused("collateral", code);
        suite.add(
            format!("nvidia-rim-signer-{id}"),
            other,
            "the signer of the manifests is no longer good",
        )?;
    }
    Ok(())
}
