//! The software guest itself.

use super::certificate::{Extension, Template, name, p384_key_info, pss_sha384};
use super::report::{ReportFields, append_signature};
use super::{Authority, Error, LaunchConfig, Product, ReportVersion, Signer};
use anchorhold_rats::{Der, Evidence, ReportData, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use std::fmt;

/// Certificates are valid from this long before the launch, for verifiers whose clock is behind.
const BACKDATED_SECONDS: i64 = 86_400;
const CSP_ID: &str = "CN=simulated.anchorhold.invalid";

/// A guest that signs its own reports with a key made at launch. The key is lost when it is dropped.
pub struct SoftwareGuest {
    config: LaunchConfig,
    key: EcdsaKeyPair,
    chip_id: [u8; 64],
    report_id: [u8; 32],
    template: Template,
    certificates: Vec<Der>,
}

impl fmt::Debug for SoftwareGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareGuest").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SoftwareGuest {
    /// Launches a guest at the time `at`: makes a signing key and certifies it under the simulated ASK or ASVK.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn launch(config: LaunchConfig, at: Timestamp) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)
            .map_err(|_| Error::Random)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random)
            .map_err(|_| Error::Key("launch"))?;
        let mut chip_id = config.chip_id.unwrap_or([0; 64]);
        if config.chip_id.is_none() {
            random.fill(&mut chip_id).map_err(|_| Error::Random)?;
        }
        let (_, unused) = chip_id.split_at_mut(config.chip_id_bytes());
        unused.fill(0);
        let mut report_id = [0; 32];
        random.fill(&mut report_id).map_err(|_| Error::Random)?;
        let template = template(&config, &chip_id, key.public_key().as_ref(), at);
        let mut guest = Self { config, key, chip_id, report_id, template, certificates: Vec::new() };
        guest.certify(guest.template.clone())?;
        Ok(guest)
    }

    /// Evidence for this report data: a report, its VCEK (or VLEK) and the ASK (or ASVK).
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn attest(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        self.sign(&self.report_fields(report_data).encode())
    }

    /// The fields of the report that [`attest`](Self::attest) signs.
    #[must_use]
    pub fn report_fields(&self, report_data: &ReportData) -> ReportFields {
        let config = &self.config;
        let (signing_key, chip_id) = match config.signer {
            Signer::Vcek => (0, self.chip_id),
            Signer::Vlek => (1, [0; 64]),
        };
        ReportFields {
            version: match config.report_version {
                ReportVersion::V2 => 2,
                ReportVersion::V3 => 3,
                ReportVersion::V4 => 4,
                ReportVersion::V5 => 5,
            },
            guest_svn: config.guest_svn,
            policy: config.policy_bits(),
            family_id: config.family_id,
            image_id: config.image_id,
            vmpl: config.vmpl,
            current_tcb: config.current_tcb,
            platform_info: config.platform_info,
            flags: signing_key << 2 | u32::from(config.author_key_digest.is_some()),
            report_data: *report_data.as_bytes(),
            measurement: *config.measurement.as_bytes(),
            host_data: config.host_data,
            id_key_digest: config.id_key_digest,
            author_key_digest: config.author_key_digest.unwrap_or([0; 48]),
            report_id: self.report_id,
            report_id_ma: [0xff; 32],
            reported_tcb: config.reported_tcb,
            cpuid: config.cpuid(),
            chip_id,
            committed_tcb: config.committed_tcb,
            current_version: config.firmware_version,
            committed_version: config.firmware_version,
            launch_tcb: config.launch_tcb,
            launch_mitigations: config.mitigations,
            current_mitigations: config.mitigations,
        }
    }

    /// Evidence with these bytes as the signed part, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, signed: &[u8]) -> Result<Evidence, Error> {
        let signature =
            self.key.sign(&SystemRandom::new(), signed).map_err(|_| Error::Signature("report"))?;
        Ok(Evidence::snp(append_signature(signed, signature.as_ref()), self.certificates.clone()))
    }

    /// What the certificate of this guest's key says.
    #[must_use]
    pub const fn template(&self) -> &Template {
        &self.template
    }

    /// Certifies this guest's key again, with what `template` says.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn certify(&mut self, template: Template) -> Result<(), Error> {
        let issuer = self.issuer();
        let leaf = template.sign(&issuer.key()?)?;
        self.certificates = vec![Der(leaf), Der(issuer.certificate_der().to_vec())];
        self.template = template;
        Ok(())
    }

    const fn issuer(&self) -> Authority {
        match self.config.signer {
            Signer::Vcek => Authority::Ask,
            Signer::Vlek => Authority::Asvk,
        }
    }
}

/// The certificate of the launch key, with AMD's extensions in AMD's order.
fn template(config: &LaunchConfig, chip_id: &[u8; 64], point: &[u8], at: Timestamp) -> Template {
    let (issuer, subject) = match config.signer {
        Signer::Vcek => (Authority::Ask, "SEV-VCEK"),
        Signer::Vlek => (Authority::Asvk, "SEV-VLEK"),
    };
    // The arcs of the components in the order of the bytes of a TCB version.
    let (version, arcs) = match config.product {
        Product::Milan | Product::Genoa => (0, [1, 2, 4, 5, 6, 7, 3, 8]),
        Product::Turin => (1, [9, 1, 2, 3, 5, 6, 7, 8]),
    };
    let mut extensions =
        vec![Extension::amd_byte(&[1], version), Extension::amd_text(&[2], config.product_name())];
    for (arc, byte) in arcs.into_iter().zip(config.reported_tcb) {
        extensions.push(Extension::amd_byte(&[3, arc], byte));
    }
    extensions.push(match config.signer {
        Signer::Vcek => Extension::amd(&[4], chip_id.iter().copied().take(config.chip_id_bytes()).collect()),
        Signer::Vlek => Extension::amd_text(&[5], CSP_ID),
    });
    Template {
        serial: Vec::new(),
        algorithm: pss_sha384(48),
        issuer: name(issuer.common_name()),
        subject: name(subject),
        not_before: at.plus_seconds(-BACKDATED_SECONDS),
        not_after: at.plus_seconds(config.certificate_seconds),
        public_key_info: p384_key_info(point),
        extensions,
    }
}
