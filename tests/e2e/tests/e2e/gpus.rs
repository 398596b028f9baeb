//! A guest with GPUs: their reports are a part of its evidence, the broker judges them, and receipts name them.

use crate::support::wait;
use anchorhold_audit_log::{PublicKey, SignedReceipt};
use anchorhold_e2e::client::{Caller, appraisal};
use anchorhold_e2e::guest::{Guest, Settings, Start};
use anchorhold_e2e::models::{self, EMBEDDING};
use anchorhold_e2e::policy::Policy;
use anchorhold_e2e::refusals::Stand;
use anchorhold_verifier::nvidia::{self, Architecture, BoardSize, Mode};
use anchorhold_verifier::{AppraisalPolicy, dangerous};
use serde_json::json;

/// A broker whose policy asks for GPUs in this mode and number, and the settings of a guest with the embedding model.
fn stand(mode: &str, BoardSize { gpus, switches }: BoardSize) -> (Stand, Settings) {
    let mut stand = Stand::new().unwrap();
    let sealed = stand.seal(&models::embedding().unwrap(), (EMBEDDING, 1)).unwrap();
    let models = [(EMBEDDING, 1)];
    let measurement = stand.measurement.as_str();
    let policy = Policy { version: 1, measurement, models: &models, lease: "60m", max_instances: 4 };
    stand.broker.set_policy(&policy.to_toml_with_gpus(mode, gpus, switches)).unwrap();
    stand.broker.serve().unwrap();
    let settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed)).unwrap();
    (stand, settings)
}

fn start(stand: &Stand, settings: &Settings) -> Start {
    Guest::start(&stand.programs, &stand.path().join("guest"), settings, |_| {}).unwrap()
}

const HOPPER: (&str, Mode, BoardSize) =
    ("single", Mode::SinglePassthrough, BoardSize { gpus: 1, switches: 0 });
const HGX: (&str, Mode, BoardSize) =
    ("protected-pcie", Mode::ProtectedPcie, BoardSize { gpus: 8, switches: 4 });

/// What a caller accepts: the guest of this stand, on such a board.
fn accepts(stand: &Stand, (_, mode, board): (&str, Mode, BoardSize)) -> AppraisalPolicy {
    let architectures = vec![Architecture::Hopper, Architecture::Ls10];
    let gpus = dangerous::allow_simulated(nvidia::Policy::strict(mode, board, architectures));
    AppraisalPolicy { gpu: Some(gpus), ..appraisal(&stand.measurement).unwrap() }
}

#[test]
fn gpus_are_judged_by_broker_and_caller_and_named_in_receipts() {
    for (kind, board) in [("single", HOPPER), ("hgx", HGX)] {
        let (stand, mut settings) = stand(board.0, board.2);
        settings.gpus = Some(format!("kind = \"software\"\nboard = \"{kind}\"\n"));
        let guest = start(&stand, &settings).ready().unwrap();
        let url = format!("https://{}", guest.address);
        let verify = |policy: &AppraisalPolicy| wait(Caller::verify_by(&url, &guest.api_key, policy));
        let caller = verify(&accepts(&stand, board)).unwrap();
        let judged: Vec<_> = caller.server.result().claims().gpus.iter().map(|gpu| gpu.pdi().0).collect();
        assert_eq!(judged.len(), board.2.gpus + board.2.switches, "{kind}");

        let asked = json!({"model": EMBEDDING, "input": "Which GPU is this?"});
        let answer = wait(caller.post("/v1/embeddings", &asked)).unwrap();
        let receipt = answer.headers["x-anchorhold-receipt"].to_str().unwrap();
        let key = PublicKey::new(*caller.server.keys().audit_key.as_bytes());
        let receipt = SignedReceipt::verify(receipt, &key).unwrap();
        let named: Vec<_> = receipt.gpus.iter().map(|id| *id.as_bytes()).collect();
        assert_eq!(named, judged, "{kind}");

        // Whoever expects none is told that there are some.
        let refused = format!("{:#}", verify(&appraisal(&stand.measurement).unwrap()).err().unwrap());
        assert!(refused.starts_with("family_denied"), "{refused}");
        let released = stand.broker.entries().unwrap();
        let released = released.iter().find(|entry| entry["type"] == "key.release").unwrap();
        assert_eq!(released["decision"]["claims"]["gpus"].as_array().unwrap().len(), judged.len(), "{kind}");
    }
}

#[test]
fn a_guest_without_the_gpus_of_the_policy_gets_no_key() {
    let (stand, mut settings) = stand(HGX.0, HGX.2);
    for (gpus, code) in
        [(None, "family_missing"), (Some("kind = \"software\"\nboard = \"single\"\n"), "nvidia_gpu_count")]
    {
        settings.gpus = gpus.map(str::to_owned);
        let refusal = start(&stand, &settings).refused().unwrap();
        assert_eq!(refusal.by, "key broker", "{gpus:?}");
        assert_eq!(refusal.code, code, "{gpus:?}");
    }
}
