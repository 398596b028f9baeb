//! A simulated GPU or NVSwitch.

use super::{Block, DeviceTemplates, GpuConfig, GpuHierarchy, NvidiaRoot, OcspTemplate, SpdmReport, opaque};
use crate::software::{Curve, Error, SigningKey};
use anchorhold_rats::{Der, GpuEvidence, Nonce, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::Arc;

/// A device that signs its own reports with a key made for it. The key is lost when it is dropped.
#[derive(Debug)]
pub struct GpuDevice {
    config: GpuConfig,
    hierarchy: Arc<GpuHierarchy>,
    attestation_key: SigningKey,
    brom_key: SigningKey,
    templates: DeviceTemplates,
    chain: Vec<Vec<u8>>,
}

impl GpuDevice {
    /// A device below CAs of its own.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn make(config: GpuConfig) -> Result<Self, Error> {
        let hierarchy = Arc::new(GpuHierarchy::make(config.chip)?);
        Self::make_below(&hierarchy, config)
    }

    /// A device below these CAs, whose chip counts.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn make_below(hierarchy: &Arc<GpuHierarchy>, config: GpuConfig) -> Result<Self, Error> {
        let (attestation_key, brom_key) =
            (SigningKey::generate(Curve::P384)?, SigningKey::generate(Curve::P384)?);
        let templates = hierarchy.templates(&config, &attestation_key, &brom_key)?;
        let mut device = Self {
            config,
            hierarchy: Arc::clone(hierarchy),
            attestation_key,
            brom_key,
            templates: templates.clone(),
            chain: Vec::new(),
        };
        device.certify(templates)?;
        Ok(device)
    }

    /// Evidence for this nonce: a report and five certificates.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or ring does not sign.
    pub fn evidence(&self, nonce: &Nonce) -> Result<GpuEvidence, Error> {
        self.sign(&self.fields(nonce)?.encode())
    }

    /// The signed part of the report that [`evidence`](Self::evidence) signs.
    ///
    /// # Errors
    /// [`Error::Random`] when there is no randomness.
    pub fn fields(&self, nonce: &Nonce) -> Result<SpdmReport, Error> {
        let mut responder_nonce = [0; 32];
        SystemRandom::new().fill(&mut responder_nonce).map_err(|_| Error::Random)?;
        let blocks = self
            .config
            .measurements
            .iter()
            .zip(1..)
            .map(|(value, index)| Block { index, specification: 1, kind: 1, value: value.to_vec() })
            .collect();
        Ok(SpdmReport {
            request: [0x11, 0xe0, 0x01, 0xff],
            nonce: *nonce.as_bytes(),
            slot: 0,
            response: [0x11, 0x60, 0, 0],
            blocks,
            responder_nonce,
            opaque: opaque::fields(&self.config),
        })
    }

    /// Evidence with these bytes as the signed part of the report, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, signed: &[u8]) -> Result<GpuEvidence, Error> {
        let signature = self.attestation_key.sign_fixed(signed, "device report")?;
        let certificates = self.chain.iter().cloned().map(Der).collect();
        Ok(GpuEvidence { report: [signed, &signature].concat(), certificates })
    }

    /// What the certificates below the root say.
    #[must_use]
    pub const fn templates(&self) -> &DeviceTemplates {
        &self.templates
    }

    /// Certifies this device's keys again, with what `templates` say.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn certify(&mut self, templates: DeviceTemplates) -> Result<(), Error> {
        self.chain = vec![
            templates.attestation_key.sign_ecdsa(&self.brom_key)?,
            templates.brom.sign_ecdsa(&self.hierarchy.provisioner_key)?,
            templates.provisioner.sign_ecdsa(&self.hierarchy.identity_key)?,
            templates.identity.sign_ecdsa(&NvidiaRoot::Device.key()?)?,
            NvidiaRoot::Device.certificate_der().to_vec(),
        ];
        self.templates = templates;
        Ok(())
    }

    /// The certificates, DER, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Puts these certificates into evidence, whatever they are.
    pub fn set_chain(&mut self, chain: Vec<Vec<u8>>) {
        self.chain = chain;
    }

    /// What it states.
    #[must_use]
    pub const fn config(&self) -> &GpuConfig {
        &self.config
    }

    /// What it states, to be changed; the certificates stay as they are.
    pub const fn config_mut(&mut self) -> &mut GpuConfig {
        &mut self.config
    }

    /// The CAs above it.
    #[must_use]
    pub const fn hierarchy(&self) -> &Arc<GpuHierarchy> {
        &self.hierarchy
    }

    /// OCSP answers that are good at the time `at`, about BROM, provisioner and identity, each with its issuer's key to sign it.
    ///
    /// # Errors
    /// [`Error::Key`] when a fixture is damaged.
    pub fn ocsp_templates(&self, at: Timestamp) -> Result<[(OcspTemplate, SigningKey); 3], Error> {
        let templates = &self.templates;
        let identity = &templates.identity;
        Ok([
            answer(&templates.brom, &self.hierarchy.provisioner_key, at)?,
            answer(&templates.provisioner, &self.hierarchy.identity_key, at)?,
            answer(identity, &NvidiaRoot::Device.key()?, at)?,
        ])
    }

    /// Responses with the same answers, DER, by responders to whom the issuers delegate.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn ocsp(&self, at: Timestamp) -> Result<Vec<Der>, Error> {
        self.ocsp_templates(at)?.into_iter().map(|(answer, key)| delegated(answer, &key)).collect()
    }
}

/// A good answer about what `template` certifies, and the key that issued it.
pub(super) fn answer(
    template: &crate::software::certificate::Template,
    issuer: &SigningKey,
    at: Timestamp,
) -> Result<(OcspTemplate, SigningKey), Error> {
    let answer = OcspTemplate::good(&template.serial, &template.issuer, issuer.point(), at);
    Ok((answer, issuer.copy()?))
}

/// The response with this answer by a responder to whom `issuer_key` delegates.
pub(super) fn delegated(answer: OcspTemplate, issuer_key: &SigningKey) -> Result<Der, Error> {
    let (answer, key) = answer.delegate(issuer_key)?;
    answer.sign(&key).map(Der)
}
