//! Reference values: what a published image measures, as whoever built it computed it, in a file that can be signed.
//!
//! A policy does not read this file by itself: [`ReferenceValues::profile_lines`] and [`ReferenceValues::grant_lines`] give the
//! lines that go into it. So those who sign a policy sign which images it lets in, and a builder's signature alone lets none in.

use crate::words::or_any;
use crate::{Header, PolicyError, Reader, Rule, hex, measurement};
use anchorhold_rats::{Measurement, Sha256Digest, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use toml::Value;

/// The value of `kind`, which no machine list has.
pub(crate) const KIND: &str = "reference-values";
/// The most launches, TDX boots or files of one file.
const MAX_ITEMS: usize = 1024;
const DIGEST_48: &str = "a SHA-384 digest as \"sha384:…\"";
const DIGEST_32: &str = "a SHA-256 digest as \"sha256:…\"";
const REGISTER: &str = "\"any\" or a SHA-384 digest as \"sha384:…\"";
const A_NUMBER: &str = "a whole number, 0 or more";
const PCRS: std::ops::Range<u8> = 0..24;

/// A file that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredFile {
    /// What it is, such as `kernel`.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 digest.
    pub sha256: Sha256Digest,
}

/// A launch of an SEV-SNP guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpLaunch {
    /// MEASUREMENT of its reports.
    pub measurement: Measurement,
    /// How many virtual processors it has.
    pub vcpus: u32,
    /// Their model.
    pub vcpu_type: String,
    /// SEV_FEATURES.
    pub sev_features: u64,
    /// Who starts it: `qemu` or `ec2`.
    pub hypervisor: String,
}

/// A boot of a TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxBoot {
    /// MRTD.
    pub mrtd: Measurement,
    /// RTMR0 where the machine is known whose settings it holds.
    pub rtmr0: Option<[u8; 48]>,
    /// RTMR1.
    pub rtmr1: [u8; 48],
    /// RTMR2.
    pub rtmr2: [u8; 48],
    /// In which order the hypervisor adds pages, and whatever else tells this boot from others, for people.
    pub hypervisor: String,
}

/// The PCRs of a measured boot, in both banks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TpmBoot {
    /// The SHA-256 bank.
    pub sha256: BTreeMap<u8, [u8; 32]>,
    /// The SHA-384 bank.
    pub sha384: BTreeMap<u8, [u8; 48]>,
}

/// What an image measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceValues {
    /// Name, version and time.
    pub header: Header,
    /// The files that were measured.
    pub files: Vec<MeasuredFile>,
    /// SEV-SNP, one launch for each number and model of processors.
    pub snp: Vec<SnpLaunch>,
    /// TDX.
    pub tdx: Vec<TdxBoot>,
    /// A measured boot with a TPM.
    pub tpm: Option<TpmBoot>,
}

