//! The simulated TD itself.

use super::collateral::qe_signer;
use super::{
    CollateralTemplate, EnclaveReport, Event, INTEL_QE_VENDOR, QuoteFields, QuoteHeader, QuoteVersion,
    Registers, SgxExtension, SignatureData, Td15, TdBody, TdConfig, TdxAuthority, assemble, intel_name,
    replay,
};
use crate::software::certificate::{Extension, Template};
use crate::software::{Curve, Error, SigningKey, pem};
use anchorhold_rats::{
    Der, Evidence, RUNTIME_EVENT_TYPE, ReportData, RuntimeEvent, TdxCollateral, Timestamp,
};
use ring::digest::{SHA256, SHA384, digest};

/// Certificates are valid from this long before the launch, for verifiers whose clock is behind.
const BACKDATED_SECONDS: i64 = 86_400;
/// RTMR3 in an event log.
const RTMR3: u32 = 4;
const PCK_CRL: &str = "https://simulated.anchorhold.invalid/sgx/pck.crl";

/// A TD whose quotes are signed with keys made at launch. The keys are lost when it is dropped.
#[derive(Debug)]
pub struct TdxGuest {
    config: TdConfig,
    attestation_key: SigningKey,
    pck_key: SigningKey,
    template: Template,
    pck_chain: Vec<Vec<u8>>,
}

impl TdxGuest {
    /// Launches a TD at the time `at`: makes an attestation key and a PCK, and certifies the PCK under the simulated PCK CA.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn launch(config: TdConfig, at: Timestamp) -> Result<Self, Error> {
        let pck_key = SigningKey::generate(Curve::P256)?;
        let template = template(&config, &pck_key, at)?;
        let attestation_key = SigningKey::generate(Curve::P256)?;
        let mut guest =
            Self { config, attestation_key, pck_key, template: template.clone(), pck_chain: Vec::new() };
        guest.certify(template)?;
        Ok(guest)
    }

    /// Evidence for this report data: a quote, and the event log where there is one.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn attest(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        let mut evidence = Evidence::tdx(self.quote(report_data)?);
        if let Registers::Log(log) = &self.config.registers {
            evidence.event_log = Some(Der(log.encode()));
        }
        Ok(evidence)
    }

    /// A quote for this report data.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, Error> {
        self.sign(&self.fields(report_data).encode())
    }

    /// A quote with these bytes as the signed part, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(assemble(signed, &self.signature_data(signed, &self.enclave_report())?))
    }

    /// Collateral by which this platform is up to date at the time `at`.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn collateral(&self, at: Timestamp) -> Result<TdxCollateral, Error> {
        CollateralTemplate::for_platform(&self.config.platform, at).sign()
    }

    /// The signed part of the quote that [`quote`](Self::quote) makes.
    #[must_use]
    pub fn fields(&self, report_data: &ReportData) -> QuoteFields {
        let config = &self.config;
        let (version, body_type) = match config.version {
            QuoteVersion::V4 => (4, None),
            QuoteVersion::V5Td10 => (5, Some(2)),
            QuoteVersion::V5Td15 => (5, Some(3)),
            QuoteVersion::V5Td15Ex => (5, Some(4)),
        };
        let td15 = Td15 { tee_tcb_svn2: config.tee_tcb_svn2, mr_service_td: config.mr_service_td };
        let has_td15 = matches!(config.version, QuoteVersion::V5Td15 | QuoteVersion::V5Td15Ex);
        let has_td15_ex = config.version == QuoteVersion::V5Td15Ex;
        QuoteFields {
            header: QuoteHeader {
                version,
                attestation_key_type: 2,
                tee_type: 0x81,
                reserved: [0; 4],
                qe_vendor: INTEL_QE_VENDOR,
                user_data: [0; 20],
            },
            body_type,
            body: TdBody {
                tee_tcb_svn: config.tee_tcb_svn,
                mr_seam: config.mr_seam,
                mr_signer_seam: config.mr_signer_seam,
                seam_attributes: config.seam_attributes,
                attributes: config.attributes,
                xfam: config.xfam,
                mr_td: *config.mr_td.as_bytes(),
                mr_config_id: config.mr_config_id,
                mr_owner: config.mr_owner,
                mr_owner_config: config.mr_owner_config,
                rtmrs: self.registers(),
                report_data: *report_data.as_bytes(),
                td15: has_td15.then_some(td15),
                td15_ex: has_td15_ex.then(|| config.td15_ex.clone()),
            },
        }
    }

    /// Extends RTMR3 with an event of the running guest, once, and adds it to the log; a guest whose registers are fixed values has neither.
    pub fn measure(&mut self, event: &RuntimeEvent) {
        if let Registers::Log(log) = &mut self.config.registers {
            let event = Event::new(RTMR3, RUNTIME_EVENT_TYPE, &event.data(), &event.data());
            if !log.events.contains(&event) {
                log.events.push(event);
            }
        }
    }

    /// RTMR0 to RTMR3.
    #[must_use]
    pub fn registers(&self) -> [[u8; 48]; 4] {
        match &self.config.registers {
            Registers::Values(values) => *values,
            Registers::Log(log) => replay(&log.events),
        }
    }

    /// The quoting enclave's report about this guest's attestation key.
    #[must_use]
    pub fn enclave_report(&self) -> EnclaveReport {
        let key_hash = digest(&SHA256, &[self.attestation_point(), AUTH_DATA].concat());
        let mut report_data = [0; 64];
        report_data.split_at_mut(32).0.copy_from_slice(key_hash.as_ref());
        let mut mr_enclave = [0; 32];
        mr_enclave.copy_from_slice(digest(&SHA256, b"anchorhold simulated quoting enclave").as_ref());
        EnclaveReport {
            cpu_svn: self.config.platform.components,
            misc_select: [0; 4],
            reserved1: [0; 28],
            attributes: [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
            mr_enclave,
            reserved2: [0; 32],
            mr_signer: qe_signer(),
            reserved3: [0; 96],
            product_id: 2,
            svn: 7,
            reserved4: [0; 60],
            report_data,
        }
    }

    /// What follows the signed part: the attestation key's signature over it, and the PCK's over this enclave report.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn signature_data(&self, signed: &[u8], enclave: &EnclaveReport) -> Result<SignatureData, Error> {
        let qe_report = enclave.encode();
        let chain = self.pck_chain.iter().map(Vec::as_slice);
        let mut pck_data = pem::certificates_pem(chain).into_bytes();
        // Intel's library counts the end of its C string.
        pck_data.push(0);
        Ok(SignatureData {
            signature: self.attestation_key.sign_fixed(signed, "quote")?,
            attestation_key: self.attestation_point().to_vec(),
            certification_type: 6,
            qe_report_signature: self.pck_key.sign_fixed(&qe_report, "enclave report")?,
            qe_report,
            auth_data: AUTH_DATA.to_vec(),
            pck_type: 5,
            pck_data,
        })
    }

    /// What the PCK certificate says.
    #[must_use]
    pub const fn template(&self) -> &Template {
        &self.template
    }

    /// Certifies the PCK again, with what `template` says.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn certify(&mut self, template: Template) -> Result<(), Error> {
        let leaf = template.sign_ecdsa(&TdxAuthority::PckCa.key()?)?;
        let issuers = [TdxAuthority::PckCa, TdxAuthority::Root];
        self.pck_chain = issuers.iter().map(|issuer| issuer.certificate_der().to_vec()).collect();
        self.pck_chain.insert(0, leaf);
        self.template = template;
        Ok(())
    }

    /// The certificates in the quote, DER, leaf first.
    #[must_use]
    pub fn pck_chain(&self) -> &[Vec<u8>] {
        &self.pck_chain
    }

    /// Puts these certificates into quotes, whatever they are.
    pub fn set_pck_chain(&mut self, chain: Vec<Vec<u8>>) {
        self.pck_chain = chain;
    }

    /// The PCK.
    #[must_use]
    pub const fn pck_key(&self) -> &SigningKey {
        &self.pck_key
    }

    /// How it was launched.
    #[must_use]
    pub const fn config(&self) -> &TdConfig {
        &self.config
    }

    /// The attestation key, x and y.
    fn attestation_point(&self) -> &[u8] {
        self.attestation_key.point().get(1..).unwrap_or_default()
    }
}

