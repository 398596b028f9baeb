//! Lists of machines: those that are allowed, or those that are revoked.

use crate::header::{Header, NotInForce};
use crate::{PolicyError, Reader, Rule, hex, snp};
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::nvidia::Pdi;
use anchorhold_verifier::snp::ChipId;
use anchorhold_verifier::tdx::PlatformId;
use std::fmt;

/// What a list does to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Its machines are accepted, and of each family that it names no others.
    Allow,
    /// Its machines are refused.
    Revoke,
}

/// A machine by the identity that its vendor certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// CHIP_ID of an SNP chip.
    SnpChip(ChipId),
    /// PPID of a TDX platform, which its PCK certificate names.
    TdxPlatform(PlatformId),
    /// PDI of a GPU or NVSwitch, which its certificate chain names.
    Gpu(Pdi),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnpChip(chip) => write!(f, "snp chip {chip}"),
            Self::TdxPlatform(ppid) => write!(f, "tdx platform {ppid}"),
            Self::Gpu(pdi) => write!(f, "gpu {pdi}"),
        }
    }
}

/// One machine of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEntry {
    /// Which one.
    pub machine: Machine,
    /// Why it is on the list, for people.
    pub reason: String,
    /// From when on it is allowed. Of a revoked machine, since when it is known to be bad: it is refused at any time.
    pub since: Timestamp,
}

/// Machines that are allowed or revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineList {
    header: Header,
    kind: ListKind,
    machines: Vec<MachineEntry>,
    digest: Sha256Digest,
}

const SINCE: &str = "a time such as \"2027-01-31T00:00:00Z\"";

impl MachineList {
    /// Reads a list. Whether it holds is asked when it is applied, not here.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, of the wrong form, or a machine named twice.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        let header = Header::read(&mut file)?;
        let kind = match file.text("kind")?.as_str() {
            "allow" => ListKind::Allow,
            "revoke" => ListKind::Revoke,
            _ => return Err(file.wrong("kind", "\"allow\" or \"revoke\"")),
        };
        let mut machines: Vec<MachineEntry> = Vec::new();
        for (index, table) in file.tables("machine")?.into_iter().enumerate() {
            let entry = entry(table)?;
            if machines.iter().any(|other| other.machine == entry.machine) {
                return Err(PolicyError::Value {
                    path: format!("machine[{index}]"),
                    wanted: "named only once",
                });
            }
            machines.push(entry);
        }
        file.finish()?;
        Ok(Self { header, kind, machines, digest: Sha256Digest::of(text.as_bytes()) })
    }

    /// Name, version and time.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Its version; whoever has seen a greater one of the same id refuses it.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.header.version
    }

    /// What it does.
    #[must_use]
    pub const fn kind(&self) -> ListKind {
        self.kind
    }

    /// The machines in the order of the file.
    #[must_use]
    pub fn machines(&self) -> &[MachineEntry] {
        &self.machines
    }

    /// SHA-256 of the file.
    #[must_use]
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Puts the list into `policy`, at the time `at`.
    ///
    /// Establishes, for a list of revoked machines, that `policy` refuses each of them. For a list of allowed machines,
    /// that `policy` accepts, of each family that the list names, the machines of this list and those that it named
    /// already, and no others; a machine counts from its `since` on. The order of lists does not matter: what is revoked
    /// stays refused. A family that the policy does not name stays refused.
    ///
    /// # Errors
    /// [`NotInForce`] when the list does not hold at `at`; `policy` is as before, and must not be used without the list.
    pub fn apply(&self, policy: &mut AppraisalPolicy, at: Timestamp) -> Result<(), NotInForce> {
        self.header.require_at(at)?;
        let chips = |machine: &Machine| if let Machine::SnpChip(chip) = machine { Some(*chip) } else { None };
        if let Some(snp) = &mut policy.snp {
            self.merge(chips, at, &mut snp.allowed_chips, &mut snp.denied_chips);
        }
        let platforms = |machine: &Machine| {
            if let Machine::TdxPlatform(platform) = machine { Some(*platform) } else { None }
        };
        if let Some(tdx) = &mut policy.tdx {
            self.merge(platforms, at, &mut tdx.allowed_platforms, &mut tdx.denied_platforms);
        }
        let devices =
            |machine: &Machine| if let Machine::Gpu(device) = machine { Some(*device) } else { None };
        if let Some(gpu) = &mut policy.gpu {
            self.merge(devices, at, &mut gpu.allowed_devices, &mut gpu.denied_devices);
        }
        Ok(())
    }

    /// Adds the machines that `pick` knows to one family's lists.
    fn merge<T: Copy + PartialEq>(
        &self,
        pick: impl Fn(&Machine) -> Option<T>,
        at: Timestamp,
        allowed: &mut Option<Vec<T>>,
        denied: &mut Vec<T>,
    ) {
        let named = self.machines.iter().filter_map(|entry| Some((pick(&entry.machine)?, entry.since)));
        for (machine, since) in named {
            let list = match self.kind {
                ListKind::Allow => allowed.get_or_insert_default(),
                ListKind::Revoke => &mut *denied,
            };
            let holds = self.kind == ListKind::Revoke || since <= at;
            if holds && !list.contains(&machine) {
                list.push(machine);
            }
        }
    }

    /// What the list says, rule by rule, with one rule for each machine.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut out = self.header.rules();
        let (kind, meaning) = match self.kind {
            ListKind::Allow => ("allow", "is accepted"),
            ListKind::Revoke => ("revoke", "is refused"),
        };
        out.push(Rule::says("kind", kind, "what happens to the machines below"));
        for (index, MachineEntry { machine, reason, since }) in self.machines.iter().enumerate() {
            let value = format!("{machine}: {reason} (since {since})");
            out.push(Rule::says(format!("machine[{index}]"), value, meaning));
        }
        out
    }
}

