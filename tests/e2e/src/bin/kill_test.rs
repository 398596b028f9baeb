//! `anchorhold-kill-test`: case 23 of the threats as often as wanted. The last line counts.

use anchorhold_e2e::kill;
use clap::Parser;
use std::io::Write as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Kill guests while they fetch and load, and search their disks.
#[derive(Parser)]
#[command(after_help = "Example:\n  anchorhold-kill-test --iterations 1000")]
struct Arguments {
    /// Guests to kill.
    #[arg(long, default_value_t = 40)]
    iterations: u32,
    /// The beginning of chance; by the clock when it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { iterations, seed } = Arguments::parse();
    let by_clock =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()));
    let seed = seed.unwrap_or_else(by_clock);
    let began = Instant::now();
    let mut out = std::io::stdout();
    writeln!(out, "seed {seed}")?;
    let outcome = kill::run(iterations, seed, |iteration, outcome| {
        if iteration % 50 == 0 {
            // Without a reader the work goes on all the same.
            let _ = writeln!(std::io::stdout(), "{iteration}: {outcome:?}");
        }
    })?;
    writeln!(out, "{outcome:#?}")?;
    writeln!(
        out,
        "{iterations} killed, {} served afterwards, nothing secret on disk, {:.0} s",
        outcome.served,
        began.elapsed().as_secs_f64()
    )?;
    Ok(())
}
