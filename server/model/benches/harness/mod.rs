//! What the benchmarks share: their arguments, a clock, medians and the report.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Time since the benchmark began, or of the process' threads on a CPU.
pub(crate) struct Clock {
    pub(crate) cpu: bool,
    start: Instant,
}

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        if self.cpu { cpu_time() } else { self.start.elapsed() }
    }

    /// The seconds that `run` takes.
    pub(crate) fn seconds(&self, run: impl FnOnce()) -> f64 {
        let before = self.now();
        run();
        (self.now() - before).as_secs_f64()
    }
}

fn cpu_time() -> Duration {
    // The first number of each thread's `schedstat` is its time on a CPU, in nanoseconds.
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The middle of some times.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `[THREADS] [JSON=PATH] [CPU]`.
pub(crate) struct Arguments {
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
    json: Option<String>,
}

impl Arguments {
    pub(crate) fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            threads: arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1),
            clock: Clock { cpu: arguments.iter().any(|argument| argument == "CPU"), start: Instant::now() },
            json: arguments.iter().find_map(|argument| argument.strip_prefix("JSON=")).map(str::to_owned),
        }
    }
}

/// Prints a line.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// Lines of the report, printed as they come.
#[derive(Default)]
pub(crate) struct Report(Vec<serde_json::Value>);

impl Report {
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &str) {
        say(&format!("{name}: {value:.1} {unit}"));
        self.0.push(serde_json::json!({ "name": name, "value": value, "unit": unit }));
    }

    /// Writes the report where the arguments say.
    pub(crate) fn write(&self, arguments: &Arguments) {
        if let Some(path) = &arguments.json {
            std::fs::write(path, serde_json::to_vec(&self.0).unwrap()).unwrap();
        }
    }
}
