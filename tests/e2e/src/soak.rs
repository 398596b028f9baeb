//! Many callers who stream and leave as they like, for as long as wanted: memory stays flat, no place is lost, and every answer that is
//! read to its end is the one that its prompt always has.

use crate::client::{Caller, Frames};
use crate::guest::{Guest, Settings};
use crate::models::CHAT;
use crate::refusals::Stand;
use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two looks at the memory of the processes.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last requests may take to be forgotten.
const SETTLE: Duration = Duration::from_secs(30);
/// After a refusal, so that a full server is asked again later.
const PAUSE: Duration = Duration::from_millis(5);
const PROMPTS: u64 = 48;
const MAX_TOKENS: u64 = 48;
/// Caches fill for about so long; a shorter run says nothing about memory.
const FILLS: Duration = Duration::from_secs(60);
/// Growth of a process over the run that is no sign of a leak: allocators keep some memory for later.
const GROWTH: f64 = 1.05;
const GROWTH_KIB: u64 = 8 * 1024;

/// What is asked of a soak.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Callers at one time.
    pub clients: u32,
    /// How long they go on.
    pub time: Duration,
    /// The beginning of chance.
    pub seed: u64,
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Answers that were read to their end.
    pub whole: u64,
    /// Answers whose caller left: before the first word, or after some.
    pub left: u64,
    /// Refused because as many were under way as may be.
    pub refused: u64,
    /// Different questions whose answers were compared.
    pub questions: usize,
    /// By process, in KiB.
    pub memory: BTreeMap<&'static str, Memory>,
}

/// The resident memory of one process, in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// The median of the second tenth of the run.
    pub early: u64,
    /// The median of the last tenth.
    pub late: u64,
    /// The most.
    pub most: u64,
}

impl Memory {
    fn of(samples: &[u64]) -> Self {
        let tenth = |number: usize| {
            let len = samples.len();
            let mut part =
                samples.get(len * number / 10..len * (number + 1) / 10).unwrap_or_default().to_vec();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or_default()
        };
        Self { early: tenth(1), late: tenth(9), most: samples.iter().copied().max().unwrap_or_default() }
    }

