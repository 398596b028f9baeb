//! `anchorhold vectors`: hold this verifier to a folder of cases.

use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain};
use anchorhold_vectors::{Corpus, Outcome};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

const RUN_EXAMPLE: &str = "\
Examples:
  anchorhold vectors run tests/vectors/rejection
  anchorhold vectors run tests/vectors/real --files EVIDENCE
  anchorhold vectors run CASES --json | grep '\"ok\":false'

Exit code 0 says that every verdict, stage and code was as the manifest expects; 1 that one was not, or that there is no case.";

/// What to do with a folder of cases.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Judge every case of a folder and compare with what its manifest expects
    ///
    /// Prints one line for each case and a closing count, cases that are not understood first. Nothing is fetched.
    #[command(after_help = RUN_EXAMPLE)]
    Run {
        /// The folder with manifest.json
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The folder of the files that the manifest names [default: DIR]
        #[arg(long, value_name = "DIR")]
        files: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
}

/// The closing line.
#[derive(Serialize)]
struct Count {
    cases: usize,
    ok: usize,
    not_ok: usize,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let Command::Run { folder, files, format } = command;
    let manifest = folder.join("manifest.json");
    let corpus =
        Corpus::open_beside(&manifest, files.as_deref().unwrap_or(folder)).map_err(Failure::other)?;
    let cases = corpus.unread().len() + corpus.cases().len();
    if cases == 0 {
        return Err(Failure::other(format!("{} has no case", manifest.display())));
    }
    let start = Instant::now();
    let clock = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut ok = 0;
    for outcome in corpus.unread().chain(corpus.cases().iter().map(|case| corpus.run(case, clock))) {
        ok += usize::from(outcome.ok);
        if format.json {
            output::json_line(&outcome)?;
        } else {
            output::text(&line(&outcome))?;
        }
    }
    let count = Count { cases, ok, not_ok: cases - ok };
    if format.json {
        output::json_line(&count)?;
    } else {
        output::text(&format!("{} cases, {} as expected, {} not\n", count.cases, count.ok, count.not_ok))?;
    }
    Ok(if count.not_ok == 0 { Exit::Ok } else { Exit::Other })
}

fn line(outcome: &Outcome) -> String {
    let Outcome { id, verdict, stage, code, expected, ok, micros } = outcome;
    let mark = if *ok { "ok    " } else { "NOT OK" };
    let found = if stage.is_empty() { code.clone() } else { format!("{stage} {code}") };
    let expected = if ok == &true { String::new() } else { format!(" (expected {expected})") };
    format!("{mark} {} {verdict}{expected} {} {micros} us\n", plain(id), plain(&found))
}
