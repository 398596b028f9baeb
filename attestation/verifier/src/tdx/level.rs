//! Which TCB levels a platform, its TDX module and its quoting enclave meet, and what follows for the whole.

use super::collateral::Collateral;
use super::pck::Pck;
use super::tcb_info::{Module, ModuleIdentity, PlatformLevel, PlatformTcb, SvnLevel, TcbInfo};
use super::{Quote, TcbStatus, body, codes};
use crate::show::hex;
use anchorhold_rats::{Checks, Timestamp};

/// The TCB level that one part meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbLevel {
    /// Its status.
    pub status: TcbStatus,
    /// Its TCB date: advisories that were published until then are mitigated.
    pub date: Timestamp,
    /// The earliest TCB date among the levels of the same list that is after [`date`](Self::date): since then this level is
    /// not the newest.
    pub superseded: Option<Timestamp>,
    /// The advisories that affect it.
    pub advisories: Vec<String>,
}

impl TcbLevel {
    fn new(
        status: TcbStatus,
        date: Timestamp,
        advisories: &[&str],
        dates: impl Iterator<Item = Timestamp>,
    ) -> Self {
        let superseded = dates.filter(|other| *other > date).min();
        let advisories = advisories.iter().map(ToString::to_string).collect();
        Self { status, date, superseded, advisories }
    }
}

/// The levels that the platform meets with one TEE_TCB_SVN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformLevels {
    /// Of microcode, firmware, PCE and, in version 0, the TDX module.
    pub platform: TcbLevel,
    /// Of the TDX module, from version 1 on.
    pub module: Option<TcbLevel>,
}

impl PlatformLevels {
    fn parts(&self) -> impl Iterator<Item = &TcbLevel> {
        std::iter::once(&self.platform).chain(&self.module)
    }

    fn status(&self) -> TcbStatus {
        self.parts().fold(TcbStatus::UpToDate, |status, part| status.with_part(part.status))
    }
}

/// What Intel's collateral says of everything below a TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcb {
    /// The status of the whole; never revoked.
    pub status: TcbStatus,
    /// The advisories that affect any part, each once.
    pub advisories: Vec<String>,
    /// With what the TD was launched.
    pub launch: PlatformLevels,
    /// With what it runs now, when the body says so.
    pub current: Option<PlatformLevels>,
    /// The quoting enclave.
    pub qe: TcbLevel,
    /// The TCB evaluation data number of the TCB info.
    pub tcb_info_evaluation_number: u32,
    /// The TCB evaluation data number of the QE identity.
    pub qe_identity_evaluation_number: u32,
}

impl Tcb {
    /// The levels of all parts.
    pub fn levels(&self) -> impl Iterator<Item = &TcbLevel> {
        let platform = std::iter::once(&self.launch).chain(&self.current).flat_map(PlatformLevels::parts);
        platform.chain(std::iter::once(&self.qe))
    }

    /// The earliest TCB date among the parts.
    #[must_use]
    pub fn date(&self) -> Timestamp {
        self.levels().map(|level| level.date).fold(self.qe.date, Timestamp::min)
    }

    /// Since when the first of the parts that are not up to date was not the newest; `None` when all are up to date, or
    /// when one of them has no newer level.
    #[must_use]
    pub fn superseded(&self) -> Option<Timestamp> {
        let lagging = self.levels().filter(|level| level.status != TcbStatus::UpToDate);
        let moments: Option<Vec<_>> = lagging.map(|level| level.superseded).collect();
        moments?.into_iter().min()
    }
}

/// The status of everything below the TD; `None` when a part meets no level, or one that is revoked.
pub(super) fn judge(
    quote: &Quote,
    pck: &Pck,
    qe_svn: u16,
    collateral: &Collateral<'_>,
    checks: &mut Checks,
) -> Option<Tcb> {
    let Collateral { tcb_info, qe_identity, .. } = collateral;
    record_hex(codes::FMSPC, &tcb_info.fmspc.0, &pck.fmspc, checks);
    record_hex(codes::PCE_ID, &tcb_info.pce_id.0, &pck.pce_id, checks);
    record_module(quote, tcb_info, checks);
    let launch = judge_platform("launch", &quote.body.tee_tcb_svn, pck, tcb_info, checks);
    let svn_now = quote.body.td15.as_ref().map(|td15| &td15.tee_tcb_svn2);
    let current = svn_now.map(|svn| judge_platform("now", svn, pck, tcb_info, checks));
    let qe = svn_level(qe_svn, &qe_identity.tcb_levels.0);
    record_level(codes::QE_LEVEL, "quoting enclave", qe.as_ref(), checks);
    let (launch, qe) = (launch?, qe?);
    let current = match current {
        Some(None) => return None,
        Some(Some(levels)) => Some(levels),
        None => None,
    };
    let at_launch = launch.status().with_part(qe.status);
    let status = match &current {
        Some(levels) => at_launch.now(levels.status().with_part(qe.status)),
        None => at_launch,
    };
    let mut tcb = Tcb {
        status,
        advisories: Vec::new(),
        launch,
        current,
        qe,
        tcb_info_evaluation_number: tcb_info.tcb_evaluation_data_number,
        qe_identity_evaluation_number: qe_identity.tcb_evaluation_data_number,
    };
    let mut advisories: Vec<String> = tcb.levels().flat_map(|level| level.advisories.clone()).collect();
    advisories.sort_unstable();
    advisories.dedup();
    tcb.advisories = advisories;
    // A revoked part makes the whole so, at launch or now: see `TcbStatus::with_part`.
    let revoked = status == TcbStatus::Revoked;
    checks.record(codes::TCB_REVOKED, !revoked, "no revoked part", status.word()).then_some(tcb)
}

