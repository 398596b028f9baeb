//! `anchorhold-hostile-test`: puts a worker that was taken over into the guest's image and sees that every attempt of it is refused and
//! leaves its entry in the log, and that a guest with one still does its work. `make image-test` runs it.
//!
//! Every check is one line of standard output; the last line counts them.

use anchorhold_attester::software::simulated_ark_der;
use anchorhold_e2e::boot::{Deployment, Ended, Image};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::guest::{export_log, log_entries};
use anchorhold_e2e::models::EMBEDDING;
use anchorhold_e2e::process::Programs;
use anchorhold_image_builder::build::{Inputs, build};
use anchorhold_image_builder::lock::Lock;
use anchorhold_image_builder::table::{Flavour, Profile, Table};
use anyhow::{Context as _, ensure};
use clap::Parser;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Gives back what it found, in words.
type Check = fn(&Arguments, &Matrix) -> anyhow::Result<String>;
/// The system call of the flood: `socket`.
const FLOODING: u64 = 41;
const MATRIX: &str = "policies/cases/hostile.toml";
/// Which program lies in the image in the place of which.
type InPlaceOf<'a> = &'a [(&'a str, &'a str)];

/// Boots images whose worker was taken over.
#[derive(Debug, Parser)]
#[command(name = "anchorhold-hostile-test", version)]
struct Arguments {
    /// The folder of this repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// The folder of the built programs
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// anchorhold-guest-init, linked statically
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// The folder that enclave-image/kernel.sh made
    #[arg(long, value_name = "DIR")]
    kernels: PathBuf,
    /// The compiled SELinux policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The folder that enclave-image/tools.sh made
    #[arg(long, value_name = "DIR")]
    tools: PathBuf,
    /// The folder of fetched packages
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    attempt: Vec<Attempt>,
    serving: Vec<Serving>,
}

/// See the head of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serving {
    name: String,
    all: BTreeSet<String>,
    record: u64,
}

