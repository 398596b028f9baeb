//! A guest that attests as a TD: the release policy names its run-time registers, and the broker and callers hold it to them.

use crate::support::wait;
use anchorhold_attester::software::tdx::{Boot, CollateralTemplate, EventLog, PlatformConfig, replay};
use anchorhold_e2e::client::{Caller, now, td_appraisal};
use anchorhold_e2e::guest::{Guest, Places, Settings, Start};
use anchorhold_e2e::models::{self, EMBEDDING};
use anchorhold_e2e::owner::Sealed;
use anchorhold_e2e::policy::Policy;
use anchorhold_e2e::refusals::Stand;
use anchorhold_measure::tdx::extended;
use anchorhold_rats::{RuntimeEvent, Sha256Digest};

type Registers = [[u8; 48]; 4];

/// No guest has these: its settings are measured before it asks.
const NOBODY: Registers = [[0; 48]; 4];

/// A broker that releases to nobody, and the settings of a TD with the embedding model.
fn stand() -> (Stand, Sealed, Settings) {
    let mut stand = Stand::new().unwrap();
    let sealed = stand.seal(&models::embedding().unwrap(), (EMBEDDING, 1)).unwrap();
    stand.broker.set_policy(&policy(1, &stand, &[NOBODY])).unwrap();
    stand.broker.serve().unwrap();
    let mut settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed)).unwrap();
    let collateral = CollateralTemplate::for_platform(&PlatformConfig::default(), now()).sign().unwrap();
    let file = stand.path().join("collateral.json");
    std::fs::write(&file, serde_json::to_vec(&collateral).unwrap()).unwrap();
    settings.tdx_collateral = Some(file);
    (stand, sealed, settings)
}

fn policy(version: u64, stand: &Stand, accepted: &[Registers]) -> String {
    let (measurement, models) = (stand.measurement.as_str(), [(EMBEDDING, 1)]);
    let policy = Policy { version, measurement, models: &models, lease: "60m", max_instances: 4 };
    policy.to_toml_for_tds(accepted)
}

/// RTMR0 to RTMR3 of a guest of these settings, computed from files before it starts: when it asks for its key, and when it serves.
fn computed(stand: &Stand, settings: &Settings, sealed: &Sealed) -> [Registers; 2] {
    let folder = stand.path().join("guest");
    std::fs::create_dir_all(&folder).unwrap();
    settings.write(&Places::of_process(&stand.programs, &folder), &folder).unwrap();
    let file = |name: &str| Sha256Digest::of(&std::fs::read(folder.join(name)).unwrap());
    let manifest = sealed.manifest_digest.parse().unwrap();
    let started = RuntimeEvent::settings(&file("keeper.toml"), &file("gateway.toml")).digest();
    let loaded = RuntimeEvent::model(EMBEDDING, 1, &manifest).digest();
    let [rtmr0, rtmr1, rtmr2, _] = replay(&EventLog::boot(&Boot::default()).events);
    [&[&started][..], &[&started, &loaded]]
        .map(|events| [rtmr0, rtmr1, rtmr2, *extended(events.iter().copied()).as_bytes()])
}

/// Starts the guest whose registers were computed.
fn start(stand: &Stand, settings: &Settings) -> Start {
    Guest::start(&stand.programs, &stand.path().join("guest"), settings, |_| {}).unwrap()
}

#[test]
fn a_td_is_released_its_key_by_its_registers_and_serves() {
    let (stand, sealed, settings) = stand();
    let [at_release, serving] = computed(&stand, &settings, &sealed);
    stand.broker.set_policy(&policy(2, &stand, &[at_release])).unwrap();
    let guest = start(&stand, &settings).ready().unwrap();

    let url = format!("https://{}", guest.address);
    let verify = |registers| {
        let accepted = td_appraisal(&stand.measurement, registers).unwrap();
        wait(Caller::verify_by(&url, &guest.api_key, &accepted))
    };
    let caller = verify(serving).unwrap();
    let vectors = wait(caller.embed(EMBEDDING, &["Which register is this?"])).unwrap();
    assert_eq!(vectors[0].len(), 384);
    // What it serves is in RTMR3 since it was loaded, so a caller who wants another model there is told.
    let refused = format!("{:#}", verify(at_release).err().unwrap());
    assert!(refused.starts_with("tdx_rtmr3: "), "{refused}");

    let of_broker = stand.broker.entries().unwrap();
    assert_eq!(of_broker.iter().filter(|entry| entry["type"] == "key.release").count(), 1);
}

#[test]
fn case_44_a_td_with_another_value_in_any_register_gets_no_key() {
    let (stand, sealed, settings) = stand();
    let [right, _] = computed(&stand, &settings, &sealed);
    for (register, version) in (0..4).zip(2..) {
        let mut accepted = right;
        accepted[register][0] ^= 1;
        stand.broker.set_policy(&policy(version, &stand, &[accepted])).unwrap();
        let refusal = start(&stand, &settings).refused().unwrap();
        assert_eq!((refusal.by.as_str(), refusal.code), ("key broker", format!("tdx_rtmr{register}")));
    }
}

#[test]
fn case_44_a_td_with_other_settings_gets_no_key() {
    let (stand, sealed, mut settings) = stand();
    let [accepted, _] = computed(&stand, &settings, &sealed);
    stand.broker.set_policy(&policy(2, &stand, &[accepted])).unwrap();
    settings.keep_prefixes = false;
    let refusal = start(&stand, &settings).refused().unwrap();
    assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("key broker", "tdx_rtmr3"));
}
