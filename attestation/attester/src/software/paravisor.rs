//! A paravisor without hardware: runtime claims, an HCL report around a TEE's report, and a virtual TPM that quotes.
//!
//! The TEE's report must be made for [`SoftwareParavisor::report_data`]; the nonce goes into the quote.

use super::Error;
use anchorhold_rats::{Der, Paravisor, ReportData, Tee};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{Context, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};

/// How many bytes a virtual TPM keeps of an HCL report.
pub const HCL_REPORT_BYTES: usize = 2600;
/// Where the hardware report is in an HCL report.
pub const HARDWARE_REPORT_AT: usize = 32;
/// Where the claims are in an HCL report.
pub const CLAIMS_AT: usize = 1236;
const HARDWARE_REPORT_BYTES: usize = 1184;
/// TEE_TCB_SVN to REPORTDATA of a TD quote.
const TD_BODY_BYTES: usize = 584;

/// A paravisor. Its TPM's key is a fixture that everybody has.
#[derive(Debug)]
pub struct SoftwareParavisor {
    key: RsaKeyPair,
    /// The runtime claims, JSON. Reports and quotes speak of whatever is here.
    pub claims: String,
    /// The values of the PCRs that are quoted, with their numbers, rising. Default: all 24, zero.
    pub pcrs: Vec<(u8, [u8; 32])>,
}

impl SoftwareParavisor {
    /// A paravisor with the claims of a machine that has Secure Boot.
    ///
    /// # Errors
    /// [`Error::Key`] when the fixture is damaged.
    pub fn new() -> Result<Self, Error> {
        let key = RsaKeyPair::from_pkcs8(include_bytes!("../../fixtures/hcl-ak.pk8"))
            .map_err(|_| Error::Key("simulated HCLAk"))?;
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
        let claims = format!(
            concat!(
                r#"{{"keys":[{{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"{}"}}],"#,
                r#""vm-configuration":{{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,"#,
                r#""tpm-persisted":false,"vmUniqueId":"00000000-0000-4000-8000-51513C1A7ED0"}},"user-data":"{}"}}"#
            ),
            URL_SAFE_NO_PAD.encode(&public.n),
            "0".repeat(2 * ReportData::LEN),
        );
        Ok(Self { key, claims, pcrs: (0..24).map(|pcr| (pcr, [0; 32])).collect() })
    }

    /// The report data that the TEE's report must have: SHA-256 of the claims and 32 zero bytes.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let mut out = [0; ReportData::LEN];
        let (first, _) = out.split_at_mut(32);
        first.copy_from_slice(digest(&SHA256, self.claims.as_bytes()).as_ref());
        ReportData::new(out)
    }

    /// Everything that the paravisor adds to this SNP report or TD quote, for this nonce.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn attest(&self, tee: Tee, report: &[u8], nonce: &[u8]) -> Result<Paravisor, Error> {
        let hardware_report = match tee {
            Tee::Snp => report.to_vec(),
            Tee::Tdx => td_report(report),
        };
        self.attest_hardware(tee, &hardware_report, nonce)
    }

    /// The same, around these bytes as the hardware report, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn attest_hardware(
        &self,
        tee: Tee,
        hardware_report: &[u8],
        nonce: &[u8],
    ) -> Result<Paravisor, Error> {
        let quote = self.quote(nonce);
        Ok(Paravisor {
            hcl_report: self.hcl_report(tee, hardware_report),
            signature: self.sign(&quote)?,
            quote,
            pcrs: self.pcrs.iter().map(|(_, value)| Der(value.to_vec())).collect(),
        })
    }

    /// The HCL report around a hardware report: an SNP report or a TDREPORT.
    #[must_use]
    pub fn hcl_report(&self, tee: Tee, hardware_report: &[u8]) -> Vec<u8> {
        let claims = self.claims.as_bytes();
        let bytes = |base: usize| u32::try_from(base + claims.len()).unwrap_or(u32::MAX);
        let (version, report_type): (u32, u32) = match tee {
            Tee::Snp => (1, 2),
            Tee::Tdx => (2, 4),
        };
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut out = b"HCLA".to_vec();
        out.extend(words(&[version, bytes(CLAIMS_AT), 2, 0, 0, 0, 0]));
        out.extend(hardware_report);
        out.resize(HARDWARE_REPORT_AT + HARDWARE_REPORT_BYTES, 0);
        out.extend(words(&[bytes(20), 1, report_type, 1, bytes(0)]));
        out.extend(claims);
        out.resize(out.len().max(HCL_REPORT_BYTES), 0);
        out
    }

    /// TPMS_ATTEST over the PCRs, with this nonce as its extra data.
    #[must_use]
    pub fn quote(&self, nonce: &[u8]) -> Vec<u8> {
        let (mut selection, mut values) = (0_u32, Context::new(&SHA256));
        for (pcr, value) in &self.pcrs {
            selection |= 1 << (pcr % 24);
            values.update(value);
        }
        let [low, middle, high, _] = selection.to_le_bytes();
        let values = values.finish();
        let parts: [&[u8]; 13] = [
            &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            &[0, 34, 0, 0x0b],
            &[0x51; 32],
            &u16::try_from(nonce.len()).unwrap_or(u16::MAX).to_be_bytes(),
            nonce,
            &[0; 8],
            &[0, 0, 0, 1],
            &[0, 0, 0, 0],
            &[1],
            &0x2020_0312_0012_0003_u64.to_be_bytes(),
            &[0, 0, 0, 1, 0, 0x0b, 3, low, middle, high],
            &[0, 32],
            values.as_ref(),
        ];
        parts.concat()
    }

    /// The signature of the TPM's key over these bytes, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, quote: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), quote, &mut signature)
            .map_err(|_| Error::Signature("vTPM quote"))?;
        Ok(signature)
    }
}

/// The TDREPORT from which a TD quote of version 4 or 5 was made, with zeros for what a quote does not say.
#[must_use]
pub fn td_report(quote: &[u8]) -> Vec<u8> {
    let at = if quote.first() == Some(&5) { 54 } else { 48 };
    let mut body: Vec<u8> = quote.iter().skip(at).take(TD_BODY_BYTES).copied().collect();
    body.resize(TD_BODY_BYTES, 0);
    let (tcb, rest) = body.split_at(120);
    let (info, report_data) = rest.split_at(400);
    let mut out = vec![0x81];
    out.resize(128, 0);
    out.extend(report_data);
    out.resize(256, 0);
    out.extend([0xff, 1, 3, 0, 0, 0, 0, 0]);
    out.extend(tcb);
    out.resize(512, 0);
    out.extend(info);
    out.resize(1024, 0);
    out
}
