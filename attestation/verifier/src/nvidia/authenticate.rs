//! Whether the evidence of devices is authentic.

use super::chain::{self, Chain};
use super::device::DeviceChecks;
use super::ocsp::{Answer, Responses, Subject};
use super::opaque::OpaqueFields;
use super::report::SIGNATURE_LEN;
use super::rim::{self, AuthenticRim};
use super::verified::Verified;
use super::{Architecture, Kind, Pdi, Report, codes, fwid, reference};
use crate::show::hex;
use crate::x509::Certificate;
use crate::{Authentic, Refusal, TrustAnchors};
use anchorhold_rats::{Checks, Der, GpuEvidence, Nonce, Timestamp};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use std::collections::BTreeMap;

/// The evidence of a board's devices and what vouches for it. Untrusted until judged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The reports of GPUs and switches, each with its five certificates, leaf first.
    pub devices: &'a [GpuEvidence],
    /// Reference manifests, XML.
    pub rims: &'a [Der],
    /// OCSP responses, DER.
    pub ocsp: &'a [Der],
}

/// A device whose report's signature holds up to a trust anchor.
#[derive(Debug)]
pub struct AuthenticDevice {
    report: Report,
    fields: OpaqueFields,
    chip: String,
    architecture: Architecture,
    pdi: Pdi,
    key: Vec<u8>,
    missing_rims: Vec<String>,
    answers: Vec<Answer>,
}

impl AuthenticDevice {
    /// The report.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What the device's driver and firmware say of themselves.
    #[must_use]
    pub const fn fields(&self) -> &OpaqueFields {
        &self.fields
    }

    /// The chip as the device's certificate names it, such as `GH100`.
    #[must_use]
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// The architecture of the chip.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Whether it is a GPU or a switch.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.architecture.kind()
    }

    /// The certified identity of the device.
    #[must_use]
    pub const fn pdi(&self) -> Pdi {
        self.pdi
    }

    /// The names, at NVIDIA's service, of the manifests that belong to the device and did not come. The measurements were
    /// compared with all others that belong to it.
    #[must_use]
    pub fn missing_rims(&self) -> &[String] {
        &self.missing_rims
    }

    /// What is known of the revocation of the device's intermediates and of its manifests' signers.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// What a policy judges.
    #[must_use]
    pub fn stated(&self) -> Stated<'_> {
        let Self { report, fields, architecture, pdi, missing_rims, answers, .. } = self;
        let (nonce, architecture, pdi) = (report.nonce, *architecture, *pdi);
        Stated { nonce, architecture, pdi, fields, missing_rims, answers }
    }
}

/// What a device, its chain and its endorsements state, whoever vouches for them: what the rules of a policy are about.
/// Holding one proves nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The nonce in the signed request.
    pub nonce: Nonce,
    /// The architecture of the chip.
    pub architecture: Architecture,
    /// The identity of the device.
    pub pdi: Pdi,
    /// What the device's driver and firmware say of themselves.
    pub fields: &'a OpaqueFields,
    /// As [`AuthenticDevice::missing_rims`].
    pub missing_rims: &'a [String],
    /// As [`AuthenticDevice::answers`].
    pub answers: &'a [Answer],
}

/// Judges whether the evidence of `input` is authentic at the time `at`.
///
/// Establishes for each device that its report has the documented shape, that the device's key signed exactly the received
/// bytes, request included, that the root in `anchors` certified that key for the device and the firmware that the report
/// names, that all certificates were valid at `at`, that no device stands there twice, that each given manifest and OCSP
/// response is signed and current, and that the measurements are those of each manifest that belongs to the device.
/// Presumes that `at` is the caller's honest time.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed for each device.
pub fn authenticate(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<Vec<AuthenticDevice>>, Refusal> {
    let mut checks = Checks::new();
    match judge(input, anchors, at, &mut checks) {
        Some((claims, expires)) if checks.none_failed() => {
            Ok(Authentic { claims, expires, simulated: anchors.are_simulated(), checks })
        }
        _ => Err(Refusal::new(checks)),
    }
}

/// Every device, and the end of the earliest validity; `None` where a rule failed that others rest on. Devices are authentic only
/// if no rule failed at all. Of no device the validity has no end.
pub(crate) fn judge(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<(Vec<AuthenticDevice>, Timestamp)> {
    let mut expires = Timestamp::from_unix_seconds(i64::MAX);
    let verified = Verified::default();
    let mut rims = Vec::with_capacity(input.rims.len());
    for manifest in input.rims {
        if let Some((manifest, end)) = rim::judge(&manifest.0, anchors, at, &verified, checks) {
            rims.push(manifest);
            expires = expires.min(end);
        }
    }
    let responses = Responses::read(input.ocsp, &verified, checks);
    let complete = rims.len() == input.rims.len();
    let (true, Some(responses)) = (complete, responses) else { return None };
    let endorsed = Endorsed { rims, responses, anchors, at, verified: &verified };
    let mut devices = Vec::with_capacity(input.devices.len());
    for (index, evidence) in input.devices.iter().enumerate() {
        let mut checks = DeviceChecks { index, checks };
        if let Some((device, end)) = judge_device(evidence, &endorsed, &mut checks) {
            devices.push((index, device));
            expires = expires.min(end);
        }
    }
    record_unique(&devices, checks);
    let complete = devices.len() == input.devices.len();
    let devices = devices.into_iter().map(|(_, device)| device).collect();
    complete.then_some((devices, expires))
}

/// What every device is judged by.
struct Endorsed<'a> {
    rims: Vec<AuthenticRim>,
    responses: Responses<'a>,
    anchors: &'a TrustAnchors,
    at: Timestamp,
    verified: &'a Verified,
}

fn judge_device(
    evidence: &GpuEvidence,
    endorsed: &Endorsed<'_>,
    checks: &mut DeviceChecks<'_>,
) -> Option<(AuthenticDevice, Timestamp)> {
    let report = Report::read(&evidence.report, checks)?;
    let Endorsed { anchors, at, verified, .. } = *endorsed;
    let chain = chain::judge(&evidence.certificates, anchors, at, verified, checks)?;
    let signed = evidence.report.len().checked_sub(SIGNATURE_LEN)?;
    let message = evidence.report.get(..signed)?;
    let valid = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chain.key)
        .verify(message, &report.signature)
        .is_ok();
    let code = codes::REPORT_SIGNATURE.at("gpu report", signed, SIGNATURE_LEN);
    let wanted = "a signature by the attestation key over request and response";
    if !checks.record(code, valid, wanted, if valid { "valid" } else { "not valid" }) {
        return None;
    }
    let fields = OpaqueFields::read(chain.architecture.kind(), &report.opaque, report.opaque_offset, checks)?;
    record_firmware(&chain, &fields, anchors.are_foreign(), checks);
    record_switch(&chain, &fields, checks);
    let mut device = AuthenticDevice {
        report,
        fields,
        chip: chain.chip.to_owned(),
        architecture: chain.architecture,
        pdi: chain.pdi,
        key: chain.key.to_vec(),
        missing_rims: Vec::new(),
        answers: Vec::new(),
    };
    let references = reference::judge(&device, &endorsed.rims, checks);
    let used = references.as_ref().map_or(&[][..], |references| references.used.as_slice());
    let (answers, end) = judge_revocation(&chain, used, endorsed, checks);
    device.missing_rims = references?.missing;
    device.answers = answers;
    Some((device, chain.expires.min(end)))
}

