//! `attester/src/snp`: a report as the struct of the `sev` crate (versions 6 to 8 write the same), and the certificates
//! that the host keeps for the guest.

use super::{ReadEvidence, ReadEvidenceError, WriteEvidenceError, parse};
use anchorhold_rats::{Der, Endorsements, Evidence};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

const WANTED: &str = "the snp attester";
/// The length of ATTESTATION_REPORT (SEV-SNP firmware ABI, table 23).
const REPORT_BYTES: usize = 0x4a0;
/// The CPUID family of Turin, whose TCB versions begin with that of the FMC.
const TURIN_FAMILY: u8 = 0x1a;

/// Bytes that serde carries as a list of numbers.
#[derive(Clone, Copy)]
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("another number of bytes"))
    }
}

/// The members of `sev`'s `AttestationReport`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Bytes<16>,
    image_id: Bytes<16>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: Tcb,
    plat_info: u64,
    key_info: u32,
    report_data: Bytes<64>,
    measurement: Bytes<48>,
    host_data: Bytes<32>,
    id_key_digest: Bytes<48>,
    author_key_digest: Bytes<48>,
    report_id: Bytes<32>,
    report_id_ma: Bytes<32>,
    reported_tcb: Tcb,
    cpuid_fam_id: Option<u8>,
    cpuid_mod_id: Option<u8>,
    cpuid_step: Option<u8>,
    chip_id: Bytes<64>,
    committed_tcb: Tcb,
    current: Version,
    committed: Version,
    launch_tcb: Tcb,
    launch_mit_vector: Option<u64>,
    current_mit_vector: Option<u64>,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcb {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    r: Bytes<72>,
    s: Bytes<72>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpEvidence {
    attestation_report: Report,
    cert_chain: Option<Vec<Certificate>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    cert_type: CertificateType,
    data: Vec<u8>,
}

/// `sev`'s names of the GUIDs in the host's table.
#[derive(Serialize, Deserialize, PartialEq, Eq, Clone)]
#[serde(rename_all = "UPPERCASE")]
enum CertificateType {
    #[serde(rename = "Empty")]
    Empty,
    Ark,
    Ask,
    Vcek,
    Vlek,
    Crl,
    Other(String),
}

impl Tcb {
    fn bytes(&self) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = *self;
        match fmc {
            Some(fmc) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
            None => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        }
    }

    fn read(bytes: [u8; 8], turin: bool) -> Self {
        match bytes {
            [fmc, bootloader, tee, snp, _, _, _, microcode] if turin => {
                Self { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
            [bootloader, tee, _, _, _, _, snp, microcode] => {
                Self { fmc: None, bootloader, tee, snp, microcode }
            }
        }
    }
}

impl Report {
    /// The report's bytes. Fields that the version has not are zero, as everything reserved is.
    fn bytes(&self) -> Vec<u8> {
        let version = |v: &Version| [v.build, v.minor, v.major, 0];
        let cpuid = [self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step].map(Option::unwrap_or_default);
        let mitigations = [self.launch_mit_vector, self.current_mit_vector].map(Option::unwrap_or_default);
        let parts: [&[u8]; 31] = [
            &self.version.to_le_bytes(),
            &self.guest_svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
            &self.family_id.0,
            &self.image_id.0,
            &self.vmpl.to_le_bytes(),
            &self.sig_algo.to_le_bytes(),
            &self.current_tcb.bytes(),
            &self.plat_info.to_le_bytes(),
            &self.key_info.to_le_bytes(),
            &[0; 4],
            &self.report_data.0,
            &self.measurement.0,
            &self.host_data.0,
            &self.id_key_digest.0,
            &self.author_key_digest.0,
            &self.report_id.0,
            &self.report_id_ma.0,
            &self.reported_tcb.bytes(),
            &cpuid,
            &[0; 21],
            &self.chip_id.0,
            &self.committed_tcb.bytes(),
            &version(&self.current),
            &version(&self.committed),
            &self.launch_tcb.bytes(),
            &mitigations.map(u64::to_le_bytes).concat(),
            &[0; 152],
            &self.signature.r.0,
            &self.signature.s.0,
            &[0; 368],
        ];
        parts.concat()
    }

    /// The struct of a report's bytes; `None` when they are not of a version from 3 to 5.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; REPORT_BYTES] = bytes.try_into().ok()?;
        let version = u32::from_le_bytes(at(bytes, 0)?);
        let family = at::<1>(bytes, 0x188)?[0];
        let tcb = |offset| Some(Tcb::read(at(bytes, offset)?, family == TURIN_FAMILY));
        let firmware = |offset| {
            let [build, minor, major] = at(bytes, offset)?;
            Some(Version { major, minor, build })
        };
        let [_, model, stepping] = at(bytes, 0x188)?;
        let mitigation = |offset| Some(u64::from_le_bytes(at(bytes, offset)?));
        (3..=5).contains(&version).then_some(())?;
        Some(Self {
            version,
            guest_svn: u32::from_le_bytes(at(bytes, 0x004)?),
            policy: u64::from_le_bytes(at(bytes, 0x008)?),
            family_id: Bytes(at(bytes, 0x010)?),
            image_id: Bytes(at(bytes, 0x020)?),
            vmpl: u32::from_le_bytes(at(bytes, 0x030)?),
            sig_algo: u32::from_le_bytes(at(bytes, 0x034)?),
            current_tcb: tcb(0x038)?,
            plat_info: u64::from_le_bytes(at(bytes, 0x040)?),
            key_info: u32::from_le_bytes(at(bytes, 0x048)?),
            report_data: Bytes(at(bytes, 0x050)?),
            measurement: Bytes(at(bytes, 0x090)?),
            host_data: Bytes(at(bytes, 0x0c0)?),
            id_key_digest: Bytes(at(bytes, 0x0e0)?),
            author_key_digest: Bytes(at(bytes, 0x110)?),
            report_id: Bytes(at(bytes, 0x140)?),
            report_id_ma: Bytes(at(bytes, 0x160)?),
            reported_tcb: tcb(0x180)?,
            cpuid_fam_id: Some(family),
            cpuid_mod_id: Some(model),
            cpuid_step: Some(stepping),
            chip_id: Bytes(at(bytes, 0x1a0)?),
            committed_tcb: tcb(0x1e0)?,
            current: firmware(0x1e8)?,
            committed: firmware(0x1ec)?,
            launch_tcb: tcb(0x1f0)?,
            launch_mit_vector: if version == 5 { Some(mitigation(0x1f8)?) } else { None },
            current_mit_vector: if version == 5 { Some(mitigation(0x200)?) } else { None },
            signature: Signature { r: Bytes(at(bytes, 0x2a0)?), s: Bytes(at(bytes, 0x2e8)?) },
        })
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

pub(super) fn read(json: &str) -> Result<ReadEvidence, ReadEvidenceError> {
    let read: SnpEvidence = parse(json, WANTED)?;
    let malformed = ReadEvidenceError::Malformed { wanted: WANTED };
    let mut endorsements = Endorsements::default();
    let (mut leaves, mut issuers, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for certificate in read.cert_chain.into_iter().flatten() {
        let list = match certificate.cert_type {
            CertificateType::Vcek | CertificateType::Vlek => &mut leaves,
            CertificateType::Ask => &mut issuers,
            CertificateType::Ark => &mut roots,
            CertificateType::Crl => &mut endorsements.snp_crls,
            // Says nothing about the report.
            CertificateType::Empty | CertificateType::Other(_) => continue,
        };
        list.push(Der(certificate.data));
    }
    // Of two leaves it would not be said which one signed; issuers without a leaf are a chain of nothing.
    let alone = |list: &[Der]| list.len() <= 1;
    let chain_of_nothing = leaves.is_empty() && !(issuers.is_empty() && roots.is_empty());
    if !alone(&leaves) || !alone(&issuers) || !alone(&roots) || chain_of_nothing {
        return Err(malformed);
    }
    leaves.extend(issuers.into_iter().chain(roots));
    let evidence = Evidence::snp(read.attestation_report.bytes(), leaves);
    Ok(ReadEvidence { evidence, endorsements, binds_user_data: false })
}

/// The leaf is called VCEK whatever it is: Trustee tells by it only which issuer to fill in where none is given, and this
/// project's attesters give the issuers.
pub(super) fn write(evidence: &Evidence) -> Result<Value, WriteEvidenceError> {
    let report = Report::read(&evidence.report).ok_or(WriteEvidenceError::Report)?;
    if report.bytes() != evidence.report {
        return Err(WriteEvidenceError::Report);
    }
    let types = [CertificateType::Vcek, CertificateType::Ask, CertificateType::Ark];
    if evidence.certificates.len() > types.len() {
        return Err(WriteEvidenceError::Certificates);
    }
    let chain: Vec<Certificate> = evidence
        .certificates
        .iter()
        .zip(types)
        .map(|(der, cert_type)| Certificate { cert_type, data: der.0.clone() })
        .collect();
    let chain = (!chain.is_empty()).then_some(chain);
    Ok(json!({ "attestation_report": report, "cert_chain": chain }))
}
