//! `anchorhold proxy`: a local endpoint in front of a server that is verified before and while it is used.

use crate::commands::verify::needs_endorsements;
use crate::endorse::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, remark};
use crate::trust::{self, TrustArgs};
use anchorhold_channel::client::Target;
use anchorhold_client::history::RollbackRule;
use anchorhold_client::proxy::{Hosts, Limits, Proxy, serve};
use anchorhold_client::receipts::Receipts;
use anchorhold_client::{History, RelyingParty, Settings, Snapshot, Trust, VerifiedUpstream};
use anchorhold_rats::{Endorsements, Evidence, Timestamp};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold proxy --upstream https://models.example --profile profile.toml --history history.jsonl
  OPENAI_BASE_URL=http://127.0.0.1:8787/v1 python ask.py
  curl http://127.0.0.1:8787/anchorhold/status";

const ANYWHERE: &str = "\
anchorhold: warning: whoever can reach this address can use the proxy, in plain HTTP: keys and prompts can be read on the
anchorhold: warning: way to it";

/// Serve a verified server's API on this machine, for programs that cannot verify
///
/// A plain HTTP endpoint for OpenAI clients. Every connection to the server is attested and shows an authenticator; the server is
/// judged again on a schedule and before its evidence ends. While it is not accepted every request is answered 502
/// (upstream_not_attested), and nothing is sent. The client's own authorization passes through; receipts are checked. Policy
/// files are read again for each judgement. GET /anchorhold/status says how it stands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server: https://host[:port]
    #[arg(long, value_name = "URL")]
    upstream: Target,
    #[command(flatten)]
    relying: RelyingArgs,
    /// Where programs connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Listen on an address that is not of the loopback interface, and take any IP address as the host of a request
    #[arg(long)]
    listen_anywhere: bool,
    /// Take this name as the host of a request too; may be repeated
    #[arg(long, value_name = "NAME", requires = "listen_anywhere")]
    allow_host: Vec<String>,
    /// Remember in this file what was accepted, and tell when the server goes back behind it
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Refuse a server that goes back behind what was accepted
    #[arg(long, requires = "history")]
    refuse_rollback: bool,
    /// Judge the server again after this long
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    reverify: u64,
    /// Keep each good receipt and its key in this folder, which only its owner may read
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// The most connections of programs at a time
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=4096))]
    max_connections: u64,
}

#[derive(clap::Args)]
struct RelyingArgs {
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Judges by the command line.
struct Party(Arc<RelyingArgs>);

impl RelyingParty for Party {
    fn now(&self) -> Timestamp {
        // By a clock that cannot be read everything has expired.
        trust::now().unwrap_or_else(|_| Timestamp::from_unix_seconds(i64::MAX))
    }

    async fn trust(&self) -> Result<Trust, String> {
        let args = Arc::clone(&self.0);
        blocking(move || args.trust.read_again().map(|trust| trust.relying())).await
    }

    async fn endorse(
        &self,
        evidence: &Evidence,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Endorsements, String> {
        if !needs_endorsements(evidence, &trust.policies) {
            return Ok(Endorsements::default());
        }
        let (args, evidence) = (Arc::clone(&self.0), evidence.clone());
        blocking(move || args.store.gather(&evidence, at)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|failure| failure.text().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    if args.relying.trust.is_for_another_time() {
        return Err(Failure::usage("--at is for saved evidence; a running server is judged for now"));
    }
    if !args.listen.ip().is_loopback() {
        if !args.listen_anywhere {
            let text = format!("{} is not of the loopback interface", args.listen);
            return Err(
                Failure::usage(text).hint("--listen-anywhere, if others shall use it over plain HTTP")
            );
        }
        remark(ANYWHERE);
    }
    // Read once before anything listens, so that mistakes show at once.
    args.relying.trust.read()?;
    let history = args.history.as_deref().map(History::open).transpose().map_err(Failure::other)?;
    let receipts = match &args.receipts {
        None => Receipts::counting(),
        Some(path) => Receipts::keeping(path).map_err(|error| {
            Failure::other(format!("cannot keep receipts in {}: {error}", path.display()))
        })?,
    };
    let runtime = Runtime::new().map_err(|error| Failure::other(format!("cannot start: {error}")))?;
    runtime.block_on(serve_until_told(args, history, receipts))
}

async fn serve_until_told(args: Args, history: Option<History>, receipts: Receipts) -> Result<Exit, Failure> {
    let rollback = if args.refuse_rollback { RollbackRule::Refuse } else { RollbackRule::Warn };
    let settings = Settings { reverify: Duration::from_secs(args.reverify), rollback, ..Settings::default() };
    let hosts = if args.listen_anywhere { Hosts::anywhere(&args.allow_host) } else { Hosts::loopback() };
    let max_connections = usize::try_from(args.max_connections).unwrap_or(usize::MAX);
    let limits = Limits { max_connections, ..Limits::default() };
    let cannot_listen = |error| Failure::other(format!("cannot listen on {}: {error}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let told = told_to_end()?;
    let upstream =
        VerifiedUpstream::new(args.upstream.clone(), Party(Arc::new(args.relying)), settings, history);
    let mut before: Option<Snapshot> = None;
    let mut hear = move |snapshot: &Snapshot| {
        for news in snapshot.news(before.as_ref()) {
            remark(&format!("anchorhold: {news}"));
        }
        before = Some(snapshot.clone());
    };
    // The first verdict comes before the address is told, so that scripts which wait for it find a verdict.
    hear(&upstream.verify().await);
    output::text(&format!("proxy on http://{address} for {}\n", args.upstream))?;
    let proxy = Proxy::new(upstream.clone(), receipts, hosts, limits);
    tokio::select! {
        () = upstream.watch(hear) => {}
        () = serve(listener, proxy, told) => {}
    }
    Ok(Exit::Ok)
}

/// Completes when an operator ends the program.
fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::other(format!("no signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