impl ReferenceValues {
    /// Reads a file.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, of the wrong form, or a value that is named twice.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        let header = Header::read(&mut file)?;
        if file.text("kind")? != KIND {
            return Err(file.wrong("kind", "\"reference-values\""));
        }
        let files = items(&mut file, "file", measured_file)?;
        let snp = items(&mut file, "snp", snp_launch)?;
        let tdx = items(&mut file, "tdx", tdx_boot)?;
        let tpm = if file.has("tpm") { Some(tpm_boot(file.table("tpm")?)?) } else { None };
        if snp.is_empty() && tdx.is_empty() && tpm.is_none() {
            return Err(PolicyError::Missing { path: file.path_of("snp|tdx|tpm") });
        }
        file.finish()?;
        Ok(Self { header, files, snp, tdx, tpm })
    }

    /// The file, in the one form in which this crate writes it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let text = |text: &str| Value::from(text).to_string();
        let Header { id, version, issued, expires, description } = &self.header;
        let issued = issued.to_string();
        let expires = expires.to_string();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "format = 1\nkind = \"{KIND}\"\nid = {}\nversion = {version}", text(id));
        let _ = writeln!(out, "issued = {}\nexpires = {}", text(&issued), text(&expires));
        let _ = writeln!(out, "description = {}", text(description));
        for MeasuredFile { name, bytes, sha256 } in &self.files {
            let name = text(name);
            let _ = writeln!(out, "\n[[file]]\nname = {name}\nbytes = {bytes}\nsha256 = \"sha256:{sha256}\"");
        }
        for SnpLaunch { measurement, vcpus, vcpu_type, sev_features, hypervisor } in &self.snp {
            let _ = writeln!(out, "\n[[snp]]\nmeasurement = \"sha384:{measurement}\"\nvcpus = {vcpus}");
            let _ = writeln!(out, "vcpu_type = {}\nsev_features = {sev_features}", text(vcpu_type));
            let _ = writeln!(out, "hypervisor = {}", text(hypervisor));
        }
        for boot in &self.tdx {
            let _ = writeln!(out, "\n[[tdx]]\n{}", registers(boot, "\n"));
            let _ = writeln!(out, "hypervisor = {}", text(&boot.hypervisor));
        }
        if let Some(TpmBoot { sha256, sha384 }) = &self.tpm {
            let _ = writeln!(out, "\n[tpm.sha256]");
            for (pcr, value) in sha256 {
                let _ = writeln!(out, "{pcr} = \"sha256:{}\"", hex::encode(value));
            }
            let _ = writeln!(out, "\n[tpm.sha384]");
            for (pcr, value) in sha384 {
                let _ = writeln!(out, "{pcr} = \"sha384:{}\"", hex::encode(value));
            }
        }
        out
    }

    /// The lines for an appraisal profile that accepts this image and no other; of TDX boots, those that are like the first but for
    /// MRTD.
    #[must_use]
    pub fn profile_lines(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        if !self.snp.is_empty() {
            let _ = writeln!(out, "[snp]\n{}", self.measurements());
        }
        if let Some(boot) = self.tdx.first() {
            // A profile has one value for each register, so boots with others need a profile of their own.
            let is_alike = |other: &&TdxBoot| {
                (other.rtmr0, other.rtmr1, other.rtmr2) == (boot.rtmr0, boot.rtmr1, boot.rtmr2)
            };
            let mrtds: Vec<String> =
                self.tdx.iter().filter(is_alike).map(|boot| format!("\"sha384:{}\"", boot.mrtd)).collect();
            let _ = writeln!(out, "[tdx]\nmrtds = [{}]", mrtds.join(", "));
            for (name, rtmr) in
                [("rtmr0", boot.rtmr0), ("rtmr1", Some(boot.rtmr1)), ("rtmr2", Some(boot.rtmr2))]
            {
                let _ = writeln!(out, "{name} = {}", register_word(rtmr));
            }
        }
        if let Some(tpm) = &self.tpm {
            let _ = writeln!(out, "[paravisor.pcrs]");
            for (pcr, value) in &tpm.sha256 {
                let _ = writeln!(out, "{pcr} = [\"sha256:{}\"]", hex::encode(value));
            }
        }
        out
    }

    /// The lines for a grant of a release policy that gives its key to this image and no other.
    #[must_use]
    pub fn grant_lines(&self) -> String {
        let mut out = "[grant.image]\n".to_owned();
        // Writing to a string cannot fail.
        if !self.snp.is_empty() {
            let _ = writeln!(out, "{}", self.measurements());
        }
        if !self.tdx.is_empty() {
            let _ = writeln!(out, "tdx = [");
            for boot in &self.tdx {
                let _ = writeln!(out, "    {{ {}, rtmr3 = \"any\" }},", registers(boot, ", "));
            }
            let _ = writeln!(out, "]");
        }
        out
    }

    fn measurements(&self) -> String {
        let mut out = "measurements = [\n".to_owned();
        for SnpLaunch { measurement, vcpus, vcpu_type, sev_features, hypervisor } in &self.snp {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "    \"sha384:{measurement}\", # {vcpus} x {vcpu_type}, {sev_features:#x}, {hypervisor}"
            );
        }
        out.push(']');
        out
    }

    /// What the file says, rule by rule.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut out = self.header.rules();
        out.push(Rule::says("kind", KIND, "what an image measures; a policy names what it accepts itself"));
        for MeasuredFile { name, bytes, sha256 } in &self.files {
            out.push(Rule::says(
                "file",
                format!("{name}: {bytes} bytes, sha256:{sha256}"),
                "what was measured",
            ));
        }
        for SnpLaunch { measurement, vcpus, vcpu_type, sev_features, hypervisor } in &self.snp {
            let value =
                format!("sha384:{measurement}: {vcpus} x {vcpu_type}, {sev_features:#x}, {hypervisor}");
            out.push(Rule::says("snp", value, "MEASUREMENT of SEV-SNP reports"));
        }
        for boot in &self.tdx {
            out.push(Rule::says("tdx", registers(boot, ", "), "registers of TDX quotes"));
        }
        for (pcr, value) in self.tpm.iter().flat_map(|tpm| &tpm.sha256) {
            let path = format!("tpm.sha256.{pcr}");
            out.push(Rule::says(path, format!("sha256:{}", hex::encode(value)), "a PCR of TPM quotes"));
        }
        out
    }

    /// Whether the file is in force at `at`; see [`Header::require_at`].
    ///
    /// # Errors
    /// [`NotInForce`](crate::NotInForce).
    pub fn require_at(&self, at: Timestamp) -> Result<(), crate::NotInForce> {
        self.header.require_at(at)
    }
}

