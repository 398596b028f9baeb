//! Runs in turn, their medians, and how they are printed and collected.

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

const WARM_UP: usize = 5;

/// A name and what is timed.
pub(crate) type Run<'a> = (&'static str, Box<dyn Fn() -> Result<(), Box<dyn Error>> + 'a>);

/// The median of each run in nanoseconds. In each round all runs have their turn, so that a change of the machine's
/// pace meets all of them.
pub(crate) fn medians_ns(runs: &[Run<'_>], rounds: usize) -> Result<Vec<u128>, Box<dyn Error>> {
    let mut times_ns: Vec<Vec<u128>> = runs.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..WARM_UP + rounds {
        for ((_, run), times_ns) in runs.iter().zip(&mut times_ns) {
            let start = Instant::now();
            run()?;
            let elapsed_ns = start.elapsed().as_nanos();
            if round >= WARM_UP {
                times_ns.push(elapsed_ns);
            }
        }
    }
    let mut medians_ns = Vec::with_capacity(runs.len());
    for ((name, _), mut times_ns) in runs.iter().zip(times_ns) {
        times_ns.sort_unstable();
        let median_ns = times_ns.get(rounds / 2).copied().ok_or("no rounds")?;
        writeln!(std::io::stdout(), "{name}: median {} us of {rounds}", decimal(median_ns))?;
        medians_ns.push(median_ns);
    }
    Ok(medians_ns)
}

/// A median beside another one.
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) median_ns: u128,
    pub(crate) peer: &'static str,
    pub(crate) peer_ns: u128,
}

/// Prints the ratios; with `JSON=path` also writes all of it there, as a list.
pub(crate) fn report(comparisons: &[Comparison]) -> Result<(), Box<dyn Error>> {
    let mut items = Vec::with_capacity(comparisons.len());
    for Comparison { name, median_ns, peer, peer_ns } in comparisons {
        let ratio = decimal(median_ns * 1000 / peer_ns.max(&1));
        writeln!(std::io::stdout(), "{name}: {ratio} of {peer}")?;
        let value = decimal(*median_ns);
        items.push(format!(
            r#"{{"name":"{name}","value":{value},"unit":"us","peer":"{peer}","ratio":{ratio}}}"#
        ));
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, format!("[{}]\n", items.join(",\n")))?;
    }
    Ok(())
}

/// A number of thousandths as a decimal.
fn decimal(thousandths: u128) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}