fn record_hex(code: anchorhold_rats::Code, observed: &[u8], wanted: &[u8], checks: &mut Checks) {
    checks.record(code, observed == wanted, hex(wanted), hex(observed));
}

/// TEE_TCB_SVN\[1\]: the major version of the TDX module, 0 before there were any.
const fn major_version(tee_tcb_svn: &[u8; 16]) -> u8 {
    tee_tcb_svn[1]
}

fn find_identity<'a, 'b>(
    tcb_info: &'b TcbInfo<'a>,
    tee_tcb_svn: &[u8; 16],
) -> Option<&'b ModuleIdentity<'a>> {
    let wanted = format!("TDX_{:02X}", major_version(tee_tcb_svn));
    tcb_info.tdx_module_identities.0.iter().find(|identity| identity.id.eq_ignore_ascii_case(&wanted))
}

/// Records whether the TDX module is one that the TCB info names.
fn record_module(quote: &Quote, tcb_info: &TcbInfo<'_>, checks: &mut Checks) {
    let svn = &quote.body.tee_tcb_svn;
    let module = if major_version(svn) == 0 {
        Some(tcb_info.tdx_module)
    } else {
        find_identity(tcb_info, svn).map(ModuleIdentity::module)
    };
    let observed = format!("version {}", major_version(svn));
    let wanted = "a module version that the TCB info names";
    let code = quote.source(codes::MODULE_UNKNOWN, 1, 1);
    checks.record(code, module.is_some(), wanted, observed);
    let Some(Module { mrsigner, attributes, attributes_mask }) = module else { return };
    let code = quote.source(codes::MRSIGNERSEAM, body::offset::MRSIGNERSEAM, 48);
    record_hex(code, &quote.body.mr_signer_seam, &mrsigner.0, checks);
    let observed = u64::from_le_bytes(quote.body.seam_attributes);
    let (wanted, mask) = (u64::from_le_bytes(attributes.0), u64::from_le_bytes(attributes_mask.0));
    let code = quote.source(codes::SEAM_ATTRIBUTES, body::offset::SEAM_ATTRIBUTES, 8);
    let wanted_text = format!("{:#x} under mask {mask:#x}, nothing outside it", wanted & mask);
    let same = observed == wanted & mask;
    checks.record(code, same, wanted_text, format!("{observed:#x}"));
}

fn judge_platform(
    when: &str,
    tee_tcb_svn: &[u8; 16],
    pck: &Pck,
    tcb_info: &TcbInfo<'_>,
    checks: &mut Checks,
) -> Option<PlatformLevels> {
    let platform = platform_level(tee_tcb_svn, pck, &tcb_info.tcb_levels.0);
    record_level(codes::PLATFORM_LEVEL, &format!("platform ({when})"), platform.as_ref(), checks);
    if major_version(tee_tcb_svn) == 0 {
        checks.skip(codes::MODULE_LEVEL, "a level", "version 0 is judged with the platform");
        return platform.map(|platform| PlatformLevels { platform, module: None });
    }
    let [minor, ..] = *tee_tcb_svn;
    let levels = find_identity(tcb_info, tee_tcb_svn).map(|identity| identity.tcb_levels.0.as_slice());
    let module = levels.and_then(|levels| svn_level(minor, levels));
    record_level(codes::MODULE_LEVEL, &format!("TDX module ({when})"), module.as_ref(), checks);
    Some(PlatformLevels { platform: platform?, module: Some(module?) })
}

fn record_level(code: anchorhold_rats::Code, part: &str, level: Option<&TcbLevel>, checks: &mut Checks) {
    let observed =
        level.map_or_else(|| "none".to_string(), |level| format!("{} of {}", level.status, level.date));
    checks.record(code, level.is_some(), format!("{part}: a level that it meets"), observed);
}

/// Whether the platform has at least what the level asks for. With a module version, the module's own identity judges
/// the first two TDX components.
fn meets(tcb: &PlatformTcb, tee_tcb_svn: &[u8; 16], pck: &Pck) -> bool {
    let skipped = if major_version(tee_tcb_svn) > 0 { 2 } else { 0 };
    let sgx = pck.components.iter().zip(&tcb.sgx).all(|(svn, wanted)| *svn >= wanted.svn);
    let tdx = tee_tcb_svn.iter().zip(&tcb.tdx).skip(skipped).all(|(svn, wanted)| *svn >= wanted.svn);
    sgx && tdx && pck.pce_svn >= tcb.pce_svn
}

/// The highest level that the platform meets, in the order of Intel's library: by SGX components, then PCESVN, then TDX
/// components. Of equal levels the first counts.
fn platform_level(tee_tcb_svn: &[u8; 16], pck: &Pck, levels: &[PlatformLevel<'_>]) -> Option<TcbLevel> {
    let met = levels.iter().rev().filter(|level| meets(&level.tcb, tee_tcb_svn, pck));
    let level = met.max_by_key(|level| level.tcb)?;
    let dates = levels.iter().map(|level| level.tcb_date);
    Some(TcbLevel::new(level.tcb_status, level.tcb_date, &level.advisories.0, dates))
}

/// The highest level that a part with one security version meets. Of equal levels the first counts.
fn svn_level<T: Copy + Ord>(svn: T, levels: &[SvnLevel<'_, T>]) -> Option<TcbLevel> {
    let met = levels.iter().rev().filter(|level| svn >= level.tcb.isvsvn);
    let level = met.max_by_key(|level| level.tcb.isvsvn)?;
    let dates = levels.iter().map(|level| level.tcb_date);
    Some(TcbLevel::new(level.tcb_status, level.tcb_date, &level.advisories.0, dates))
}
