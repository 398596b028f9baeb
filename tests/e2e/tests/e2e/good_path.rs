//! What works when nothing is wrong.

use crate::support::{SOON, Served, alone, chat, code, count, long, until, wait, with};
use anchorhold_channel::client::{Limits, connect_unverified_for_attestation};
use anchorhold_channel::document::{Document, Presented};
use anchorhold_channel::verify_document;
use anchorhold_e2e::client::{Caller, appraisal, cosine, now, simulated_anchors};
use anchorhold_e2e::guest::{Guest, Settings};
use anchorhold_e2e::models::{CHAT, EMBEDDING, gguf};
use anchorhold_e2e::port::{free_address, is_closed};
use anchorhold_e2e::refusals::Stand;
use anchorhold_e2e::relay::{Attack, Relay};
use anchorhold_rats::{Endorsements, Nonce, Sha256Digest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::TcpStream;

const NURSE: &str = "The nurse checked the patient's heart rate.";
const DOCTOR: &str = "A doctor measured the pulse of the sick man.";
const STOCKS: &str = "The stock market fell sharply on Monday.";

#[test]
fn seals_attests_and_answers() {
    let served = Served::both();
    lists_both_models(&served);
    embeds(&served);
    streams_what_it_says_whole(&served);
    lets_in_only_who_has_a_key(&served);
    is_held_to_what_serving_needs(&served);

    let entries = served.stop();
    assert_eq!(entries.first().unwrap()["type"], "log.open");
    assert_eq!(entries.last().unwrap()["type"], "log.close");
    for (kind, wanted) in [("key.release", 2), ("model.load", 2), ("boot.ready", 1), ("boot.stop", 1)] {
        assert_eq!(count(&entries, kind), wanted, "{kind}");
    }
}

/// Every process has given up what only its start needed, and says so.
fn is_held_to_what_serving_needs(served: &Served) {
    let answer = served.get("/readyz");
    assert_eq!(answer.status, 200);
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let processes = told["confinement"].as_array().unwrap();
    assert_eq!(processes.len(), 4, "keeper, gateway and two workers: {told}");
    for process in processes {
        let layers = process["layers"].as_array().unwrap();
        for layer in ["seccomp", "seccomp serving"] {
            assert!(layers.iter().any(|active| active == layer), "{layer}: {process}");
        }
    }
}

fn lists_both_models(served: &Served) {
    let list: Value = serde_json::from_slice(&served.get("/v1/models").body).unwrap();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, [EMBEDDING, CHAT]);
    // What the caller verified names the very packages that were sealed.
    let state = served.caller.server.state();
    assert_eq!(state.models.len(), 2);
    for model in &state.models {
        let told = served.guest.stage("release", Some(&model.id)).unwrap();
        assert_eq!(told["version"], model.version);
        let path = served.stand.path().join("owner").join(format!("{}-v1/manifest.json", model.id));
        assert_eq!(model.manifest_digest, Sha256Digest::of(&std::fs::read(path).unwrap()));
    }
}

fn embeds(served: &Served) {
    let vectors = wait(served.caller.embed(EMBEDDING, &[NURSE, DOCTOR, STOCKS])).unwrap();
    assert!(vectors.iter().all(|vector| vector.len() == 384));
    assert!((cosine(&vectors[0], &vectors[0]) - 1.0).abs() < 1e-9);
    let norm = vectors[0].iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((norm - 1.0).abs() < 1e-3, "the model normalises, and this vector has length {norm}");
    assert!(cosine(&vectors[0], &vectors[1]) > 0.5 && cosine(&vectors[0], &vectors[2]) < 0.2);
    // Neither order nor company matters.
    let turned = wait(served.caller.embed(EMBEDDING, &[STOCKS, NURSE])).unwrap();
    assert!(cosine(&turned[1], &vectors[0]) > 0.9999);
    let alone = wait(served.caller.embed(EMBEDDING, &[DOCTOR])).unwrap();
    assert!(cosine(&alone[0], &vectors[1]) > 0.9999);
}

fn streams_what_it_says_whole(served: &Served) {
    let question = "What is Anchorhold?";
    let whole: Value =
        serde_json::from_slice(&served.post("/v1/chat/completions", &chat(question)).body).unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.split_whitespace().count() > 3, "{text}");
    let stream = served.begin_stream(&with(chat(question), json!({"stream": true}))).finish();
    assert!(stream.frames.done && stream.error.is_none());
    assert_eq!(stream.text, text);
}