/// See the head of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    name: String,
    all: BTreeSet<String>,
    record: Option<u64>,
    selinux: BTreeSet<String>,
    #[serde(rename = "apparmor")]
    _apparmor: BTreeSet<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(passed) => {
            say(&format!("{passed} checks of the hostile worker passed"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nothing is left to tell it to when standard error is gone too.
            let _ = writeln!(std::io::stderr(), "anchorhold-hostile-test: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // A reader who left wants no more lines.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn run(arguments: &Arguments) -> anyhow::Result<usize> {
    let matrix: Matrix = toml::from_str(&std::fs::read_to_string(arguments.repository.join(MATRIX))?)?;
    let checks: [(&str, Check); 5] = [
        ("case 43: under SELinux alone", alone),
        ("case 43: under all layers, and in the log", logged),
        ("case 43: what it takes ends it alone, and is in the log", limited),
        ("case 43: a flood of refusals is in the log whole", flooded),
        ("case 43: the guest goes on", goes_on),
    ];
    for (name, check) in checks {
        let told = check(arguments, &matrix).with_context(|| name.to_owned())?;
        say(&format!("ok  {name}: {told}"));
    }
    Ok(checks.len())
}

/// An image in which some programs are others, with what is needed to boot it.
struct Stand {
    deployment: Deployment,
    // Holds the image as long as it is booted.
    _folder: tempfile::TempDir,
}

fn prepare(arguments: &Arguments, in_place_of: InPlaceOf<'_>) -> anyhow::Result<Stand> {
    let Arguments { repository, programs, init, kernels, policy, tools, cache } = arguments;
    let folder = tempfile::tempdir()?;
    let (mixed, out) = (folder.path().join("programs"), folder.path().join("image"));
    std::fs::create_dir(&mixed)?;
    for name in ["keeper", "gateway", "worker", "fetcher", "collector"] {
        let other = in_place_of.iter().find_map(|(place, other)| (*place == name).then_some(*other));
        let from = programs.join(format!("anchorhold-{}", other.unwrap_or(name)));
        std::fs::copy(&from, mixed.join(format!("anchorhold-{name}")))
            .with_context(|| from.display().to_string())?;
    }
    let table = Table::read(&repository.join("enclave-image/rootfs.toml"))?;
    let lock = Lock::read(&repository.join("enclave-image/image.lock"))?;
    build(&Inputs {
        table: &table,
        lock: &lock,
        flavour: Flavour::Demo,
        profile: Profile::Server,
        repository,
        programs: &mixed,
        init,
        kernels,
        policy: Some(policy),
        tools,
        cache,
        mirror: None,
        jobs: 2,
        out: &out,
    })?;
    let deployment = Deployment::prepare(&Image { folder: out, tools: tools.clone() })?;
    Ok(Stand { deployment, _folder: folder })
}

/// What attempts met, by their names, out of the lines that begin after `begin`.
fn met<'a>(text: &'a str, begin: Option<&str>) -> BTreeMap<&'a str, &'a str> {
    let after = text.lines().skip_while(|line| begin.is_some_and(|begin| *line != begin));
    let section = after.enumerate().take_while(|(at, line)| *at == 0 || !line.starts_with("under\t"));
    let attempts = section.filter_map(|(_, line)| line.strip_prefix("attempt\t"));
    attempts
        .filter_map(|line| {
            let mut words = line.split('\t');
            Some((words.next()?, words.next()?))
        })
        .collect()
}

/// Holds what was met against what `wanted` says of each attempt.
fn compare<'a>(
    matrix: &'a Matrix,
    met: &BTreeMap<&str, &str>,
    wanted: impl Fn(&'a Attempt) -> &'a BTreeSet<String>,
) -> anyhow::Result<()> {
    for attempt in &matrix.attempt {
        let Attempt { name, .. } = attempt;
        let outcome = *met.get(name.as_str()).with_context(|| format!("{name} was not tried"))?;
        let wanted = wanted(attempt);
        ensure!(wanted.contains(outcome), "{name}: met {outcome}, wanted one of {wanted:?}");
    }
    ensure!(met.len() == matrix.attempt.len(), "an attempt is not in {MATRIX}");
    Ok(())
}

/// In the place of the keeper stands a program that starts hostile workers as SELinux alone holds them, and as everything does.
fn alone(arguments: &Arguments, matrix: &Matrix) -> anyhow::Result<String> {
    let stand = prepare(arguments, &[("keeper", "hostile-worker"), ("worker", "hostile-worker")])?;
    let ended = boot_to_the_end(&stand.deployment)?;
    let words = &ended.words;
    compare(matrix, &met(words, Some("under\tselinux")), |attempt| &attempt.selinux)?;
    compare(matrix, &met(words, Some("under\tattempts")), |attempt| &attempt.all)?;
    ensure!(
        words.contains("context\tsystem_u:system_r:worker_t:s0:c3"),
        "the worker is in another domain: {words}"
    );
    compare_serving(matrix, words)?;
    ensure!(words.contains("active\tselinux"), "the worker does not know that SELinux holds it");
    let refused = matrix.attempt.iter().filter(|attempt| !attempt.selinux.contains("ALLOWED")).count();
    Ok(format!("{refused} of {} attempts refused in worker_t", matrix.attempt.len()))
}

/// As `compare`, for what it tries when it serves.
fn compare_serving(matrix: &Matrix, words: &str) -> anyhow::Result<()> {
    for Serving { name, all, .. } in &matrix.serving {
        let line = words.lines().find_map(|line| line.strip_prefix(&format!("serving\t{name}\t")));
        let outcome = line.and_then(|line| line.split('\t').next()).unwrap_or_default();
        ensure!(all.contains(outcome), "{name}, serving: met {outcome:?}, wanted one of {all:?}");
    }
    Ok(())
}

fn boot_to_the_end(deployment: &Deployment) -> anyhow::Result<Ended> {
    deployment.boot(&deployment.machine, |_| {})?.ended()
}

/// The worker tries everything and loads nothing, so the guest ends and hands out its log.
fn logged(arguments: &Arguments, matrix: &Matrix) -> anyhow::Result<String> {
    let stand = prepare(arguments, &[("worker", "hostile-quitter")])?;
    let ended = boot_to_the_end(&stand.deployment)?;
    let Ended { refusal, words, console, .. } = &ended;
    ensure!(refusal.by == "worker" && refusal.code == "hostile", "{refusal:?}\n{words}\n{console}");
    compare(matrix, &met(words, None), |attempt| &attempt.all)?;
    compare_serving(matrix, words)?;
    let entries = verified_entries(&stand, &ended)?;
    let of_worker =
        |entry: &&Value| word(entry, "/type") == "seccomp.denial" && word(entry, "/model/id") == EMBEDDING;
    let told: BTreeSet<u64> = entries
        .iter()
        .filter(of_worker)
        .filter_map(|entry| entry.pointer("/kernel/syscall")?.as_u64())
        .collect();
    for attempt in &matrix.attempt {
        let Some(call) = attempt.record else { continue };
        ensure!(told.contains(&call), "{}: no entry tells of system call {call}", attempt.name);
    }
    for Serving { name, record, .. } in &matrix.serving {
        ensure!(told.contains(record), "{name}, serving: no entry tells of system call {record}");
    }
    let is_in_domain = |entry: &Value| word(entry, "/kernel/source") == "worker_t";
    ensure!(
        entries.iter().filter(of_worker).all(is_in_domain),
        "an entry tells of another domain than worker_t"
    );
    nothing_foreign(&entries)?;
    Ok(format!(
        "{} attempts refused, {} entries of {} system calls, log verified",
        matrix.attempt.len(),
        entries.len(),
        told.len()
    ))
}

/// The entries of the one log that a guest handed out, which verifies by the measurement that was computed before the boot.
fn verified_entries(stand: &Stand, ended: &Ended) -> anyhow::Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    ended.write_logs(folder.path())?;
    let log = the_one_log(folder.path())?;
    verify(&log, &stand.deployment.measurement)?;
    log_entries(&log)
}

/// Nothing but the worker's attempts meets a filter or the policy, and no record of the kernel is lost: another entry would be a rule that is
/// missing, or a hole.
fn nothing_foreign(entries: &[Value]) -> anyhow::Result<()> {
    let of_kernel = ["selinux.denial", "selinux.mode", "seccomp.denial", "seccomp.kill", "kernel.lost"];
    let is_foreign = |entry: &&Value| {
        let kind = word(entry, "/type");
        // The one policy of the guest, told when the collector began to hear.
        let is_policy = kind == "selinux.mode" && word(entry, "/code") == "policy_loaded";
        of_kernel.contains(&kind)
            && !is_policy
            && !(kind == "seccomp.denial" && word(entry, "/model/id") == EMBEDDING)
    };
    let foreign: Vec<_> = entries.iter().filter(is_foreign).collect();
    ensure!(foreign.is_empty(), "something was told that is not the worker's doing: {foreign:?}");
    Ok(())
}

/// The worker takes threads until none is given and memory until it is ended. Its control group is met, and nobody else.
fn limited(arguments: &Arguments, _: &Matrix) -> anyhow::Result<String> {
    let stand = prepare(arguments, &[("worker", "hostile-glutton")])?;
    let ended = boot_to_the_end(&stand.deployment)?;
    let Ended { refusal, words, console, .. } = &ended;
    ensure!(refusal.code == "worker_lost", "{refusal:?}\n{words}\n{console}");
    ensure!(!words.contains("ALLOWED"), "it was given all that it asked for: {words}");
    let entries = verified_entries(&stand, &ended)?;
    for code in ["memory", "pids"] {
        let is_told = |entry: &Value| {
            word(entry, "/type") == "worker.limit"
                && word(entry, "/code") == code
                && word(entry, "/model/id") == EMBEDDING
        };
        ensure!(entries.iter().any(is_told), "no entry tells that the worker met its limit of {code}");
    }
    nothing_foreign(&entries)?;
    Ok("threads refused, ended for memory, keeper and log went on".to_owned())
}

/// The worker is refused as fast as it can, and then quits: every refusal is counted, and none is lost.
fn flooded(arguments: &Arguments, _: &Matrix) -> anyhow::Result<String> {
    let stand = prepare(arguments, &[("worker", "hostile-flood")])?;
    let ended = boot_to_the_end(&stand.deployment)?;
    let Ended { words, console, .. } = &ended;
    let made = words.lines().find_map(|line| line.strip_prefix("flood\t")?.parse::<u64>().ok());
    let made = made.with_context(|| format!("the worker did not flood: {words}\n{console}"))?;
    let entries = verified_entries(&stand, &ended)?;
    let of_flood = |entry: &&Value| {
        word(entry, "/type") == "seccomp.denial" && entry.pointer("/kernel/syscall") == Some(&FLOODING.into())
    };
    let counts = entries.iter().filter(of_flood).filter_map(|entry| entry.pointer("/kernel/count")?.as_u64());
    let told: u64 = counts.sum();
    nothing_foreign(&entries)?;
    ensure!(told == made, "{made} refusals were made and {told} told");
    let limit = entries.iter().any(|entry| word(entry, "/type") == "worker.limit");
    Ok(format!("{told} refusals in {} entries, none lost; ended for them: {limit}", entries.len()))
}

/// A text of an entry by its JSON pointer; empty if there is none.
fn word<'a>(entry: &'a Value, pointer: &str) -> &'a str {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn the_one_log(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut logs =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let log = logs.pop().context("the guest handed out no log")?;
    ensure!(logs.is_empty(), "the guest handed out {} logs", logs.len() + 1);
    Ok(log)
}

