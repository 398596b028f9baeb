//! What Intel's collateral says of a platform, worked out from its typed form without the verifier: which documents must be
//! refused, and which status the others give.

use anchorhold_attester::software::tdx::{
    ComponentTcb, Level, ModuleIdentity, QeIdentity, SvnTcb, TcbInfo, TdConfig, TdxModule,
};
use anchorhold_rats::Timestamp;

/// What a part adds to the status of the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    pub revoked: bool,
    pub out_of_date: bool,
    pub configuration: bool,
    pub hardening: bool,
}

impl Status {
    /// From Intel's word.
    fn of(word: &str) -> Option<Self> {
        let none = Self::default();
        Some(match word {
            "UpToDate" => none,
            "SWHardeningNeeded" => Self { hardening: true, ..none },
            "ConfigurationNeeded" => Self { configuration: true, ..none },
            "ConfigurationAndSWHardeningNeeded" => Self { configuration: true, hardening: true, ..none },
            "OutOfDate" => Self { out_of_date: true, ..none },
            "OutOfDateConfigurationNeeded" => Self { out_of_date: true, configuration: true, ..none },
            "Revoked" => Self { revoked: true, ..none },
            _ => return None,
        })
    }

    fn with(self, other: Self) -> Self {
        Self {
            revoked: self.revoked || other.revoked,
            out_of_date: self.out_of_date || other.out_of_date,
            configuration: self.configuration || other.configuration,
            hardening: self.hardening || other.hardening,
        }
    }

    /// The verifier's name of it; missing updates hide that hardening is needed.
    pub fn word(self) -> &'static str {
        match (self.out_of_date, self.configuration, self.hardening) {
            (true, false, _) => "OutOfDate",
            (true, true, _) => "OutOfDateConfigurationNeeded",
            (false, false, false) => "UpToDate",
            (false, false, true) => "SWHardeningNeeded",
            (false, true, false) => "ConfigurationNeeded",
            (false, true, true) => "ConfigurationAndSWHardeningNeeded",
        }
    }
}

/// The status of a TD that runs on what it was launched with; `None` when the collateral must be refused.
pub fn status(
    info: &TcbInfo,
    identity: &QeIdentity,
    td: &TdConfig,
    qe_svn: u16,
    at: Timestamp,
) -> Option<Status> {
    let right = info.id == "TDX"
        && info.version == 3
        && info.tcb_type == 0
        && is_current(&info.issue_date, &info.next_update, at)?;
    let same = hex(&info.fmspc)? == td.platform.fmspc && hex(&info.pce_id)? == td.platform.pce_id;
    let levels_read =
        info.tcb_levels.iter().all(|level| is_read(level, 64, info.tcb_levels.len()) && is_whole(&level.tcb));
    let modules_read =
        info.tdx_module_identities.len() <= 16 && info.tdx_module_identities.iter().all(is_identity);
    if !(right && same && levels_read && modules_read && is_module(info.tdx_module.as_ref()?)) {
        return None;
    }
    let [minor, major, ..] = td.tee_tcb_svn;
    let wanted = format!("TDX_{major:02X}");
    let module = info.tdx_module_identities.iter().find(|module| module.id.eq_ignore_ascii_case(&wanted))?;
    let attributes = number(&module.module.attributes)? & number(&module.module.attributes_mask)?;
    if hex::<48>(&module.module.mrsigner)? != td.mr_signer_seam || attributes != td.seam_attributes {
        return None;
    }
    let platform = highest(&info.tcb_levels, |tcb| meets(tcb, td), |tcb| order(tcb))?;
    let module = highest(&module.tcb_levels, |tcb| tcb.isvsvn <= u16::from(minor), |tcb| tcb.isvsvn)?;
    let qe = quoting_enclave(identity, qe_svn, at)?;
    let whole = platform.with(module).with(qe);
    (!whole.revoked).then_some(whole)
}

