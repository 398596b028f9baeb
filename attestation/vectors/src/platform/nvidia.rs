//! Cases of NVIDIA's GPUs and switches: one device from files, or a board in NVIDIA's own JSON.

use super::{Presented, Roots, hex, of_refusal, profile};
use crate::corpus::{Error, Files};
use crate::manifest::{Case, CasePolicy, Pin};
use anchorhold_appraisal_policy::AppraisalProfile;
use anchorhold_rats::{Checks, Code, Der, Endorsements, GpuEvidence, MAX_CERTIFICATES, Nonce, Stage};
use anchorhold_verifier::dangerous;
use anchorhold_verifier::nvidia::{
    self, Architecture, AuthenticDevice, BoardSize, Input, Kind, Mode, OcspRules, Policy, read_serialized,
};
use anchorhold_verifier::pem;

/// OCSP responses, DER. Other readers of the format do not know this role.
const OCSP: [&str; 9] =
    ["ocsp-1", "ocsp-2", "ocsp-3", "ocsp-4", "ocsp-5", "ocsp-6", "ocsp-7", "ocsp-8", "ocsp-9"];
/// Manifests of switches and boards, XML. Other readers of the format do not know this role.
const RIMS: [&str; 9] = ["rim-1", "rim-2", "rim-3", "rim-4", "rim-5", "rim-6", "rim-7", "rim-8", "rim-9"];
/// Manifests of one GPU, XML.
const DEVICE_RIMS: [&str; 2] = ["driver-rim", "vbios-rim"];

/// The chain of a device is PEM certificates, leaf first.
const CHAIN: Code = Code::new(Stage::Parse, "vectors_device_chain");
/// The devices of a board are NVIDIA's JSON.
const BOARD: Code = Code::new(Stage::Parse, "vectors_board");

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    only_known(files)?;
    let anchors = match roots(files).anchors(case.pin) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    let devices = match devices(files)? {
        Ok(devices) => devices,
        Err(checks) => return Ok(checks),
    };
    let profile = profile::read(files)?;
    // A case of one GPU that does not ask for manifests is one about report and chain alone.
    let asks = case.policy.appraise_rim || profile.is_some();
    let Endorsements { rims, ocsp, .. } = endorsements(files, if asks { &DEVICE_RIMS } else { &[] });
    let input = Input { devices: &devices, rims: &rims, ocsp: &ocsp };
    let authentic = match nvidia::authenticate(&input, &anchors, case.at) {
        Ok(authentic) => authentic,
        Err(refusal) => return Ok(of_refusal(refusal)),
    };
    let (mut policy, nonce) = policy(&case.policy, authentic.claims())?;
    if let Some(profile) = &profile {
        policy = policy_of(case, profile)?;
    }
    Ok(match nvidia::appraise(authentic, &policy, nonce.as_ref()) {
        Ok(accepted) => accepted.checks().clone(),
        Err(refusal) => of_refusal(refusal),
    })
}

/// The devices of a case, with their manifests and OCSP responses.
pub(super) fn present(files: &Files) -> Result<Result<Presented, Checks>, Error> {
    only_known(files)?;
    let (roots, endorsements) = (roots(files), endorsements(files, &DEVICE_RIMS));
    Ok(devices(files)?.map(|devices| Presented { tee: None, devices, tpm: None, endorsements, roots }))
}

fn only_known(files: &Files) -> Result<(), Error> {
    let known = ["report", "chain", "root", "rimroot", "evidence", "profile"];
    files.only(&[&known[..], &DEVICE_RIMS, &RIMS, &OCSP].concat())
}

fn roots(files: &Files) -> Roots {
    let named = |role| files.get(role).map(root_der);
    Roots { nvidia_device: named("root"), nvidia_rim: named("rimroot"), ..Roots::default() }
}

/// The OCSP responses and the manifests of a board, with those of one GPU whose roles are named.
fn endorsements(files: &Files, of_one_gpu: &[&str]) -> Endorsements {
    let rims = all(files, of_one_gpu).chain(all(files, &RIMS)).collect();
    Endorsements { rims, ocsp: all(files, &OCSP).collect(), ..Endorsements::default() }
}

