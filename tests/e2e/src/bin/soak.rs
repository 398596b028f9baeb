//! `anchorhold-soak`: streaming callers with random disconnects for as long as wanted. The last line counts.

use anchorhold_e2e::soak::{self, Outcome, Soak};
use clap::Parser;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Stream from many callers who leave at random; watch the memory of every process.
#[derive(Parser)]
#[command(after_help = "Example:\n  anchorhold-soak --seconds 600 --clients 64")]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Callers at one time; one key in two may have 32 requests under way.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// The beginning of chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Between two remarks.
const REMARK: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let Arguments { seconds, clients, seed, json } = Arguments::parse();
    let mut last = Instant::now();
    let show = |outcome: &Outcome| {
        if last.elapsed() >= REMARK {
            last = Instant::now();
            // Without a reader the work goes on all the same.
            let _ = writeln!(
                std::io::stderr(),
                "{} whole, {} left, {} refused",
                outcome.whole,
                outcome.left,
                outcome.refused
            );
        }
    };
    let outcome = soak::run(Soak { clients, time: Duration::from_secs(seconds), seed }, show)?;
    let mut out = std::io::stdout();
    if json {
        serde_json::to_writer(&mut out, &outcome)?;
        writeln!(out)?;
        return Ok(());
    }
    for (process, memory) in &outcome.memory {
        writeln!(
            out,
            "{process}: {} KiB early, {} late, {} at most",
            memory.early, memory.late, memory.most
        )?;
    }
    let Outcome { whole, left, refused, questions, .. } = outcome;
    writeln!(
        out,
        "{seconds} s, {clients} callers: {whole} answers read, {left} left, {refused} refused; {questions} questions, each with \
         one answer; memory flat, no place lost"
    )?;
    Ok(())
}