/// Text that names no machine of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMachine;

/// The chip with this CHIP_ID: 64 bytes in lower-case hex, not all zero, which is what a report shows that hides its chip.
///
/// # Errors
/// [`NoMachine`] for everything else.
pub fn snp_chip(text: &str) -> Result<ChipId, NoMachine> {
    snp::chip(text).ok().filter(|chip| !chip.is_zero()).ok_or(NoMachine)
}

/// The platform with this PPID: 16 bytes in lower-case hex.
///
/// # Errors
/// [`NoMachine`] for everything else.
pub fn tdx_platform(text: &str) -> Result<PlatformId, NoMachine> {
    hex::decode(text).map(PlatformId).map_err(|()| NoMachine)
}

/// The GPU or switch with this PDI: 8 bytes in lower-case hex.
///
/// # Errors
/// [`NoMachine`] for everything else.
pub fn gpu(text: &str) -> Result<Pdi, NoMachine> {
    hex::decode(text).map(Pdi).map_err(|()| NoMachine)
}

fn entry(mut table: Reader) -> Result<MachineEntry, PolicyError> {
    let machine = if table.has("snp_chip") {
        Machine::SnpChip(read(&mut table, "snp_chip", "a CHIP_ID, 64 bytes in hex, not all zero", snp_chip)?)
    } else if table.has("tdx_platform") {
        Machine::TdxPlatform(read(&mut table, "tdx_platform", "a PPID, 16 bytes in hex", tdx_platform)?)
    } else if table.has("gpu") {
        Machine::Gpu(read(&mut table, "gpu", "a PDI, 8 bytes in hex", gpu)?)
    } else {
        return Err(PolicyError::Missing { path: table.path_of("snp_chip|tdx_platform|gpu") });
    };
    let reason = table.sentence("reason")?;
    let since = table.parsed("since", SINCE)?;
    table.finish()?;
    Ok(MachineEntry { machine, reason, since })
}

fn read<T>(
    table: &mut Reader,
    key: &str,
    wanted: &'static str,
    parse: fn(&str) -> Result<T, NoMachine>,
) -> Result<T, PolicyError> {
    let text = table.text(key)?;
    parse(&text).map_err(|NoMachine| table.wrong(key, wanted))
}
