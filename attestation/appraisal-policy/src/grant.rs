//! The platform of a grant: the tables `image`, `snp`, `tdx`, `paravisor`, `tpm` and `gpu` of a release policy's grant.

use crate::rule::Rule;
use crate::snp::Snp;
use crate::tdx::{Image, REGISTERS};
use crate::words::{list, or_any};
use crate::{PolicyError, Reader, gpu, hex, measurement, paravisor, snp, tdx, tpm};
use anchorhold_rats::Measurement;
use anchorhold_verifier::{AppraisalPolicy, azure, nvidia, tdx as intel, tpm as trusted};
use toml::{Table, Value};

/// The most images of TDs that one grant may name.
pub const MAX_TDX_IMAGES: usize = 16;
const MEASUREMENTS: &str = "a list of launch digests as \"sha384:…\"";

/// The platforms that a grant takes. A family without a table is refused.
#[derive(Debug, Clone)]
pub struct GrantPlatform {
    snp: Option<Snp>,
    /// The rules of TDX; those of the image are in `images`.
    tdx: Option<intel::Policy>,
    images: Vec<Image>,
    paravisor: Option<azure::Policy>,
    tpm: Option<trusted::Policy>,
    gpu: Option<nvidia::Policy>,
}

impl GrantPlatform {
    /// Reads the tables out of a grant.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: missing, unknown, empty, of the wrong form, or never allowed.
    pub fn read(grant: &mut Reader) -> Result<Self, PolicyError> {
        if !grant.has("snp") && !grant.has("tdx") {
            return Err(PolicyError::Missing { path: grant.path_of("snp|tdx") });
        }
        let mut image = grant.table("image")?;
        let snp = if grant.has("snp") {
            let measurements = image.list("measurements", MEASUREMENTS, measurement)?;
            Some(snp::read_grant(grant.table("snp")?, measurements)?)
        } else {
            None
        };
        let (tdx, images) = if grant.has("tdx") {
            let images = read_images(&mut image)?;
            (Some(tdx::read_grant(grant.table("tdx")?)?), images)
        } else {
            (None, Vec::new())
        };
        // Images of a family without a table would never be asked for, so they are not read and refused here.
        image.finish()?;
        let paravisor = if grant.has("paravisor") {
            Some(paravisor::read_grant(grant.table("paravisor")?)?)
        } else {
            None
        };
        let tpm = if grant.has("tpm") { Some(tpm::read_grant(grant.table("tpm")?)?) } else { None };
        let gpu = if grant.has("gpu") { Some(gpu::read_grant(grant.table("gpu")?)?) } else { None };
        Ok(Self { snp, tdx, images, paravisor, tpm, gpu })
    }

    /// What the verifier is asked for: one policy for each image of TDs, or one if there are none. A platform is of the grant
    /// when one of them accepts it.
    #[must_use]
    pub fn policies(&self) -> Vec<AppraisalPolicy> {
        let policy = |tdx: Option<intel::Policy>| AppraisalPolicy {
            snp: self.snp.as_ref().map(|snp| snp.policy.clone()),
            tdx,
            event_log: None,
            paravisor: self.paravisor.clone(),
            tpm: self.tpm.clone(),
            gpu: self.gpu.clone(),
        };
        match &self.tdx {
            None => vec![policy(None)],
            Some(rules) => {
                let of = |image: &Image| {
                    let mut policy = rules.clone();
                    (policy.mrtds, policy.rtmrs) = (vec![image.mrtd], image.rtmrs);
                    policy
                };
                self.images.iter().map(|image| policy(Some(of(image)))).collect()
            }
        }
    }

    /// Every rule with the value in force, whether the file spells it out or not.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut out = self.rules_of_families();
        if let Some(snp) = &self.snp {
            out.extend(snp::rules(snp).into_iter().map(|rule| match rule.path() {
                "snp.measurements" => rule.at("image.measurements"),
                _ => rule,
            }));
        }
        if let Some(tdx) = &self.tdx {
            let tables = list(&self.images, image_word);
            out.push(Rule::accepts(
                "image.tdx",
                tables,
                "the images of TDs that are accepted, each as a whole",
            ));
            let of_image = |rule: &Rule| {
                let key = rule.path().strip_prefix("tdx.").unwrap_or_default();
                key == "mrtds" || REGISTERS.contains(&key)
            };
            out.extend(tdx::rules(tdx).into_iter().filter(|rule| !of_image(rule)));
        }
        out.extend(self.paravisor.iter().flat_map(paravisor::rules));
        out.extend(self.tpm.iter().flat_map(tpm::rules));
        out.extend(self.gpu.iter().flat_map(gpu::rules));
        out
    }

    /// Which families are taken, so that two grants with different tables can be compared.
    fn rules_of_families(&self) -> Vec<Rule> {
        let tees = [("snp", self.snp.is_some()), ("tdx", self.tdx.is_some())];
        let tees: Vec<_> = tees.into_iter().filter_map(|(tee, named)| named.then_some(tee)).collect();
        let word = |named| if named { "demanded" } else { "refused" };
        vec![
            Rule::accepts("evidence.tee", list(&tees, |tee| *tee), "the families of TEEs that are accepted"),
            Rule::accepts("evidence.gpus", word(self.gpu.is_some()), "GPUs in the evidence"),
            Rule::accepts(
                "evidence.paravisor",
                word(self.paravisor.is_some()),
                "a paravisor below the guest",
            ),
            Rule::accepts("evidence.tpm", word(self.tpm.is_some()), "a quote of the guest's own TPM"),
        ]
    }

    /// The launch digests and MRTDs that the grant names.
    #[must_use]
    pub fn measurements(&self) -> Vec<Measurement> {
        let of_snp = self.snp.iter().flat_map(|snp| snp.policy.measurements.iter().copied());
        of_snp.chain(self.images.iter().map(|image| image.mrtd)).collect()
    }
}

fn read_images(image: &mut Reader) -> Result<Vec<Image>, PolicyError> {
    let tables = image.tables("tdx")?;
    if tables.len() > MAX_TDX_IMAGES {
        return Err(image.wrong("tdx", "at most 16 images"));
    }
    let mut images: Vec<Image> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let one = tdx::read_image(table)?;
        if images.contains(&one) {
            let path = format!("{}[{index}]", image.path_of("tdx"));
            return Err(PolicyError::Value { path, wanted: "named only once" });
        }
        images.push(one);
    }
    Ok(images)
}

fn image_word(image: &Image) -> Value {
    let mut table = Table::new();
    table.insert("mrtd".to_owned(), Value::from(format!("sha384:{}", image.mrtd)));
    for (key, rtmr) in REGISTERS.into_iter().zip(&image.rtmrs) {
        let word = or_any(rtmr.as_ref(), |bytes| Value::from(format!("sha384:{}", hex::encode(bytes))));
        table.insert(key.to_owned(), word);
    }
    Value::Table(table)
}