/// The files of these roles that are there, in order.
fn all<'a>(files: &'a Files, roles: &'a [&str]) -> impl Iterator<Item = Der> + 'a {
    roles.iter().filter_map(|role| files.get(role)).map(|bytes| Der(bytes.into()))
}

/// The devices of a case, or the rule that their files break.
fn devices(files: &Files) -> Result<Result<Vec<GpuEvidence>, Checks>, Error> {
    if let Some(json) = files.get("evidence") {
        return Ok(match read_serialized(json) {
            Ok(devices) => Ok(devices.into_iter().map(|(device, _)| device).collect()),
            Err(error) => Err(broken(BOARD, "NVIDIA's evidence JSON", &error.to_string())),
        });
    }
    let text = String::from_utf8_lossy(files.need("chain")?);
    Ok(match pem::read(&text, MAX_CERTIFICATES) {
        Ok(certificates) => Ok(vec![GpuEvidence {
            report: files.need("report")?.to_vec(),
            certificates: certificates.into_iter().map(Der).collect(),
        }]),
        Err(error) => Err(broken(CHAIN, "PEM certificates", &error.to_string())),
    })
}

fn broken(code: Code, wanted: &str, observed: &str) -> Checks {
    let mut checks = Checks::new();
    checks.record(code, false, wanted, observed);
    checks
}

/// A root as DER, whether the file is DER or PEM.
fn root_der(bytes: &[u8]) -> Vec<u8> {
    let read = std::str::from_utf8(bytes).ok().and_then(|text| pem::read(text, 1).ok());
    read.and_then(|certificates| certificates.into_iter().next()).unwrap_or_else(|| bytes.to_vec())
}

/// The rules of a profile that is in force and beside which the manifest names nothing but the nonce. No file can accept
/// simulated roots, so a case under one says so by its pin.
fn policy_of(case: &Case, profile: &AppraisalProfile) -> Result<Policy, Error> {
    let wrong = |wanted| Error::Form { what: "profile", wanted };
    if !profile.valid_at(case.at) {
        return Err(wrong("in force at the time of the case"));
    }
    let nonce = case.policy.nonce.clone();
    if case.policy != (CasePolicy { nonce, ..CasePolicy::default() }) {
        return Err(wrong("alone: the manifest has other rules beside the nonce"));
    }
    let policy = profile.gpu().cloned().ok_or_else(|| wrong("one with a table gpu"))?;
    Ok(match case.pin {
        Pin::Real => policy,
        Pin::Forged => dangerous::allow_simulated(policy),
    })
}

/// The rules of the case; everything else accepts what the devices say.
fn policy(rules: &CasePolicy, devices: &[AuthenticDevice]) -> Result<(Policy, Option<Nonce>), Error> {
    let count = |kind| devices.iter().filter(|device| device.kind() == kind).count();
    let board = BoardSize {
        gpus: rules.gpu_count.unwrap_or_else(|| count(Kind::Gpu)),
        switches: count(Kind::Switch),
    };
    let stated = devices.iter().find_map(|device| device.fields().gpu()?.mode);
    let mut architectures: Vec<Architecture> = devices.iter().map(AuthenticDevice::architecture).collect();
    architectures.dedup();
    let mut policy = dangerous::allow_simulated(Policy::strict(
        stated.unwrap_or(Mode::SinglePassthrough),
        board,
        architectures,
    ));
    policy.require_rims = rules.appraise_rim;
    policy.ocsp = OcspRules { require: false, ..policy.ocsp };
    policy.allow_missing_fwid = rules.allow_missing_fwid.unwrap_or(true);
    policy.allow_missing_feature_flag = true;
    policy.require_topology = false;
    let nonce = match &rules.nonce {
        Some(text) => Some(Nonce::new(hex("nonce", text)?)),
        None => devices.first().map(|device| device.report().nonce),
    };
    Ok((policy, nonce))
}
