//! The command line of both brokers. They differ only in the trust anchors that they bring.

mod kek;
mod sources;

use self::kek::{Asked, KekCommand, KekOptions};
use crate::admin;
use crate::anchor::{Anchor, witnesses_from_file};
use crate::broker::{self, Beginning, Broker, NewPolicy, Replaces, Surroundings};
use crate::endorser::Fetched;
use crate::kek_admin::{self, ShareOrder};
use crate::layout::Layout;
use crate::router::router;
use crate::secrets::{Secrets, Tls};
use anchorhold_audit_log::{EventType, Stamp};
use anchorhold_channel::{server, tls};
use anchorhold_dsse::MAX_ENVELOPE_BYTES;
use anchorhold_kbs::MAX_RESOURCE_BYTES;
use anchorhold_key_release::{MAX_IMPORT_BYTES, MAX_POLICY_BYTES, Revoked, SignerSet};
use anchorhold_rats::Timestamp;
use anchorhold_verifier::TrustAnchors;
use anchorhold_witnesses::Witnesses;
use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustls::pki_types::PrivateKeyDer;
use sources::Sources;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

/// How long a broker waits for its witnesses before it starts, when too few answer.
const WITNESS_WAIT: Duration = Duration::from_secs(30);
const WITNESS_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at what the backends of key-encryption keys need.
const KEK_UPKEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(version, about = "Releases weights keys to attested guests")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct StateFolder {
    /// Folder of the broker's state; one broker at a time may have it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Make a state with fresh keys; prints the public ones as JSON. It lies in the folder, or in the PostgreSQL database that
    /// a store.toml there describes
    Init {
        #[command(flatten)]
        folder: StateFolder,
        /// DNS name or IP address of the TLS certificate; may be given several times
        #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
        names: Vec<String>,
        /// Who may sign release policies: a signer set, TOML. A broker of real guests must have one
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
        #[command(flatten)]
        kek: Box<KekOptions>,
    },
    /// Join a broker that keeps its state in a database: needs its store.toml, its kek.toml and its keys in the folder
    Join {
        #[command(flatten)]
        folder: StateFolder,
    },
    /// Take a weights key from the file that its owner made for this broker
    Import {
        #[command(flatten)]
        folder: StateFolder,
        /// The import file
        file: PathBuf,
    },
    /// Put a release policy in force; it names the one whose place it takes and is of a higher version
    Policy {
        #[command(flatten)]
        folder: StateFolder,
        /// The policy as `anchorhold policy assemble` made it, or its TOML where the broker has no signers
        file: PathBuf,
        /// Digest of the policy in force, as `status` shows it; `none` where there is none yet
        #[arg(long, value_name = "DIGEST", value_parser = replaces)]
        replaces: Replaces,
        /// The Cedar policies that it names
        #[arg(long, value_name = "FILE")]
        cedar: Option<PathBuf>,
    },
    /// Put other signers of release policies in the place of those that there are, as those have signed
    Signers {
        #[command(flatten)]
        folder: StateFolder,
        /// The signer set as `anchorhold policy assemble` made it
        file: PathBuf,
    },
    /// Ask a release policy about the decisions in the log, rules about machines included; prints JSON
    Backtest {
        #[command(flatten)]
        folder: StateFolder,
        /// The policy, TOML
        file: PathBuf,
        /// Only decisions from this time on, such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
    },
    /// Revoke a key, manifest, image, processor, platform or device at once; no policy file takes it back
    Revoke {
        #[command(flatten)]
        folder: StateFolder,
        /// What it is
        #[arg(value_parser = PossibleValuesParser::new(Revoked::KINDS))]
        kind: String,
        /// Which one, as a policy names it
        name: String,
    },
    /// Witness the log of another broker; prints nothing but what it witnesses
    Witness {
        #[command(flatten)]
        folder: StateFolder,
        /// The log's verifier key, as `init` prints it
        log_key: String,
    },
    /// Keep secrets that Confidential Containers' guests ask for by name over the KBS protocol
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Show the policy, the leases, the revocations and the log's size as JSON
    Status {
        #[command(flatten)]
        folder: StateFolder,
    },
    /// Write the broker's own audit log
    Log {
        #[command(flatten)]
        folder: StateFolder,
        /// An evidence bundle for `anchorhold audit verify` goes to this file; entries go to stdout without it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Look after the keys under which everything secret is wrapped
    #[command(subcommand)]
    Kek(KekCommand),
    /// Answer guests over HTTPS
    Serve(Box<Serve>),
}

#[derive(Subcommand)]
enum ResourceCommand {
    /// Keep a resource, in place of any of that name
    Add {
        #[command(flatten)]
        folder: StateFolder,
        /// Its name, such as repository/type/tag; only guests that a grant of it takes get it
        name: String,
        /// Its content, at most 256 KiB
        file: PathBuf,
    },
    /// Take a resource away
    Remove {
        #[command(flatten)]
        folder: StateFolder,
        /// Its name
        name: String,
    },
    /// Show the names of all resources as JSON
    List {
        #[command(flatten)]
        folder: StateFolder,
    },
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    folder: StateFolder,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Policy to put in force on SIGHUP in the place of whichever is in force; otherwise as the policy command does
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Witnesses of the broker's log, TOML: `needed = N` and, for each, `[[witness]]` with key, url and certificate. The
    /// broker does not start on a state older than they know, and no key leaves before they have cosigned its entry
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
    /// Print one JSON line with the address when the port is open
    #[arg(long)]
    print_ready: bool,
}

/// Runs the command line of the program `name` with `anchors`.
#[must_use]
pub fn run(name: &str, anchors: TrustAnchors) -> ExitCode {
    let arguments = Arguments::parse();
    match keep_memory_private().and_then(|()| execute(arguments.command, anchors)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps what is in memory, keys above all, out of core files and from other processes of the same user. Not from swap, and not
/// from root.
fn keep_memory_private() -> anyhow::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("no core file")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("not dumpable")
}

fn execute(command: Command, anchors: TrustAnchors) -> anyhow::Result<()> {
    let (folder, command) = match command {
        Command::Init { folder, names, signers, kek } => {
            let signers = signers.as_deref().map(signer_set).transpose()?;
            anyhow::ensure!(
                signers.is_some() || anchors.are_simulated(),
                "a broker of real guests needs --signers: without, whoever has its state could release every key"
            );
            return init(&Layout::of(&folder.state), (&names, signers.as_ref()), *kek, anchors);
        }
        Command::Join { folder } => return print(&join(&Layout::of(&folder.state), anchors)?),
        Command::Kek(command) => match command.asked()? {
            Asked::Broker(folder, request) => (folder, admin::Command::Kek(request)),
            Asked::Rewrap(folder) => return print(&kek::rewrap(&Layout::of(&folder.state), anchors)?),
            Asked::Recover(folder, id, shares) => {
                kek_admin::recover(&folder.state, &id, &shares)?;
                return print(&serde_json::json!({ "done": "recover", "id": id }));
            }
        },
        Command::Serve(serve) => {
            return tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?
                .block_on(listen(*serve, anchors));
        }
        Command::Backtest { folder, file, since } => {
            let command = admin::Command::Backtest { policy: text(&file)?, since };
            let mut out = std::io::stdout().lock();
            administer(&Layout::of(&folder.state), command, anchors, &mut out)?;
            return Ok(out.flush()?);
        }
        Command::Log { folder, out } => {
            return write_log(&Layout::of(&folder.state), out.as_deref(), anchors);
        }
        Command::Import { folder, file } => (folder, admin::Command::Import(read(&file, MAX_IMPORT_BYTES)?)),
        Command::Policy { folder, file, replaces, cedar } => {
            let cedar = cedar.as_deref().map(text).transpose()?;
            (folder, admin::Command::Policy { file: read(&file, MAX_ENVELOPE_BYTES)?, cedar, replaces })
        }
        Command::Signers { folder, file } => {
            (folder, admin::Command::Signers(read(&file, MAX_ENVELOPE_BYTES)?))
        }
        Command::Revoke { folder, kind, name } => {
            let command = admin::Command::Revoke(kind.clone(), name);
            let told = administer(&Layout::of(&folder.state), command, anchors, &mut std::io::sink())?;
            if told.get("held") == Some(&false.into()) {
                tell(&format!("warning: no key of this {kind} is here: is the name right?"));
            }
            return print(&told);
        }
        Command::Witness { folder, log_key } => (folder, admin::Command::Witness(log_key)),
        Command::Resource(ResourceCommand::Add { folder, name, file }) => {
            (folder, admin::Command::AddResource(name, read(&file, MAX_RESOURCE_BYTES)?))
        }
        Command::Resource(ResourceCommand::Remove { folder, name }) => {
            (folder, admin::Command::RemoveResource(name))
        }
        Command::Resource(ResourceCommand::List { folder }) => (folder, admin::Command::Resources),
        Command::Status { folder } => (folder, admin::Command::Status),
    };
    print(&administer(&Layout::of(&folder.state), command, anchors, &mut std::io::sink())?)
}

/// Has the serving broker do it, or does it on the state when none serves.
fn administer(
    layout: &Layout,
    command: admin::Command,
    anchors: TrustAnchors,
    out: &mut dyn std::io::Write,
) -> anyhow::Result<serde_json::Value> {
    if let Some(value) = admin::ask(&layout.admin_socket(), &command, out)? {
        return Ok(value);
    }
    Ok(admin::execute(&open(layout, anchors)?, command, out)?)
}

/// The broker on a state that nobody serves.
fn open(layout: &Layout, anchors: TrustAnchors) -> anyhow::Result<Broker> {
    Ok(Broker::open(layout, anchors, Witnesses::none().quorum().clone(), surroundings())?)
}

fn write_log(layout: &Layout, out: Option<&Path>, anchors: TrustAnchors) -> anyhow::Result<()> {
    let Some(path) = out else {
        administer(layout, admin::Command::Entries, anchors, &mut std::io::stdout().lock())?;
        return Ok(());
    };
    let mut file = std::fs::File::create_new(path).with_context(|| path.display().to_string())?;
    let written = administer(layout, admin::Command::Export, anchors, &mut file).and_then(|value| {
        file.sync_all()?;
        Ok(value)
    });
    match written {
        Ok(value) => print(&value),
        Err(error) => {
            // Half a bundle is none; if it cannot be removed, verifying it says so.
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

fn init(
    layout: &Layout,
    (names, signers): (&[String], Option<&SignerSet>),
    kek: KekOptions,
    anchors: TrustAnchors,
) -> anyhow::Result<()> {
    let (kek, origin, order) = kek.written()?;
    let scheme = order.as_ref().map(ShareOrder::scheme).transpose()?;
    let made = tls::SelfSigned::generate(names)?;
    let key = Zeroizing::new(made.key.secret_der().to_vec());
    let secrets = Secrets::generate(Tls { key, certificate: made.certificate_pem().to_owned() })?;
    let beginning = Beginning { secrets: &secrets, signers, at: (surroundings().clock)() };
    let shares = broker::set_up_under(layout, &kek, (origin, scheme), &beginning)?;
    let shares = order.map(|order| order.write(kek.id(), &shares)).transpose().context("shares")?;
    let mut public = join(layout, anchors)?;
    if let Some(public) = public.as_object_mut() {
        public.insert("kek".to_owned(), serde_json::to_value(kek.id())?);
        public.insert("shares".to_owned(), serde_json::to_value(shares.unwrap_or_default())?);
    }
    print(&public)
}

/// Writes the certificate for guests to pin, and gives the public keys.
fn join(layout: &Layout, anchors: TrustAnchors) -> anyhow::Result<serde_json::Value> {
    let broker = open(layout, anchors)?;
    std::fs::write(layout.certificate(), broker.tls_certificate()).context("tls certificate")?;
    let chain = tls::certificates_from_pem(broker.tls_certificate().as_bytes())?;
    let certificate = chain.first().context("tls certificate")?;
    Ok(serde_json::json!({
        "signing_key": broker.signing_key().public_key(),
        "signing_key_id": broker.signing_key().key_id(),
        "import_key": broker.import_key().public_key(),
        "log_key": broker.ledger().key().to_string(),
        "witness_key": broker.cosigner().key().to_string(),
        "signers": broker.status()?.signers.map(|(_, _, digest)| digest),
        "token_keys": serde_json::from_str::<serde_json::Value>(&broker.token_keys())?,
        "tls_key": tls::tls_key_of(certificate)?,
        "tls_certificate": layout.certificate(),
    }))
}

/// Reads a file of at most `limit_bytes` bytes.
fn read(path: &Path, limit_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let shown = || path.display().to_string();
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit_bytes)?;
    std::fs::File::open(path)
        .with_context(shown)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(shown)?;
    anyhow::ensure!(bytes.len() <= limit_bytes, "{} is over {limit_bytes} bytes", path.display());
    Ok(bytes)
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path, MAX_POLICY_BYTES)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn signer_set(path: &Path) -> anyhow::Result<SignerSet> {
    SignerSet::from_toml(&text(path)?).with_context(|| path.display().to_string())
}

fn replaces(text: &str) -> Result<Replaces, &'static str> {
    if text == "none" {
        return Ok(Replaces::Nothing);
    }
    text.parse().map(Replaces::Digest).map_err(|_| "wanted a SHA-256 digest in hex, or none")
}

fn print(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "key broker: {text}");
}

fn surroundings() -> Surroundings {
    let start = Instant::now();
    let clock = move || {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp {
            wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
            mono_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    };
    Surroundings { clock: Arc::new(clock), report: Arc::new(tell), endorser: None }
}

async fn listen(serve: Serve, anchors: TrustAnchors) -> anyhow::Result<()> {
    let layout = Layout::of(&serve.folder.state);
    // Named wrongly it would be missed only at SIGHUP, when the policy is needed.
    if let Some(policy) = &serve.policy {
        read(policy, MAX_ENVELOPE_BYTES).context("--policy")?;
    }
    let witnesses = serve.witnesses.as_deref().map_or_else(|| Ok(Witnesses::none()), witnesses_from_file)?;
    let mut around = surroundings();
    if let Some(folder) = &serve.sources.endorsements {
        let runtime = tokio::runtime::Handle::current();
        let fetched = Fetched::open(serve.sources.config(), folder, runtime, Arc::clone(&around.report));
        around.endorser = Some(Arc::new(fetched.context("endorsements")?));
    }
    let opened = (layout.clone(), witnesses.quorum().clone(), around.clone());
    let broker = tokio::task::spawn_blocking(move || Broker::open(&opened.0, anchors, opened.1, opened.2));
    let broker = Arc::new(broker.await??);
    let chain = tls::certificates_from_pem(broker.tls_certificate().as_bytes())?;
    let key = PrivateKeyDer::try_from(broker.tls_key().to_vec());
    let config = tls::server_config(chain, key.map_err(|why| anyhow::anyhow!("tls key: {why}"))?)?;
    log_start(&broker, EventType::BootStart).await?;
    if witnesses.quorum().needed() > 0 {
        let clock = Arc::clone(&around.clock);
        let seconds = move || u64::try_from(clock().wall_ns / 1_000_000_000).unwrap_or(0);
        let witnesses = witnesses.with_clock(Arc::new(seconds));
        let mut anchor = Anchor::new(Arc::clone(&broker), witnesses);
        wait_for_witnesses(&mut anchor).await?;
        tokio::spawn(anchor.run(Arc::clone(&around.clock)));
    }
    let listener = tokio::net::TcpListener::bind(serve.listen).await.context("listen address")?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let commands = admin::listen(&layout.admin_socket()).context("admin socket")?;
    let (operated, folder) = (Arc::clone(&broker), layout.folder().to_owned());
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || admin::serve(&commands, &operated, &folder))?;
    if serve.print_ready {
        print(&serde_json::json!({ "listening": listener.local_addr()? }))?;
    }
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let reloads = tokio::spawn(reload(Arc::clone(&broker), hangup, serve.policy));
    let upkeep = tokio::spawn(kek_upkeep(Arc::clone(&broker)));
    server::serve(listener, config, router(Arc::clone(&broker)), server::Limits::default(), shutdown).await;
    reloads.abort();
    upkeep.abort();
    // The next program finds a socket that nobody answers on and replaces it.
    let _ = std::fs::remove_file(layout.admin_socket());
    log_start(&broker, EventType::BootStop).await
}

async fn log_start(broker: &Arc<Broker>, kind: EventType) -> anyhow::Result<()> {
    let broker = Arc::clone(broker);
    Ok(tokio::task::spawn_blocking(move || broker.log_start(kind)).await??)
}

/// Has the state's head cosigned before the port opens. A state older than a witness knows is never served.
async fn wait_for_witnesses(anchor: &mut Anchor) -> anyhow::Result<()> {
    let until = Instant::now() + WITNESS_WAIT;
    loop {
        match anchor.cosign().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_rollback() || Instant::now() >= until => {
                return Err(anyhow::anyhow!("witnesses: {error}"));
            }
            Err(_) => tokio::time::sleep(WITNESS_PAUSE).await,
        }
    }
}

/// Lets the backends of key-encryption keys renew what they need.
async fn kek_upkeep(broker: Arc<Broker>) {
    let mut tick = tokio::time::interval(KEK_UPKEEP_EVERY);
    loop {
        tick.tick().await;
        let broker = Arc::clone(&broker);
        let troubles = tokio::task::spawn_blocking(move || broker.keyring().upkeep()).await;
        troubles.unwrap_or_default().iter().for_each(|trouble| tell(&trouble.to_string()));
    }
}

/// Reads the policy again on SIGHUP.
async fn reload(broker: Arc<Broker>, mut hangup: Signal, policy: Option<PathBuf>) {
    while hangup.recv().await.is_some() {
        let (broker, policy) = (Arc::clone(&broker), policy.clone());
        let work = move || -> anyhow::Result<()> {
            let file = policy.context("SIGHUP without --policy: nothing to read")?;
            let file = read(&file, MAX_ENVELOPE_BYTES)?;
            let new = NewPolicy { file, cedar: None, replaces: Replaces::InForce };
            let policy = broker.activate(new)?;
            tell(&format!("policy {} version {} is in force", policy.id(), policy.version()));
            Ok(())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tell(&format!("{error:#}")),
            Err(error) => tell(&error.to_string()),
        }
    }
}
