//! Prompts, keys and weights are where they are needed, and nowhere else. Every search is first shown to find what is
//! there.

use crate::support::{SOON, Served, alone, chat, code, long, may_read_memory, until, wait, with};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::guest::Settings;
use anchorhold_e2e::memory::{contains, files_with, find, find_in_start};
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::owner::Chosen;
use anchorhold_e2e::refusals::Stand;
use anchorhold_rats::Nonce;
use anchorhold_sealed_weights::SegmentSize;
use serde_json::{Value, json};
use std::path::Path;

const SLICE_BYTES: usize = 32;

/// What is looked for.
struct Canaries {
    prompt: String,
    api_key: String,
    weights_key: [u8; 32],
    /// Bytes of a tensor as they stand in the model's file, and as the numbers that the worker computes with.
    weights: (Vec<u8>, Vec<u8>),
}

impl Canaries {
    /// Every spelling in which one of them could lie somewhere.
    fn spellings(&self) -> Vec<(&'static str, Vec<u8>)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let base64 = base64(&self.weights_key);
        vec![
            ("the prompt", self.prompt.clone().into_bytes()),
            ("the API key", self.api_key.clone().into_bytes()),
            ("the weights key", self.weights_key.to_vec()),
            ("the weights key in hex", hex(&self.weights_key).into_bytes()),
            ("the weights key in base64", base64.into_bytes()),
            ("the weights", self.weights.0.clone()),
            ("the weights as numbers", self.weights.1.clone()),
        ]
    }
}

/// RFC 4648, section 4, without the padding, which says nothing.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let digit = |six: &[u8]| six.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (5 - at));
    bits.chunks(6).map(|six| char::from(ALPHABET[usize::from(digit(six))])).collect()
}

/// The first values of the model's last norm: they are kept in order, while matrices are laid out for the processor.
fn weights() -> (Vec<u8>, Vec<u8>) {
    let bytes = std::fs::read(models::chat().join("model.safetensors")).unwrap();
    let header_bytes = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let tensor = &header["model.norm.weight"];
    assert_eq!(tensor["dtype"], "BF16");
    let begin = 8 + header_bytes + usize::try_from(tensor["data_offsets"][0].as_u64().unwrap()).unwrap();
    let stored = bytes[begin..begin + SLICE_BYTES].to_vec();
    // A bfloat16 is the upper half of the same number in single precision.
    let numbers = stored.chunks(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
    (stored, numbers)
}

fn serve() -> (Served, Canaries) {
    let random = || *Nonce::random().unwrap().as_bytes();
    let mut stand = Stand::new().unwrap();
    let chosen = Chosen { weights_key: random(), segment: SegmentSize::Mib1 };
    let sealed = [stand.seal_with(&models::chat(), (CHAT, 1), &chosen).unwrap()];
    let measurement = stand.measurement.clone();
    stand.serve(&sealed, &measurement).unwrap();
    let settings = Settings::new(&stand.broker, &stand.owner, &sealed).unwrap();
    let canaries = Canaries {
        prompt: format!("canary-{}", Nonce::new(random())),
        api_key: settings.api_key.clone(),
        weights_key: chosen.weights_key,
        weights: weights(),
    };
    (Served::start(stand, &settings), canaries)
}

/// Sends the prompt by every way that a request can take, good and bad.
fn tell_everybody(served: &Served, prompt: &str) {
    let asked = chat(prompt);
    assert_eq!(served.post("/v1/chat/completions", &asked).status, 200);
    let stream = served.begin_stream(&with(asked.clone(), json!({"stream": true}))).finish();
    assert!(stream.frames.done);
    for (body, status) in [
        (with(asked.clone(), json!({"model": prompt})), 404),
        (with(asked.clone(), json!({"stop": [prompt], "max_tokens": "many"})), 400),
        (json!({"model": CHAT, "messages": prompt}), 400),
        (json!(prompt), 400),
        (with(asked.clone(), json!({"messages": [{"role": prompt, "content": prompt}]})), 400),
        (chat(&format!("{prompt} ").repeat(100)), 400),
    ] {
        let answer = served.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, status, "{}", code(&answer));
        assert!(!contains(&answer.body, prompt.as_bytes()), "an error quotes the request");
    }
    for path in ["/v1/models/", "/nowhere/", "/v1/models?q=", "/.well-known/anchorhold-attestation?nonce="] {
        served.get(&format!("{path}{prompt}"));
    }
    let url = format!("https://{}", served.guest.address);
    let stranger = wait(Caller::verify_at(&url, prompt, &served.stand.measurement)).unwrap();
    assert_eq!(wait(stranger.post("/v1/chat/completions", &asked)).unwrap().status, 401);
}

/// Looks for the canaries in every file of the deployment.
fn check_files(directory: &Path, canaries: &Canaries) {
    let planted = directory.join("guest/audit/planted");
    for (what, bytes) in canaries.spellings() {
        std::fs::write(&planted, [b"before ".as_slice(), &bytes, b" after"].concat()).unwrap();
        let found = files_with(directory, &bytes).unwrap();
        assert_eq!(found, std::slice::from_ref(&planted), "{what} lies in a file");
    }
    std::fs::remove_file(planted).unwrap();
}