    fn is_flat(self) -> bool {
        let most = self.early as f64 * GROWTH + GROWTH_KIB as f64;
        self.late as f64 <= most
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// The answers so far, by question.
type Answers = Arc<Mutex<BTreeMap<(u64, u64), String>>>;

/// Runs a deployment and its callers; `show` is told how far it is.
///
/// # Errors
/// An answer differed, a stream broke, a place was lost, or a process grew in a run of more than a minute.
pub fn run(soak: Soak, mut show: impl FnMut(&Outcome)) -> anyhow::Result<Outcome> {
    let mut stand = Stand::new()?;
    let settings = stand.with_chat()?;
    let guest = stand.start(&settings)?.ready()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(soak_guest(soak, &stand, &settings, &guest, &mut show))?;
    drop(runtime);
    guest.stop()?;
    Ok(outcome)
}

async fn soak_guest(
    soak: Soak,
    stand: &Stand,
    settings: &Settings,
    guest: &Guest,
    show: &mut impl FnMut(&Outcome),
) -> anyhow::Result<Outcome> {
    let url = format!("https://{}", guest.address);
    let mut callers = Vec::new();
    for number in 0..soak.clients {
        let key = if number % 2 == 0 { &settings.api_key } else { &settings.other_key };
        callers.push(Arc::new(Caller::verify_at(&url, key, &stand.measurement).await?));
    }
    let watched = [
        ("gateway", guest.gateway_pid().context("no gateway")?),
        ("keeper", i32::try_from(guest.keeper_pid())?),
        ("worker", guest.worker_pid(CHAT).context("no worker")?),
    ];
    let (answers, counts) = (Answers::default(), Arc::new(Mutex::new(Outcome::default())));
    let end = Instant::now() + soak.time;
    let mut tasks = JoinSet::new();
    for (number, caller) in (1..).zip(&callers) {
        let chance = Chance(soak.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let (caller, answers, counts) = (Arc::clone(caller), Arc::clone(&answers), Arc::clone(&counts));
        tasks.spawn(async move { ask_until(end, &caller, chance, &answers, &counts).await });
    }
    let mut samples: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    while Instant::now() < end {
        // One that fails ends the run at once.
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
        for (name, pid) in watched {
            samples.entry(name).or_default().push(resident_kib(pid)?);
        }
        show(&lock(&counts));
        tokio::time::sleep(LOOK).await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    check_places(&callers).await?;
    let mut outcome = std::mem::take(&mut *lock(&counts));
    outcome.questions = lock(&answers).len();
    outcome.memory = samples.iter().map(|(name, samples)| (*name, Memory::of(samples))).collect();
    for (name, memory) in &outcome.memory {
        ensure!(soak.time < FILLS || memory.is_flat(), "{name} grew: {memory:?}");
    }
    Ok(outcome)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whoever panics while it holds one ends the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One caller: asks, and reads the answer or leaves, until it is time.
async fn ask_until(
    end: Instant,
    caller: &Caller,
    mut chance: Chance,
    answers: &Answers,
    counts: &Mutex<Outcome>,
) -> anyhow::Result<()> {
    while Instant::now() < end {
        let question = (chance.below(PROMPTS), 1 + chance.below(MAX_TOKENS));
        // A third leaves: half of those before the first word.
        let leaves_after = match chance.below(6) {
            0 => Some(0),
            1 => Some(1 + chance.below(question.1)),
            _ => None,
        };
        match ask(caller, question, leaves_after).await? {
            Answer::Refused => {
                lock(counts).refused += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Answer::Left => lock(counts).left += 1,
            Answer::Whole(text) => {
                lock(counts).whole += 1;
                let mut answers = lock(answers);
                let first = answers.entry(question).or_insert_with(|| text.clone());
                ensure!(*first == text, "{question:?} answered {first:?}, then {text:?}");
            }
        }
    }
    Ok(())
}

enum Answer {
    Refused,
    Left,
    Whole(String),
}

/// A request whose answer is fixed by these two numbers. Prompts begin alike in groups of eight.
fn body((prompt, max_tokens): (u64, u64)) -> Value {
    let (common, own) = (prompt / 8, prompt % 8);
    let prompt = format!("{}Question {own}: why?", format!("Story {common} goes on and on. ").repeat(6));
    json!({
        "model": CHAT, "stream": true, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": true,
        "messages": [{"role": "user", "content": prompt}],
    })
}

/// Asks once; leaves when so many events have come.
async fn ask(caller: &Caller, question: (u64, u64), leaves_after: Option<u64>) -> anyhow::Result<Answer> {
    let body = body(question);
    let asking = caller.stream("/v1/chat/completions", &body);
    let mut streaming = match leaves_after {
        // Within a moment that is shorter or longer than the answer takes to begin.
        Some(0) => match tokio::time::timeout(PAUSE, asking).await {
            Err(_) => return Ok(Answer::Left),
            Ok(streaming) => streaming?,
        },
        _ => asking.await?,
    };
    if matches!(streaming.status.as_u16(), 429 | 503) {
        return Ok(Answer::Refused);
    }
    ensure!(streaming.status.is_success(), "status {}", streaming.status);
    let (mut frames, mut text, mut events) = (Frames::default(), String::new(), 0);
    while let Some(piece) = streaming.next_piece().await? {
        for event in frames.push(&piece) {
            ensure!(event.get("error").is_none(), "the stream ended with {event}");
            text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            events += 1;
        }
        if leaves_after.is_some_and(|most| events >= most) && !frames.done {
            return Ok(Answer::Left);
        }
    }
    ensure!(frames.done, "a stream ended without [DONE]");
    Ok(Answer::Whole(text))
}

/// Waits until nothing is under way, then asks with all callers at once: every place must be there.
async fn check_places(callers: &[Arc<Caller>]) -> anyhow::Result<()> {
    let first = callers.first().context("no callers")?;
    let end = Instant::now() + SETTLE;
    while in_flight(first).await? > 0 {
        ensure!(Instant::now() < end, "places are still taken when nobody asks");
        tokio::time::sleep(PAUSE).await;
    }
    let mut tasks = JoinSet::new();
    for caller in callers {
        let caller = Arc::clone(caller);
        tasks.spawn(async move { ask(&caller, (0, MAX_TOKENS), None).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ensure!(matches!(ended??, Answer::Whole(_)), "a place was lost");
    }
    Ok(())
}

async fn in_flight(caller: &Caller) -> anyhow::Result<u64> {
    let metrics = caller.get("/metrics").await?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("anchorhold_requests_in_flight "));
    Ok(line.context("no such metric")?.parse()?)
}

fn resident_kib(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