/// Exports the log as an auditor gets it, and has the command line verify that by the measurement that was computed before the boot.
fn verify(log: &Path, measurement: &str) -> anyhow::Result<()> {
    let programs = Programs::beside_this_one()?;
    let (bundle, root) = (log.with_extension("tar"), log.with_extension("der"));
    std::fs::write(&root, simulated_ark_der())?;
    ensure!(export_log(&programs, log, &bundle)?.status.success(), "the log was not exported");
    let trust: [&dyn AsRef<std::ffi::OsStr>; 4] =
        [&"--measurement", &measurement, &"--dangerous-simulated-root", &root];
    let words = [&"audit" as &dyn AsRef<std::ffi::OsStr>, &"verify", &bundle].into_iter().chain(trust);
    let output = programs.output("anchorhold", &words.collect::<Vec<_>>())?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the log does not verify: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The worker tries everything and then works: a guest with one in it is attested and answers.
fn goes_on(arguments: &Arguments, _: &Matrix) -> anyhow::Result<String> {
    let stand = prepare(arguments, &[("worker", "hostile-worker")])?;
    let booted = stand.deployment.boot(&stand.deployment.machine, |_| {})?.ready()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let vectors = runtime.block_on(async {
        let caller = Caller::verify_at(&booted.url, &booted.api_key, &stand.deployment.measurement).await?;
        caller.embed(EMBEDDING, &["Does it still work?"]).await
    })?;
    ensure!(vectors.first().map_or(0, Vec::len) == 384, "no vector of 384 numbers");
    Ok("attested, released, embedded".to_owned())
}