/// What Intel's quoting enclave hashes with the attestation key.
const AUTH_DATA: &[u8] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31,
];

/// The PCK certificate, with Intel's extensions in Intel's order.
fn template(config: &TdConfig, key: &SigningKey, at: Timestamp) -> Result<Template, Error> {
    let issuer = TdxAuthority::PckCa;
    // 20 bytes below 2^159, as Intel's are.
    let mut serial: Vec<u8> = digest(&SHA384, key.point()).as_ref().iter().copied().take(20).collect();
    serial.iter_mut().take(1).for_each(|first| *first = *first & 0x7f | 0x40);
    Ok(Template {
        serial,
        algorithm: Curve::P256.signature_algorithm(),
        issuer: intel_name(issuer.common_name()),
        subject: intel_name("Intel SGX PCK Certificate"),
        not_before: at.plus_seconds(-BACKDATED_SECONDS),
        not_after: at.plus_seconds(config.certificate_seconds),
        public_key_info: key.key_info(),
        extensions: vec![
            Extension::authority_key(&issuer.key()?.key_identifier()),
            Extension::crl_distribution_point(PCK_CRL),
            Extension::subject_key(&key.key_identifier()),
            Extension::key_usage(0xc0),
            Extension::end_entity(),
            SgxExtension::of(&config.platform).extension(),
        ],
    })
}