fn register_word(rtmr: Option<[u8; 48]>) -> Value {
    or_any(rtmr.as_ref(), |bytes| Value::from(format!("sha384:{}", hex::encode(bytes))))
}

fn registers(boot: &TdxBoot, between: &str) -> String {
    let (rtmr1, rtmr2) = (Some(boot.rtmr1), Some(boot.rtmr2));
    let words = [("rtmr0", boot.rtmr0), ("rtmr1", rtmr1), ("rtmr2", rtmr2)];
    let words = words.map(|(name, rtmr)| format!("{name} = {}", register_word(rtmr)));
    format!("mrtd = \"sha384:{}\"{between}{}", boot.mrtd, words.join(between))
}

/// The tables of a list that may be missing; none twice.
fn items<T: PartialEq>(
    file: &mut Reader,
    key: &str,
    read: impl Fn(Reader) -> Result<T, PolicyError>,
) -> Result<Vec<T>, PolicyError> {
    if !file.has(key) {
        return Ok(Vec::new());
    }
    let path = file.path_of(key);
    let tables = file.tables(key)?;
    if tables.len() > MAX_ITEMS {
        return Err(PolicyError::Value { path, wanted: "at most 1024 tables" });
    }
    let mut out = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let item = read(table)?;
        if out.contains(&item) {
            return Err(PolicyError::Value { path: format!("{path}[{index}]"), wanted: "named only once" });
        }
        out.push(item);
    }
    Ok(out)
}

fn measured_file(mut table: Reader) -> Result<MeasuredFile, PolicyError> {
    let name = table.name("name")?;
    let bytes = table.number("bytes", A_NUMBER)?;
    let text = table.text("sha256")?;
    let sha256 = text.strip_prefix("sha256:").unwrap_or_default().parse();
    let sha256 = sha256.map_err(|_| table.wrong("sha256", DIGEST_32))?;
    table.finish()?;
    Ok(MeasuredFile { name, bytes, sha256 })
}

fn snp_launch(mut table: Reader) -> Result<SnpLaunch, PolicyError> {
    let launch = SnpLaunch {
        measurement: launch_digest(&mut table, "measurement")?,
        vcpus: table.number("vcpus", A_NUMBER)?,
        vcpu_type: table.name("vcpu_type")?,
        sev_features: table.number("sev_features", A_NUMBER)?,
        hypervisor: table.name("hypervisor")?,
    };
    table.finish()?;
    Ok(launch)
}

fn tdx_boot(mut table: Reader) -> Result<TdxBoot, PolicyError> {
    let boot = TdxBoot {
        mrtd: launch_digest(&mut table, "mrtd")?,
        rtmr0: if table.take_word("rtmr0", "any") {
            None
        } else {
            Some(register(&mut table, "rtmr0", REGISTER)?)
        },
        rtmr1: register(&mut table, "rtmr1", DIGEST_48)?,
        rtmr2: register(&mut table, "rtmr2", DIGEST_48)?,
        hypervisor: table.sentence("hypervisor")?,
    };
    table.finish()?;
    Ok(boot)
}

fn tpm_boot(mut table: Reader) -> Result<TpmBoot, PolicyError> {
    let boot = TpmBoot { sha256: bank(table.table("sha256")?)?, sha384: bank(table.table("sha384")?)? };
    table.finish()?;
    Ok(boot)
}

/// The PCRs of a bank: at least one.
fn bank<const N: usize>(mut table: Reader) -> Result<BTreeMap<u8, [u8; N]>, PolicyError> {
    let (prefix, wanted) = if N == 32 { ("sha256:", DIGEST_32) } else { ("sha384:", DIGEST_48) };
    let mut bank = BTreeMap::new();
    for pcr in PCRS {
        let key = pcr.to_string();
        if table.has(&key) {
            let text = table.text(&key)?;
            let value = hex::decode(text.strip_prefix(prefix).unwrap_or_default());
            bank.insert(pcr, value.map_err(|()| table.wrong(&key, wanted))?);
        }
    }
    let path = table.path_of("0..23");
    table.finish()?;
    if bank.is_empty() { Err(PolicyError::Missing { path }) } else { Ok(bank) }
}

fn launch_digest(table: &mut Reader, key: &str) -> Result<Measurement, PolicyError> {
    let text = table.text(key)?;
    measurement(&text).map_err(|_| table.wrong(key, DIGEST_48))
}

fn register(table: &mut Reader, key: &str, wanted: &'static str) -> Result<[u8; 48], PolicyError> {
    let text = table.text(key)?;
    hex::decode(text.strip_prefix("sha384:").unwrap_or_default()).map_err(|()| table.wrong(key, wanted))
}
