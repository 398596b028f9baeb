//! The command line of both brokers. They differ only in the trust anchors that they bring.

mod kek;

use self::kek::{Asked, KekCommand, KekOptions};
use crate::broker::{Broker, Surroundings, secrets};
use crate::kek_admin::{self, KekAdmin, ShareOrder};
use crate::router::router;
use crate::state::{Layout, State};
use anchorhold_audit_log::Stamp;
use anchorhold_channel::{server, tls};
use anchorhold_key_release::{BrokerKey, MAX_IMPORT_BYTES, MAX_POLICY_BYTES, ReleaseKey};
use anchorhold_rats::Secret;
use anchorhold_verifier::TrustAnchors;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use rustls::pki_types::PrivateKeyDer;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The longest time for which an entry of the audit log stays without a checkpoint.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
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
    /// Make a state with fresh keys; prints the public ones as JSON
    Init {
        #[command(flatten)]
        folder: StateFolder,
        /// DNS name or IP address of the TLS certificate; may be given several times
        #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
        names: Vec<String>,
        #[command(flatten)]
        kek: Box<KekOptions>,
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
    /// Look after the keys under which everything secret is wrapped
    #[command(subcommand)]
    Kek(KekCommand),
    /// Answer guests over HTTPS
    Serve(Serve),
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
    let open = |folder: &StateFolder| Broker::open(&Layout::of(&folder.state), anchors, surroundings());
    match command {
        Command::Init { folder, names, kek } => init(&Layout::of(&folder.state), &names, *kek),
        Command::Kek(command) => match command.asked()? {
            Asked::Broker(folder, request) => {
                let broker = Arc::new(open(&folder)?);
                let outcome =
                    KekAdmin::new(Arc::clone(&broker), &Layout::of(&folder.state)).carry_out(&request);
                broker.close()?;
                print(&serde_json::to_value(outcome?)?)
            }
            Asked::Recover(folder, id, shares) => {
                kek_admin::recover(&folder.state, &id, &shares)?;
                print(&serde_json::json!({ "recovered": id }))
            }
        },
        Command::Import { folder, file } => {
            let bytes = read(&file, MAX_IMPORT_BYTES)?;
            let broker = open(&folder)?;
            let terms = broker.import(&bytes)?;
            broker.close()?;
            print(&serde_json::to_value(terms)?)
        }
        Command::Policy { folder, file } => {
            let text = policy_text(&file)?;
            let broker = open(&folder)?;
            let outcome = broker.set_policy(&text);
            broker.close()?;
            let policy = outcome?;
            print(&serde_json::json!({
                "policy": policy.id(), "version": policy.version(), "digest": policy.digest(),
                "expires": policy.expires(),
            }))
        }
        Command::Serve(serve) => {
            let broker = Arc::new(open(&serve.folder)?);
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(listen(serve, broker))
        }
    }
}

fn init(layout: &Layout, names: &[String], kek: KekOptions) -> anyhow::Result<()> {
    let (kek, origin, order) = kek.written()?;
    let scheme = order.as_ref().map(ShareOrder::scheme).transpose()?;
    let certificate = tls::SelfSigned::generate(names)?;
    let (signing, import, log): (Secret<32>, Secret<32>, Secret<32>) =
        (Secret::random()?, Secret::random()?, Secret::random()?);
    let (nonce, chip): (Secret<32>, Secret<32>) = (Secret::random()?, Secret::random()?);
    let (_, shares) = State::create_with(
        layout,
        &kek,
        (origin, scheme),
        &[
            (secrets::SIGNING, signing.expose()),
            (secrets::IMPORT, import.expose()),
            (secrets::LOG, log.expose()),
            (secrets::NONCE, nonce.expose()),
            (secrets::CHIP, chip.expose()),
            (secrets::TLS, certificate.key.secret_der()),
        ],
    )?;
    let shares = order.map(|order| order.write(kek.id(), &shares)).transpose().context("shares")?;
    std::fs::write(layout.certificate(), certificate.certificate_pem()).context("tls certificate")?;
    let signing = BrokerKey::from_seed(&signing);
    print(&serde_json::json!({
        "signing_key": signing.public_key(),
        "signing_key_id": signing.key_id(),
        "import_key": ReleaseKey::from_seed(&import).public_key(),
        "log_key": BrokerKey::from_seed(&log).public_key(),
        "tls_key": certificate.tls_key,
        "tls_certificate": layout.certificate(),
        "kek": kek.id(),
        "shares": shares.unwrap_or_default(),
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

fn surroundings() -> Surroundings {
    let start = Instant::now();
    let clock = move || {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp {
            wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
            mono_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    };
    let report = |text: &str| {
        let _ = writeln!(std::io::stderr(), "key broker: {text}");
    };
    Surroundings { clock: Arc::new(clock), report: Arc::new(report) }
}

async fn listen(serve: Serve, broker: Arc<Broker>) -> anyhow::Result<()> {
    let layout = Layout::of(&serve.folder.state);
    let chain = tls::certificates_from_pem(&std::fs::read(layout.certificate()).context("tls certificate")?)?;
    let key = broker.state().secret(secrets::TLS)?;
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|why| anyhow::anyhow!("tls key: {why}"))?;
    let config = tls::server_config(chain, key)?;
    let listener = tokio::net::TcpListener::bind(serve.listen).await.context("listen address")?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    if serve.print_ready {
        print(&serde_json::json!({ "listening": listener.local_addr()? }))?;
    }
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let upkeep = tokio::spawn(upkeep(Arc::clone(&broker), hangup, serve.policy));
    let kek_upkeep = tokio::spawn(kek_upkeep(Arc::clone(&broker)));
    server::serve(listener, config, router(Arc::clone(&broker)), server::Limits::default(), shutdown).await;
    upkeep.abort();
    kek_upkeep.abort();
    tokio::task::spawn_blocking(move || broker.close()).await??;
    Ok(())
}

/// Lets the backends of key-encryption keys renew what they need. Apart from [`upkeep`], so that one that hangs holds up
/// no checkpoint.
async fn kek_upkeep(broker: Arc<Broker>) {
    let mut tick = tokio::time::interval(KEK_UPKEEP_EVERY);
    loop {
        tick.tick().await;
        let broker = Arc::clone(&broker);
        let troubles = tokio::task::spawn_blocking(move || broker.state().keyring().upkeep()).await;
        for trouble in troubles.unwrap_or_default() {
            let _ = writeln!(std::io::stderr(), "key broker: {trouble}");
        }
    }
}

/// Signs a checkpoint each second in which something was logged, and reads the policy again on SIGHUP.
async fn upkeep(broker: Arc<Broker>, mut hangup: Signal, policy: Option<PathBuf>) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(CHECKPOINT_EVERY);
    loop {
        let (broker, policy) = (Arc::clone(&broker), policy.clone());
        let work: Box<dyn FnOnce() -> anyhow::Result<()> + Send> = tokio::select! {
            _ = tick.tick() => Box::new(move || Ok(broker.journal().checkpoint()?)),
            _ = hangup.recv() => Box::new(move || match policy {
                Some(file) => {
                    let policy = broker.set_policy(&policy_text(&file)?)?;
                    let (id, version) = (policy.id(), policy.version());
                    Ok(writeln!(std::io::stderr(), "key broker: policy {id} version {version} is in force")?)
                }
                None => Err(anyhow::anyhow!("SIGHUP without --policy: nothing to read")),
            }),
        };
        if let Err(error) = tokio::task::spawn_blocking(work).await? {
            let _ = writeln!(std::io::stderr(), "key broker: {error:#}");
        }
    }
}
