//! `anchorhold top`: what a running server does, on a terminal or once for a script.

mod report;
mod samples;

use self::report::Report;
use self::samples::Samples;
use crate::commands::caller::{self, Authorization};
use crate::exit::{Exit, Failure};
use crate::output;
use anchorhold_channel::client::{Client, Limits, Pinned, Target};
use anchorhold_rats::Sha256Digest;
use http::StatusCode;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold top --url https://models.example --key-file operator.key --certificate gateway.pem
  anchorhold top --url https://models.example --key-file operator.key --tls-key $TLS_KEY --once --json";

/// Puts the cursor home and clears what is below it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Watch a running server: whether it can answer, and what its models do
///
/// Reads /metrics and /readyz again and again, and shows what changed. The connection is to the server whose key is given: by its
/// certificate, which the gateway writes when it starts, or by the digest that `anchorhold verify` shows.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server: https://host[:port]
    #[arg(long, value_name = "URL")]
    url: Target,
    /// A file with an API key that may read the metrics
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The server's certificate, PEM
    #[arg(long, value_name = "FILE", required_unless_present = "tls_key")]
    certificate: Option<PathBuf>,
    /// The SHA-256 of the server's SubjectPublicKeyInfo, in hex
    #[arg(long, value_name = "HEX", conflicts_with = "certificate")]
    tls_key: Option<Sha256Digest>,
    /// Look once and end
    #[arg(long)]
    once: bool,
    /// Print the result as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let watched = Watched::new(args)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    runtime.block_on(async {
        if args.once {
            let (report, _) = watched.look(None).await?;
            if args.json {
                output::json(&report)?
            } else {
                output::text(&report.text())?
            }
            return Ok(Exit::Ok);
        }
        let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
        let mut before = None;
        loop {
            let (report, look) = watched.look(before.as_ref()).await?;
            output::text(&format!("{clear}{}\n", report.text()))?;
            before = Some(look);
            tokio::time::sleep(Duration::from_secs(args.every.into())).await;
        }
    })
}

/// A server, and the key with which it is asked.
struct Watched {
    client: Client<Pinned>,
    authorization: Authorization,
}

/// What was seen at one time.
struct Look {
    at: Instant,
    samples: Samples,
}

impl Watched {
    fn new(args: &Args) -> Result<Self, Failure> {
        let tls_key = caller::tls_key(args.tls_key.as_ref(), args.certificate.as_deref())?;
        let authorization = caller::authorization(&args.key_file)?;
        let client = Client::pinned(args.url.clone(), tls_key, Limits::default());
        Ok(Self { client, authorization })
    }

    /// Asks once, and holds the answer against what was seen before.
    async fn look(&self, before: Option<&Look>) -> Result<(Report, Look), Failure> {
        let ready = self.client.get("/readyz", &[]).await.map_err(Failure::other)?;
        let metrics = self.client.get("/metrics", &self.authorization).await.map_err(Failure::other)?;
        match metrics.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(caller::unknown_key()),
            StatusCode::FORBIDDEN => {
                return Err(Failure::other("the key may not read the metrics"));
            }
            status => return Err(Failure::other(format!("/metrics answered with status {status}"))),
        }
        let text = std::str::from_utf8(&metrics.body).map_err(|_| Failure::other("/metrics is no text"))?;
        let samples = Samples::parse(text).map_err(Failure::other)?;
        let look = Look { at: Instant::now(), samples };
        let since = before.map(|before| (&before.samples, look.at.duration_since(before.at)));
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((Report::new(ready.status == StatusCode::OK, &look.samples, since, at), look))
    }
}
