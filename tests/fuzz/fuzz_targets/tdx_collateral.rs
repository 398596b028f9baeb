//! TCB info and QE identity with any fields, signed again: what must be refused is refused, and the rest gives the status
//! that Intel's rules give.
#![no_main]

use anchorhold_attester::software::tdx::{
    CollateralTemplate, Component, Level, ModuleIdentity, QeIdentity, TcbInfo, TdConfig, TdxGuest, TdxModule,
};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now, tcb};
use anchorhold_rats::TdxCollateral;
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::tdx::{Input, Policy, TcbStatus, appraise, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const WORDS: [&str; 9] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
    "TDRelaunchAdvised",
    "uptodate",
];

struct Good {
    config: TdConfig,
    qe_svn: u16,
    quote: Vec<u8>,
    template: CollateralTemplate,
    /// The parts that this target does not change.
    collateral: TdxCollateral,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let guest: TdxGuest = made::tdx_guest();
    let quote = guest.quote(&made::REPORT_DATA).expect("a quote");
    let template = CollateralTemplate::for_platform(&guest.config().platform, now());
    let collateral = template.sign().expect("collateral");
    let good = Good {
        config: guest.config().clone(),
        qe_svn: guest.enclave_report().svn,
        quote,
        template,
        collateral,
    };
    assert_eq!(judge(&good, &good.collateral).as_deref(), Some("UpToDate"), "good evidence");
    good
});

/// The status of the whole, or `None` when the evidence is refused.
fn judge(good: &Good, collateral: &TdxCollateral) -> Option<String> {
    let input = Input { quote: &good.quote, collateral: Some(collateral) };
    let authentic = accepted(authenticate(&input, &made::ANCHORS, now()))?;
    assert_named(authentic.checks());
    let tcb = authentic.claims().tcb();
    let status = tcb.status;
    let worst = tcb.levels().map(|level| level.status).max().expect("levels");
    assert!(status >= worst && status != TcbStatus::Revoked, "{status} with a part that is {worst}");
    let policy = allow_simulated(Policy::strict(vec![made::MEASUREMENT]));
    let result = accepted(appraise(authentic, &policy, &made::REPORT_DATA));
    assert!(result.is_none() || status == TcbStatus::UpToDate, "{status} is accepted");
    Some(status.word().to_owned())
}

fn word(script: &mut Script<'_>, word: &mut String) {
    match script.byte() {
        at @ 0..=223 => WORDS[usize::from(at) % WORDS.len()].clone_into(word),
        _ => *word = script.edited_text(word),
    }
}