#[test]
fn case_34_no_prompt_key_or_weight_in_files_metrics_logs_or_exports() {
    let (served, canaries) = serve();
    tell_everybody(&served, &canaries.prompt);
    let metrics = served.get("/metrics").body;
    assert!(contains(&metrics, b"anchorhold_requests_total"));
    let told = served.guest.stderr_text();
    assert!(told.contains("\"tenant\":\"demo\""), "the gateway logs to this file");
    let log = served.guest.audit_log.clone();
    let Served { stand, guest, .. } = served;
    // The running deployment, then what is left of it.
    check_files(stand.path(), &canaries);
    guest.stop().unwrap();
    let bundle = stand.path().join("bundle.tar");
    assert!(anchorhold_e2e::guest::export_log(&stand.programs, &log, &bundle).unwrap().status.success());
    assert!(contains(&std::fs::read(&bundle).unwrap(), b"\"tenant\":\"demo\""));
    check_files(stand.path(), &canaries);
    for (what, bytes) in canaries.spellings() {
        assert!(!contains(&metrics, &bytes), "{what} is in the metrics");
    }
}

/// Process ids of gateway, worker, keeper and broker.
fn processes(served: &Served) -> [u32; 4] {
    let pid = |pid: Option<i32>| u32::try_from(pid.unwrap()).unwrap();
    [
        pid(served.guest.gateway_pid()),
        pid(served.guest.worker_pid(CHAT)),
        served.guest.keeper_pid(),
        served.stand.broker.pid().unwrap(),
    ]
}

#[test]
fn case_34_a_running_prompt_is_in_no_memory_but_of_those_who_work_on_it() {
    if !may_read_memory() {
        return;
    }
    let _turn = alone();
    let (served, canaries) = serve();
    let prompt = canaries.prompt.as_bytes();
    let [gateway, worker, keeper, broker] = processes(&served);
    let stream = served.begin_stream(&long(&canaries.prompt));
    let paused = served.pause_worker(CHAT);
    let holds = |pid| find(pid, &[prompt]).unwrap()[0];
    assert!(holds(gateway) || holds(worker), "the search finds no prompt where one is being worked on");
    assert!(!holds(keeper), "the keeper parses nothing that a caller sent");
    assert!(!holds(broker));
    drop((stream, paused));
}

#[test]
fn case_34_the_weights_key_and_the_weights_are_in_no_memory_but_of_those_who_need_them() {
    if !may_read_memory() {
        return;
    }
    let _turn = alone();
    let (served, canaries) = serve();
    tell_everybody(&served, &canaries.prompt);
    let needles = [canaries.weights_key.as_slice(), &canaries.weights.0, &canaries.weights.1];
    let [gateway, worker, keeper, _] = processes(&served);
    let found = |pid| find(pid, &needles).unwrap();
    let (by_gateway, by_worker, by_keeper) = (found(gateway), found(worker), found(keeper));
    // The keeper has the key for as long as its lease, the worker has the weights.
    assert!(by_keeper[0], "the search does not find the weights key where it must be");
    assert!(by_worker[1] || by_worker[2], "the search does not find the weights where they must be");
    assert_eq!(by_gateway, [false, false, false]);
    assert_eq!(by_keeper[1..], [false, false]);
    // `load_sealed` promises that the key is erased when the model is loaded.
    assert!(!by_worker[0], "the worker still holds the weights key");
}

#[test]
fn case_43_no_secret_is_in_a_command_line_or_environment() {
    if !may_read_memory() {
        return;
    }
    let (served, canaries) = serve();
    tell_everybody(&served, &canaries.prompt);
    let spellings = canaries.spellings();
    let needles: Vec<&[u8]> = spellings.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let [gateway, worker, keeper, broker] = processes(&served);
    assert!(find_in_start(keeper, &[b"keeper.toml"]).unwrap()[0]);
    assert!(find_in_start(broker, &[b"PATH="]).unwrap()[0]);
    for pid in [gateway, worker, keeper, broker] {
        assert_eq!(find_in_start(pid, &needles).unwrap(), vec![false; needles.len()], "process {pid}");
    }
}

/// After SIGKILL nothing is left of what the worker held: no core file, no copy.
#[test]
fn case_23_a_killed_worker_leaves_nothing_behind() {
    let _turn = alone();
    let (mut served, canaries) = serve();
    let stream = served.begin_stream(&long(&canaries.prompt));
    let paused = served.pause_worker(CHAT);
    // SIGABRT is the signal that makes a process leave its memory behind where that is allowed.
    rustix::process::kill_process(served.worker(CHAT), rustix::process::Signal::ABORT).unwrap();
    drop(paused);
    served.guest.next_stage("restarted", SOON).unwrap();
    assert_eq!(stream.finish().error.as_deref(), Some("worker_lost"));
    check_files(served.stand.path(), &canaries);
    until("an answer after the restart", SOON, || {
        (served.post("/v1/chat/completions", &chat("hello")).status == 200).then_some(())
    });
}
