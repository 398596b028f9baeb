//! The command line of both brokers. They differ only in the trust anchors that they bring.

use crate::admin;
use crate::anchor::{Anchor, Witnesses};
use crate::broker::{self, Broker, Surroundings};
use crate::layout::Layout;
use crate::router::router;
use crate::secrets::{Secrets, Tls};
use anchorhold_audit_log::{EventType, Stamp};
use anchorhold_channel::{server, tls};
use anchorhold_kbs::MAX_RESOURCE_BYTES;
use anchorhold_key_release::{MAX_IMPORT_BYTES, MAX_POLICY_BYTES, Revoked};
use anchorhold_verifier::TrustAnchors;
use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use rustls::pki_types::PrivateKeyDer;
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
    },
    /// Join a broker that keeps its state in a database: needs its store.toml and its key-encryption key in the folder
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
    /// Put a release policy in force; its version must be above the one in force
    Policy {
        #[command(flatten)]
        folder: StateFolder,
        /// The policy, TOML
        file: PathBuf,
    },
    /// Revoke a key, manifest, image or processor at once; no policy file takes it back
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
    Resource(Resource),
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
    /// Answer guests over HTTPS
    Serve(Serve),
}

#[derive(Subcommand)]
enum Resource {
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
    /// Policy to put in force on SIGHUP, under the same rule as the policy command
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Witnesses of the broker's log, TOML: `needed = N` and, for each, `[[witness]]` with key, url and certificate. The
    /// broker does not start on a state older than they know, and no key leaves before they have cosigned its entry
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// Print one JSON line with the address when the port is open
    #[arg(long)]
    print_ready: bool,
}

/// Runs the command line of the program `name` with `anchors`.
#[must_use]
pub fn run(name: &str, anchors: TrustAnchors) -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command, anchors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, anchors: TrustAnchors) -> anyhow::Result<()> {
    let (folder, command) = match command {
        Command::Init { folder, names } => return init(&Layout::of(&folder.state), &names, anchors),
        Command::Join { folder } => return join(&Layout::of(&folder.state), anchors),
        Command::Serve(serve) => {
            return tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?
                .block_on(listen(serve, anchors));
        }
        Command::Log { folder, out } => {
            return write_log(&Layout::of(&folder.state), out.as_deref(), anchors);
        }
        Command::Import { folder, file } => (folder, admin::Command::Import(read(&file, MAX_IMPORT_BYTES)?)),
        Command::Policy { folder, file } => (folder, admin::Command::Policy(policy_text(&file)?)),
        Command::Revoke { folder, kind, name } => (folder, admin::Command::Revoke(kind, name)),
        Command::Witness { folder, log_key } => (folder, admin::Command::Witness(log_key)),
        Command::Resource(Resource::Add { folder, name, file }) => {
            (folder, admin::Command::AddResource(name, read(&file, MAX_RESOURCE_BYTES)?))
        }
        Command::Resource(Resource::Remove { folder, name }) => {
            (folder, admin::Command::RemoveResource(name))
        }
        Command::Resource(Resource::List { folder }) => (folder, admin::Command::Resources),
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
    let broker = Broker::open(layout, anchors, Witnesses::none().quorum().clone(), surroundings())?;
    Ok(admin::execute(&broker, command, out)?)
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

fn init(layout: &Layout, names: &[String], anchors: TrustAnchors) -> anyhow::Result<()> {
    let made = tls::SelfSigned::generate(names)?;
    let key = Zeroizing::new(made.key.secret_der().to_vec());
    let secrets = Secrets::generate(Tls { key, certificate: made.certificate_pem().to_owned() })?;
    broker::set_up_in(layout, &secrets, (surroundings().clock)())?;
    join(layout, anchors)
}

/// Writes the certificate for guests to pin, and prints the public keys.
fn join(layout: &Layout, anchors: TrustAnchors) -> anyhow::Result<()> {
    let broker = Broker::open(layout, anchors, Witnesses::none().quorum().clone(), surroundings())?;
    std::fs::write(layout.certificate(), broker.tls_certificate()).context("tls certificate")?;
    let chain = tls::certificates_from_pem(broker.tls_certificate().as_bytes())?;
    let certificate = chain.first().context("tls certificate")?;
    print(&serde_json::json!({
        "signing_key": broker.signing_key().public_key(),
        "signing_key_id": broker.signing_key().key_id(),
        "import_key": broker.import_key().public_key(),
        "log_key": broker.ledger().key().to_string(),
        "witness_key": broker.cosigner().key().to_string(),
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

fn policy_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path, MAX_POLICY_BYTES)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))
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
    Surroundings { clock: Arc::new(clock), report: Arc::new(tell) }
}

async fn listen(serve: Serve, anchors: TrustAnchors) -> anyhow::Result<()> {
    let layout = Layout::of(&serve.folder.state);
    let witnesses = serve.witnesses.as_deref().map_or_else(|| Ok(Witnesses::none()), Witnesses::from_file)?;
    let around = surroundings();
    let opened = (layout.clone(), witnesses.quorum().clone(), around.clone());
    let broker = tokio::task::spawn_blocking(move || Broker::open(&opened.0, anchors, opened.1, opened.2));
    let broker = Arc::new(broker.await??);
    let chain = tls::certificates_from_pem(broker.tls_certificate().as_bytes())?;
    let key = PrivateKeyDer::try_from(broker.tls_key().to_vec());
    let config = tls::server_config(chain, key.map_err(|why| anyhow::anyhow!("tls key: {why}"))?)?;
    log_start(&broker, EventType::BootStart).await?;
    if witnesses.quorum().needed() > 0 {
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
    server::serve(listener, config, router(Arc::clone(&broker)), server::Limits::default(), shutdown).await;
    reloads.abort();
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

/// Reads the policy again on SIGHUP.
async fn reload(broker: Arc<Broker>, mut hangup: Signal, policy: Option<PathBuf>) {
    while hangup.recv().await.is_some() {
        let (broker, policy) = (Arc::clone(&broker), policy.clone());
        let work = move || -> anyhow::Result<()> {
            let file = policy.context("SIGHUP without --policy: nothing to read")?;
            let policy = broker.set_policy(&policy_text(&file)?)?;
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
