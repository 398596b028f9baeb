//! The certificates of devices: attestation key, BROM, provisioner and identity, below the simulated root.

use super::extensions::{composite_device_id, device_name, dice_tcb_info, ocsp_access};
use super::{Chip, GpuConfig, NvidiaRoot, nvidia_name};
use crate::software::certificate::{
    COMMON_NAME, COUNTRY, Extension, ORGANIZATION, SERIAL_NUMBER, Template, name_of,
};
use crate::software::{Curve, Error, SigningKey};
use anchorhold_rats::Timestamp;

pub(super) const OCSP_URI: &str = "http://ocsp.simulated.anchorhold.invalid";
const CRL_URI: &str = "http://crl.simulated.anchorhold.invalid/device.crl";

/// What the four certificates below the root say, leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceTemplates {
    /// Of the attestation key.
    pub attestation_key: Template,
    /// Of the BROM, which carries the device's identity.
    pub brom: Template,
    /// Of the provisioner CA.
    pub provisioner: Template,
    /// Of the identity CA.
    pub identity: Template,
}

/// The CAs below which all devices of one chip stand.
#[derive(Debug)]
pub struct GpuHierarchy {
    /// The chip.
    pub(super) chip: Chip,
    /// The provisioner CA's key, which certifies BROMs.
    pub(super) provisioner_key: SigningKey,
    /// The identity CA's key, which certifies provisioners.
    pub(super) identity_key: SigningKey,
}

impl GpuHierarchy {
    /// New CAs for this chip.
    ///
    /// # Errors
    /// [`Error::Random`] when there is no randomness.
    pub fn make(chip: Chip) -> Result<Self, Error> {
        let (provisioner_key, identity_key) =
            (SigningKey::generate(Curve::P384)?, SigningKey::generate(Curve::P384)?);
        Ok(Self { chip, provisioner_key, identity_key })
    }

    /// What the certificates of a device below these CAs say.
    ///
    /// # Errors
    /// [`Error::Key`] when a fixture is damaged.
    pub(super) fn templates(
        &self,
        config: &GpuConfig,
        attestation_key: &SigningKey,
        brom_key: &SigningKey,
    ) -> Result<DeviceTemplates, Error> {
        let chip = self.chip;
        let (name, engine) = (chip.certificate_name(), chip.engine());
        let device_serial = format!("{}{}", chip.serial_prefix(), hex(&config.pdi));
        let brom = device_subject(&device_serial, &format!("{name} A01 {engine} BROM"));
        let leaf_serial = hex(&serial(attestation_key));
        let leaf = device_subject(&leaf_serial, &format!("{name} A01 {engine} FMC LF"));
        let provisioner = nvidia_name(&format!("NVIDIA {name} Provisioner ICA 1"));
        let identity = nvidia_name(&format!("NVIDIA {} Identity", chip.identity_name()));
        let root = NvidiaRoot::Device;
        let fwid = match chip {
            Chip::Gh100 | Chip::Ls10 => composite_device_id(&brom_key.key_info(), &config.certified_fwid),
            Chip::Gb100 => {
                let model = format!("{name} A01 {engine}");
                dice_tcb_info(super::authority::SIMULATED, &model, &config.certified_fwid)
            }
        };
        let san = device_name(&format!("SIMULATED:{name}:{}", hex(&config.pdi)));
        Ok(DeviceTemplates {
            attestation_key: template(
                (&leaf, attestation_key),
                (&brom, brom_key),
                vec![Extension::key_usage(0x80)],
                vec![san, fwid],
            ),
            brom: template(
                (&brom, brom_key),
                (&provisioner, &self.provisioner_key),
                vec![Extension::authority(None), Extension::key_usage(0x04)],
                Vec::new(),
            ),
            provisioner: template(
                (&provisioner, &self.provisioner_key),
                (&identity, &self.identity_key),
                authority_extensions(),
                Vec::new(),
            ),
            identity: template(
                (&identity, &self.identity_key),
                (&root.name(), &root.key()?),
                authority_extensions(),
                Vec::new(),
            ),
        })
    }
}

fn authority_extensions() -> Vec<Extension> {
    vec![
        Extension::authority(None),
        Extension::key_usage(0x06),
        Extension::crl_distribution_point(CRL_URI),
        ocsp_access(OCSP_URI),
    ]
}

/// From 2020 to the end of 9999, with the key identifiers between the first and the last extensions.
fn template(
    (subject, key): (&[u8], &SigningKey),
    (issuer, issuer_key): (&[u8], &SigningKey),
    mut extensions: Vec<Extension>,
    last: Vec<Extension>,
) -> Template {
    extensions.push(Extension::subject_key(&key.key_identifier()));
    extensions.push(Extension::authority_key(&issuer_key.key_identifier()));
    extensions.extend(last);
    Template {
        serial: serial(key),
        algorithm: Curve::P384.signature_algorithm(),
        issuer: issuer.to_vec(),
        subject: subject.to_vec(),
        // 2020-10-17, as NVIDIA's.
        not_before: Timestamp::from_unix_seconds(1_602_892_800),
        not_after: Timestamp::from_unix_seconds(i64::MAX),
        public_key_info: key.key_info(),
        extensions,
    }
}

fn device_subject(serial: &str, common_name: &str) -> Vec<u8> {
    name_of(&[
        (SERIAL_NUMBER, serial),
        (COUNTRY, "XX"),
        (ORGANIZATION, super::authority::SIMULATED),
        (COMMON_NAME, common_name),
    ])
}

/// 20 bytes from the key, positive and of full length.
pub(super) fn serial(key: &SigningKey) -> Vec<u8> {
    let mut serial = key.key_identifier();
    serial.iter_mut().take(1).for_each(|first| *first = *first & 0x7f | 0x40);
    serial
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