fn lets_in_only_who_has_a_key(served: &Served) {
    let url = format!("https://{}", served.guest.address);
    let stranger = wait(Caller::verify_at(&url, "ak-nobody", &served.stand.measurement)).unwrap();
    for path in ["/v1/models", "/metrics", "/nowhere"] {
        assert_eq!(wait(stranger.get(path)).unwrap().status, 401, "{path}");
    }
    let refused = wait(stranger.post("/v1/chat/completions", &chat("hello"))).unwrap();
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (401, "invalid_api_key"));
    assert_eq!(wait(stranger.get("/readyz")).unwrap().status, 200);
}

#[test]
fn a_caller_behind_somebody_who_ends_tls_encrypts_to_the_keys_of_the_document() {
    use anchorhold_body_encryption::{HEADER, Request, Response, seal_request};
    let served = Served::chat();
    let keys = &served.caller.server.state().channel.body_keys;
    assert_eq!(keys.len(), 2);
    for key in keys {
        let (target, content_type) = ("/v1/chat/completions", "application/json");
        let bound = Request { method: "POST", target, content_type };
        let sealed = seal_request(key, &bound, b"", anchorhold_hpke::Entropy::random().unwrap()).unwrap();
        let mut frames = Vec::new();
        sealed.body.finish(chat("Who are you?").to_string().as_bytes(), &mut frames).unwrap();
        let answer = wait(served.caller.post_bytes(target, (HEADER, &sealed.header), frames)).unwrap();
        assert_eq!(answer.status, 200);
        let header = answer.headers[HEADER].to_str().unwrap();
        let opened = sealed.awaiting.open(&Response { status: 200, content_type }, header, 1 << 20).unwrap();
        let plain = opened.body.unwrap().open_whole(&answer.body).unwrap();
        let value: Value = serde_json::from_slice(&plain).unwrap();
        assert!(!value["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
    }
}

/// The document that a guest makes for a nonce, and the key it came over.
fn document(guest: &Guest, nonce: &Nonce) -> (Vec<u8>, Sha256Digest) {
    wait(async {
        let target = format!("https://{}", guest.address).parse().unwrap();
        let mut connection = connect_unverified_for_attestation(&target, &Limits::default()).await.unwrap();
        (connection.fetch_document(nonce).await.unwrap().to_vec(), connection.tls_key())
    })
}

#[test]
fn both_report_versions_are_accepted() {
    for version in [3_u8, 5] {
        let mut stand = Stand::new().unwrap();
        let settings = Settings { report_version: version, ..stand.with_chat().unwrap() };
        let served = Served::start(stand, &settings);
        let (bytes, _) = document(&served.guest, &Nonce::random().unwrap());
        let report = &Document::from_json(&bytes).unwrap().evidence().report.clone();
        // SEV-SNP ABI 1.58, table 23: the version is the first four bytes.
        assert_eq!(report[..4], u32::from(version).to_le_bytes());
        assert_eq!(served.post("/v1/chat/completions", &chat("Who are you?")).status, 200);
    }
}

#[test]
fn models_in_bf16_answer_alike() {
    let mut stand = Stand::new().unwrap();
    let settings = Settings { precision: "bf16".to_owned(), ..stand.with_chat().unwrap() };
    let (exact, rounded) = (Served::chat(), Served::start(stand, &settings));
    let text = |served: &Served| {
        let answer = served.post("/v1/chat/completions", &chat("What is Anchorhold?"));
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (exact, rounded) = (words(text(&exact)), words(text(&rounded)));
    assert!(exact.len() > 3 && exact[..3] == rounded[..3], "{exact:?} {rounded:?}");
}

#[test]
fn a_gguf_file_alone_answers_as_it_is_stored() {
    let mut stand = Stand::new().unwrap();
    let folder = gguf(stand.path(), "llama-q4_k_m").unwrap();
    let sealed = [stand.seal(&folder, (CHAT, 1)).unwrap()];
    let measurement = stand.measurement.clone();
    stand.serve(&sealed, &measurement).unwrap();
    let settings = Settings {
        precision: "stored".to_owned(),
        ..Settings::new(&stand.broker, &stand.owner, &sealed).unwrap()
    };
    let served = Served::start(stand, &settings);
    let body = json!({"model": CHAT, "prompt": "What is Anchorhold?", "max_tokens": 8, "temperature": 0});
    let answer = || {
        let answer = served.post("/v1/completions", &body);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(answer["usage"]["prompt_tokens"].as_u64() > Some(3), "{answer}");
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    // Of noise, but the same noise.
    let first = answer();
    assert!(!first.is_empty());
    assert_eq!(answer(), first);
    let refused = served.post("/v1/chat/completions", &chat("The file has no chat template."));
    assert_eq!(refused.status, 400);
}

#[test]
fn evidence_is_fresh_for_each_nonce() {
    let served = Served::chat();
    let (first, second) = (Nonce::random().unwrap(), Nonce::random().unwrap());
    let (bytes, tls_key) = document(&served.guest, &first);
    let (other, _) = document(&served.guest, &second);
    let report = |bytes: &[u8]| Document::from_json(bytes).unwrap().evidence().report.clone();
    assert_ne!(report(&bytes), report(&other));
    let judge = |document: &[u8], nonce| {
        let presented = Presented { document, nonce, tls_key };
        verify_document(
            &presented,
            &Endorsements::default(),
            &simulated_anchors().unwrap(),
            &appraisal(&served.stand.measurement).unwrap(),
            now(),
        )
    };
    judge(&bytes, first).unwrap();
    judge(&other, second).unwrap();
    assert_eq!(judge(&bytes, second).unwrap_err().code(), "document_nonce");
}

#[test]
fn the_port_opens_when_the_model_is_loaded_and_not_before() {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    let relay = Relay::start(&stand.broker, Attack::Hold, stand.path()).unwrap();
    (settings.broker_url, settings.broker_certificate) = (relay.url.clone(), relay.certificate.clone());
    let address = free_address().unwrap();
    settings.listen = address.to_string();
    let directory = stand.path().join("guest");
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| Guest::start(&stand.programs, &directory, &settings, |_| {}));
        relay.wait_until_it_holds(SOON).unwrap();
        // The gateway has bound the address long ago; it does not listen.
        assert!(is_closed(&address));
        relay.go_on();
        let guest = starting.join().unwrap().unwrap().ready().unwrap();
        assert_eq!(guest.address, address.to_string());
        TcpStream::connect(address).unwrap();
    });
}

#[test]
fn a_stop_lets_running_answers_end() {
    let _turn = alone();
    let served = Served::chat();
    let paused = served.pause_worker(CHAT);
    let caller = wait(Caller::verify(&served.guest, &served.stand.measurement)).unwrap();
    let answer = crate::support::aside(async move {
        caller.post("/v1/chat/completions", &chat("What is sealed?")).await.unwrap()
    });
    until("the request runs", SOON, || (served.in_flight() == 1).then_some(()));
    let keeper = Pid::from_raw(i32::try_from(served.guest.keeper_pid()).unwrap()).unwrap();
    kill_process(keeper, Signal::TERM).unwrap();
    // It takes nothing new, while the one that runs goes on.
    until("the drain begins", SOON, || {
        let answer = wait(served.caller.get("/readyz"));
        answer.map_or(Some(()), |answer| (answer.status == 503).then_some(()))
    });
    drop(paused);
    assert_eq!(wait(answer).unwrap().status, 200);
    let entries = served.stop();
    let chats: Vec<_> = entries.iter().filter(|entry| entry["req"]["route"] == "chat.completions").collect();
    assert_eq!((chats.len(), &chats[0]["type"]), (1, &"infer.complete".into()));
    assert_eq!(entries.last().unwrap()["type"], "log.close");
}

#[test]
fn a_long_answer_streams_to_its_end() {
    let served = Served::chat();
    let stream = served.begin_stream(&long("Tell me about sealed weights.")).finish();
    assert!(stream.frames.done && stream.error.is_none());
    let entries = served.stop();
    let long = entries.iter().find(|entry| entry["req"]["route"] == "completions").unwrap();
    assert_eq!((long["req"]["tout"].as_u64(), long["req"]["stream"].as_bool()), (Some(16 * 400), Some(true)));
}