fn time(script: &mut Script<'_>, text: &mut String) {
    *text = match script.byte() {
        0..=15 => {
            let mut bytes = text.clone().into_bytes();
            script.edit_once(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => now().plus_seconds(i64::from(i16::from_le_bytes([script.byte(), script.byte()]))).to_string(),
    };
}

fn text(script: &mut Script<'_>, text: &mut String) {
    let mut bytes = text.clone().into_bytes();
    script.edit_once(&mut bytes);
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

/// Removes, repeats or moves one of a list; gives which one, for what is to change in it.
fn pick<T: Clone>(script: &mut Script<'_>, list: &mut Vec<T>) -> Option<usize> {
    let (at, kind) = (script.below(list.len()), script.byte());
    if list.is_empty() {
        return None;
    }
    match kind {
        0..=7 => drop(list.remove(at)),
        8..=31 => {
            for _ in 0..=kind % 3 {
                list.insert(at, list[at].clone());
            }
        }
        32..=39 => {
            let other = script.below(list.len());
            list.swap(at, other);
        }
        // Past every limit.
        40..=41 => list.extend(vec![list[at].clone(); 300]),
        _ => return Some(at),
    }
    None
}

fn level<T: Clone>(
    script: &mut Script<'_>,
    levels: &mut Vec<Level<T>>,
    tcb: impl FnOnce(&mut Script<'_>, &mut T),
) {
    let Some(at) = pick(script, levels) else { return };
    let level = &mut levels[at];
    match script.byte() % 8 {
        0..=1 => word(script, &mut level.tcb_status),
        2 => time(script, &mut level.tcb_date),
        3 => {
            let mut id = "INTEL-SA-00001".to_owned();
            text(script, &mut id);
            level.advisory_ids.push(id);
            if script.byte() < 4 {
                level.advisory_ids = vec![String::new(); 257];
            }
        }
        _ => tcb(script, &mut level.tcb),
    }
}

fn component(script: &mut Script<'_>, components: &mut Vec<Component>) {
    if let Some(at) = pick(script, components) {
        components[at].svn = script.byte();
    }
}

fn module(script: &mut Script<'_>, module: &mut TdxModule) {
    match script.byte() % 3 {
        0 => text(script, &mut module.mrsigner),
        1 => text(script, &mut module.attributes),
        _ => text(script, &mut module.attributes_mask),
    }
}

fn identity(script: &mut Script<'_>, identities: &mut Vec<ModuleIdentity>) {
    let Some(at) = pick(script, identities) else { return };
    let identity = &mut identities[at];
    match script.byte() % 4 {
        0 => {
            identity.id =
                ["TDX_01", "tdx_01", "TDX_1", "TDX_03", "TDX_00", "TDX_01\""][script.below(6)].to_owned()
        }
        1 => module(script, &mut identity.module),
        _ => level(script, &mut identity.tcb_levels, |script, tcb| tcb.isvsvn = u16::from(script.byte()) * 2),
    }
}

fn tcb_info(script: &mut Script<'_>, info: &mut TcbInfo) {
    match script.byte() % 16 {
        0 => text(script, &mut info.id),
        1 => info.version = u32::from(script.byte()),
        2 => info.tcb_type = u32::from(script.byte() % 2),
        3 => time(script, &mut info.issue_date),
        4 => time(script, &mut info.next_update),
        5 => text(script, &mut info.fmspc),
        6 => text(script, &mut info.pce_id),
        7 => match &mut info.tdx_module {
            Some(known) if script.byte() > 31 => module(script, known),
            known => *known = None,
        },
        8..=10 => identity(script, &mut info.tdx_module_identities),
        _ => level(script, &mut info.tcb_levels, |script, tcb| match script.byte() % 4 {
            0 => tcb.pce_svn = u16::from(script.byte() % 16),
            1 => component(script, &mut tcb.sgx),
            _ => component(script, &mut tcb.tdx),
        }),
    }
}

fn qe_identity(script: &mut Script<'_>, identity: &mut QeIdentity) {
    match script.byte() % 16 {
        0 => text(script, &mut identity.id),
        1 => identity.version = u32::from(script.byte()),
        2 => time(script, &mut identity.issue_date),
        3 => time(script, &mut identity.next_update),
        4 => text(script, &mut identity.miscselect),
        5 => text(script, &mut identity.miscselect_mask),
        6 => text(script, &mut identity.attributes),
        7 => text(script, &mut identity.attributes_mask),
        8 => text(script, &mut identity.mrsigner),
        9 => identity.isvprodid = u16::from(script.byte()),
        _ => {
            level(script, &mut identity.tcb_levels, |script, tcb| tcb.isvsvn = u16::from(script.byte() % 16))
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let good = &*GOOD;
    let mut template = good.template.clone();
    for _ in 0..=script.byte() % 6 {
        match script.byte() % 3 {
            0 => qe_identity(&mut script, &mut template.qe_identity),
            _ => tcb_info(&mut script, &mut template.tcb_info),
        }
    }
    let mut collateral = good.collateral.clone();
    let signed = template.sign().expect("a signature");
    (collateral.tcb_info, collateral.tcb_info_signature) = (signed.tcb_info, signed.tcb_info_signature);
    (collateral.qe_identity, collateral.qe_identity_signature) =
        (signed.qe_identity, signed.qe_identity_signature);
    let wanted = tcb::status(&template.tcb_info, &template.qe_identity, &good.config, good.qe_svn, now());
    let observed = judge(good, &collateral);
    assert_eq!(
        observed.as_deref(),
        wanted.map(tcb::Status::word),
        "{}\n{}",
        collateral.tcb_info,
        collateral.qe_identity
    );
});