/// The simulated quoting enclave has MISCSELECT 0, these attributes and product 2 (`EnclaveReport`).
fn quoting_enclave(identity: &QeIdentity, svn: u16, at: Timestamp) -> Option<Status> {
    const ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
    let right = identity.id == "TD_QE" && identity.version == 2;
    let current = is_current(&identity.issue_date, &identity.next_update, at)?;
    let levels_read = identity.tcb_levels.iter().all(|level| is_read(level, 32, identity.tcb_levels.len()));
    let (misc, misc_mask) = (hex::<4>(&identity.miscselect)?, hex::<4>(&identity.miscselect_mask)?);
    let (bits, mask) = (hex::<16>(&identity.attributes)?, hex::<16>(&identity.attributes_mask)?);
    let misc = misc.iter().zip(misc_mask).all(|(bits, mask)| bits & mask == 0);
    let bits = ATTRIBUTES.iter().zip(bits).zip(mask).all(|((has, wanted), mask)| has & mask == wanted & mask);
    let good = QeIdentity::simulated(at);
    let same = hex::<32>(&identity.mrsigner)? == hex::<32>(&good.mrsigner)? && identity.isvprodid == 2;
    if !(right && current && levels_read && misc && bits && same) {
        return None;
    }
    highest(&identity.tcb_levels, |tcb| tcb.isvsvn <= svn, |tcb| tcb.isvsvn)
}

fn is_current(from: &str, to: &str, at: Timestamp) -> Option<bool> {
    let (from, to): (Timestamp, Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    Some(from <= at && at < to)
}

/// Whether a text stands in JSON as it is.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c >= ' ' && c != '"' && c != '\\')
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> =
        digits?.chunks(2).map(|pair| pair.iter().fold(0, |all, digit| all << 4 | *digit as u8)).collect();
    bytes.try_into().ok().filter(|_| text.len() == 2 * N)
}

/// Attributes are a number, least byte first.
fn number(text: &str) -> Option<u64> {
    hex(text).map(u64::from_le_bytes)
}

fn is_read<T>(level: &Level<T>, most: usize, levels: usize) -> bool {
    let advisories = level.advisory_ids.len() <= 256 && level.advisory_ids.iter().all(|id| is_plain(id));
    let dated = level.tcb_date.parse::<Timestamp>().is_ok();
    levels <= most && advisories && dated && Status::of(&level.tcb_status).is_some()
}

fn is_whole(tcb: &ComponentTcb) -> bool {
    tcb.sgx.len() == 16 && tcb.tdx.len() == 16
}

fn is_module(module: &TdxModule) -> bool {
    hex::<48>(&module.mrsigner).is_some()
        && number(&module.attributes).is_some()
        && number(&module.attributes_mask).is_some()
}

fn is_identity(identity: &ModuleIdentity) -> bool {
    let levels = &identity.tcb_levels;
    let small = levels.iter().all(|level: &Level<SvnTcb>| level.tcb.isvsvn <= 0xff);
    is_plain(&identity.id)
        && is_module(&identity.module)
        && small
        && levels.iter().all(|level| is_read(level, 32, levels.len()))
}

/// With a module of its own identity, the first two TDX components are not the platform's.
fn meets(tcb: &ComponentTcb, td: &TdConfig) -> bool {
    let sgx = tcb.sgx.iter().zip(td.platform.components).all(|(wanted, has)| wanted.svn <= has);
    let tdx = tcb.tdx.iter().zip(td.tee_tcb_svn).skip(2).all(|(wanted, has)| wanted.svn <= has);
    sgx && tdx && tcb.pce_svn <= td.platform.pce_svn
}

fn order(tcb: &ComponentTcb) -> (Vec<u8>, u16, Vec<u8>) {
    let svns = |components: &[anchorhold_attester::software::tdx::Component]| {
        components.iter().map(|c| c.svn).collect()
    };
    (svns(&tcb.sgx), tcb.pce_svn, svns(&tcb.tdx))
}

/// The status of the highest level that is met, of equal ones the first.
fn highest<T, O: Ord>(
    levels: &[Level<T>],
    is_met: impl Fn(&T) -> bool,
    order: impl Fn(&T) -> O,
) -> Option<Status> {
    let mut found: Option<&Level<T>> = None;
    for level in levels.iter().filter(|level| is_met(&level.tcb)) {
        if found.is_none_or(|best| order(&level.tcb) > order(&best.tcb)) {
            found = Some(level);
        }
    }
    Status::of(&found?.tcb_status)
}
