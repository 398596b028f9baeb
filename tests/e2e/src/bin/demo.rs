//! `anchorhold-demo`: the main job from sealing to an attested answer, on one machine.
//!
//! `make demo` runs it once, `make run` stays up (`--stay`), `make demo-refuse` shows what is refused (`--refuse`).

#[path = "demo/refusals.rs"]
mod refusals;
#[path = "demo/show.rs"]
mod show;

use anchorhold_e2e::client::{Caller, cosine};
use anchorhold_e2e::guest::{Guest, Settings, Start};
use anchorhold_e2e::models::{self, CHAT, EMBEDDING};
use anchorhold_e2e::refusals::Stand;
use anyhow::{bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use show::Show;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SENTENCES: [&str; 3] = [
    "The nurse checked the patient's heart rate.",
    "A doctor measured the pulse of the sick man.",
    "The stock market fell sharply on Monday.",
];
const QUESTION: &str = "What is Anchorhold?";
/// Where `make run` listens.
const LISTEN: &str = "127.0.0.1:8443";

/// Seals two models, starts key broker and guest, verifies the guest as a client would, and asks both models.
#[derive(Debug, Parser)]
#[command(name = "anchorhold-demo", version)]
#[command(
    after_help = "Example:\n  anchorhold-demo --json stages.json\n\nExit: 0 after the answers, 1 with the reason."
)]
struct Arguments {
    /// Stay up on https://127.0.0.1:8443 until interrupted
    #[arg(long)]
    stay: bool,
    /// Listen there instead, such as 127.0.0.1:0 for any port
    #[arg(long, value_name = "ADDRESS", requires = "stay")]
    listen: Option<String>,
    /// Write URL, keys, certificate and process ids of the server as JSON once it answers
    #[arg(long, value_name = "FILE", requires = "stay")]
    access: Option<PathBuf>,
    /// Show the same start refused, one line for each reason
    #[arg(long, conflicts_with = "stay")]
    refuse: bool,
    /// After the answers, ask so many requests more, of 16 sentences each, and say how many sentences a second come back
    #[arg(long, value_name = "REQUESTS", conflicts_with = "refuse")]
    rate: Option<u32>,
    /// Write the stage times as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut show = Show::new();
    let outcome = if arguments.refuse { refusals::run(&show) } else { run(&arguments, &mut show) };
    if let Err(error) = outcome {
        show.error(&error);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments, show: &mut Show) -> anyhow::Result<()> {
    show.banner();
    let minilm = show.stage("fetch", "all-MiniLM-L6-v2, pinned by version and hash", models::embedding)?;
    let mut stand = Stand::new()?;
    let sources = [(EMBEDDING, minilm), (CHAT, models::chat())];
    let mut packages = Vec::new();
    for (id, source) in &sources {
        let sealed =
            show.stage("seal", &format!("{id} under the owner's key"), || stand.seal(source, (id, 1)))?;
        packages.push(sealed);
    }
    let measurement = stand.measurement.clone();
    show.stage("broker", "key broker with the owner's release policy", || {
        stand.serve(&packages, &measurement)
    })?;
    let mut settings = Settings::new(&stand.broker, &stand.owner, &packages)?;
    settings.witnessed = Some((60, 300));
    if arguments.stay {
        settings.listen = arguments.listen.clone().unwrap_or_else(|| LISTEN.to_owned());
    }
    let guest = match Guest::start(&stand.programs, stand.path(), &settings, |stage| show.guest_stage(stage))?
    {
        Start::Ready(guest) => guest,
        Start::Refused(refusal) => bail!("{} refused: {}: {}", refusal.by, refusal.code, refusal.text),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let caller = runtime.block_on(ask(show, &guest, &stand.measurement))?;
    let rate = arguments.rate.map(|requests| runtime.block_on(caller.embedding_rate(EMBEDDING, requests)));
    let rate = rate.transpose()?;
    if let Some(rate) = rate {
        show.detail(&format!("{rate:.2} sentences a second"));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&show.to_json(rate))? + "\n")?;
    }
    if arguments.stay {
        show.invitation(&guest, &stand, &settings);
        if let Some(path) = &arguments.access {
            write_access(path, &guest, &settings)?;
        }
        wait_for_interrupt(&runtime)?;
        show.line("stopping");
    }
    guest.stop()
}

/// Writes what another program needs to call this server. The file is whole as soon as it is there.
fn write_access(path: &Path, guest: &Guest, settings: &Settings) -> anyhow::Result<()> {
    let access = json!({
        "url": format!("https://{}", guest.address),
        "key": settings.api_key,
        "other_key": settings.other_key,
        "certificate": guest.certificate,
        "chat_model": CHAT,
        "embedding_model": EMBEDDING,
        "gateway_pid": guest.gateway_pid(),
    });
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, serde_json::to_string_pretty(&access)? + "\n")?;
    Ok(std::fs::rename(unfinished, path)?)
}

/// What a client does: verify, then ask.
async fn ask(show: &mut Show, guest: &Guest, measurement: &str) -> anyhow::Result<Caller> {
    show.begin();
    let caller = Caller::verify(guest, measurement).await?;
    let checks = caller.server.result().checks().all().len();
    show.end(
        "verify",
        &format!("the server as a client would: {checks} checks passed, simulated root named"),
    );
    show.begin();
    let vectors = caller.embed(EMBEDDING, &SENTENCES).await?;
    show.end("embed", "three sentences over HTTPS to the attested key");
    let [first, second, third] = vectors.as_slice() else {
        bail!("{} vectors for 3 sentences", vectors.len())
    };
    for (text, left, right) in
        [("1 and 2", first, second), ("1 and 3", first, third), ("2 and 3", second, third)]
    {
        show.detail(&format!("similarity of {text}: {:.4}", cosine(left, right)));
    }
    ensure!(
        cosine(first, second) > cosine(first, third),
        "the two sentences about hearts are less alike than heart and stock market"
    );
    show.begin();
    show.detail(&format!("asked: {QUESTION}"));
    let answer = caller.chat(CHAT, QUESTION, |piece| show.piece(piece)).await?;
    show.end_of_pieces();
    show.end("chat", &format!("{} characters streamed", answer.chars().count()));
    ensure!(!answer.trim().is_empty(), "the chat model said nothing");
    Ok(caller)
}

fn wait_for_interrupt(runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// A number out of a stage, for showing.
fn number(stage: &Value, key: &str) -> f64 {
    stage[key].as_f64().unwrap_or_default()
}