/// What the responses say of the device's intermediates and of its manifests' signers, and until when.
fn judge_revocation(
    chain: &Chain<'_>,
    used: &[&AuthenticRim],
    endorsed: &Endorsed<'_>,
    checks: &mut DeviceChecks<'_>,
) -> (Vec<Answer>, Timestamp) {
    let mut answers = Vec::new();
    let mut expires = Timestamp::from_unix_seconds(i64::MAX);
    let mut ask = |subject, which: String, certificate: &Certificate<'_>, issuer: &Certificate<'_>| {
        let (standing, end) = endorsed.responses.judge(&which, certificate, issuer, endorsed.at, checks);
        expires = expires.min(end);
        answers.push(Answer { subject, certificate: which, standing });
    };
    for (which, certificate, issuer) in chain.intermediates() {
        ask(Subject::Device, which.to_owned(), certificate, issuer);
    }
    for rim in used {
        // Judged when the manifest was, so each one is a certificate.
        let certificates: Vec<_> =
            rim.certificates().iter().filter_map(|der| Certificate::parse(der).ok()).collect();
        for (place, pair) in certificates.windows(2).enumerate() {
            if let [certificate, issuer] = pair {
                let which = format!("{} certificate {place}", rim.kind());
                ask(Subject::Rim, which, certificate, issuer);
            }
        }
    }
    (answers, expires)
}

/// The firmware that the certificate states, and that the report states the same one, if any.
fn record_firmware(chain: &Chain<'_>, fields: &OpaqueFields, foreign: bool, checks: &mut DeviceChecks<'_>) {
    let [leaf, brom, ..] = &chain.certificates;
    let certified = fwid::certified(leaf, brom, foreign);
    let observed = certified.as_ref().map_or_else(ToString::to_string, |_| "one".to_owned());
    let wanted = "a firmware identity in the attestation key's certificate";
    checks.record(codes::FWID_CERTIFIED, certified.is_ok(), wanted, observed);
    let Ok(certified) = certified else { return };
    match fields.fwid() {
        Some(stated) => {
            checks.record(codes::FWID, *stated == certified, hex(&certified), hex(stated));
        }
        None => checks.skip(codes::FWID, hex(&certified), "the report states none"),
    }
}

fn record_switch(chain: &Chain<'_>, fields: &OpaqueFields, checks: &mut DeviceChecks<'_>) {
    if let Some(switch) = fields.switch() {
        let same = switch.pdi == chain.pdi;
        checks.record(codes::SWITCH_IDENTITY, same, chain.pdi.to_string(), switch.pdi.to_string());
    }
}

/// No device twice, neither by its identity nor by its key, so that no device can stand for two.
fn record_unique(devices: &[(usize, AuthenticDevice)], checks: &mut Checks) {
    let mut identities = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (index, device) in devices {
        let (index, device) = (*index, device);
        let earlier = identities.insert(device.pdi, index).or(keys.insert(&device.key, index));
        let observed =
            earlier.map_or_else(|| "new".to_owned(), |other| format!("the same as device {other}"));
        let mut checks = DeviceChecks { index, checks };
        checks.record(codes::DUPLICATE_DEVICE, earlier.is_none(), "a device of its own", observed);
    }
}
