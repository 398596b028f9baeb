//! How a sealed load compares with plain ones, from the page cache, with one and two threads; what its parts cost alone; the
//! memory that it takes; sealing; and a public tool for encrypted files.
//!
//! Run with `cargo bench -p anchorhold-sealed-weights`. `SEALED_LOAD_DIR` names the folder for about three times the weights
//! (default: the system's temporary one), `SEALED_LOAD_MIB` the size of the weights (default 4096), `SEALED_LOAD_RUNS` the runs
//! of which each number is the median (default 5). `JSON` names a file for the results.
//!
//! Every load is in a process of its own, since memory that an earlier load has touched is not fresh, and they are taken in
//! turn. Each says its seconds by the clock and by the processor; the ratios are of seconds by the clock, and those called
//! `cpu` of the processor's, which other work on the machine disturbs less.
//!
//! | load | ends with |
//! |---|---|
//! | `sealed` | the tensors in fresh, aligned private memory, each byte hashed and decrypted |
//! | `f32` | the same as numbers in one vector for each tensor, which is how the CPU engine loads |
//! | `read` | the file in fresh private memory, in pages of 4 KiB, by `pread` |
//! | `copy` | the same, copied out of a mapping |
//! | `huge` | the file in fresh private memory in huge pages, by `pread` |
//! | `touch` | a mapping of which one byte of each page was read |
//! | `sum` | a mapping of which each byte was read |
//! | `decrypt` | as `sealed`, but nothing is hashed: what the library never does |

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, hint, thread};

use anchorhold_sealed_weights::{
    Effort, Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, Suite, WeightsKey, read_manifest,
    seal,
};
use memmap2::{Advice, Mmap, MmapMut};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const TENSOR_LEN: usize = 32 << 20;
const PIECE: usize = 4 << 20;
const KEY: [u8; 32] = [0x5a; 32];
const OWNER_SEED: [u8; 32] = [7; 32];
/// Set in a process that makes one measurement.
const CHILD: &str = "SEALED_LOAD_CHILD";
/// The plain loads that end with the same as a sealed one, or with less.
const PLAIN: [&str; 5] = ["read", "copy", "huge", "touch", "sum"];

fn main() -> Result<(), Failure> {
    if let Ok(kind) = env::var(CHILD) {
        return child(&kind);
    }
    let place = env::var_os("SEALED_LOAD_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let number = |name: &str, default: usize| env::var(name).map_or(Ok(default), |text| text.parse());
    let (mib, runs) = (number("SEALED_LOAD_MIB", 4096)?, number("SEALED_LOAD_RUNS", 5)?);
    let dir = tempfile::tempdir_in(place)?;
    let mut bench = Bench { dir: dir.path().to_owned(), mib, runs, results: Vec::new() };
    write_model(&bench.plain(), mib)?;
    bench.bounds()?;
    for suite in Suite::ALL {
        bench.suite(suite)?;
    }
    bench.age()?;
    bench.write()
}

struct Bench {
    dir: PathBuf,
    mib: usize,
    runs: usize,
    results: Vec<Value>,
}

/// What one run took.
#[derive(Clone, Copy)]
struct Taken {
    wall_s: f64,
    cpu_s: f64,
    /// The most memory that the process had, beyond what it had before, in bytes.
    memory: f64,
}

impl Bench {
    fn plain(&self) -> PathBuf {
        self.dir.join("model/model.safetensors")
    }

    /// What hashing and decrypting cost alone, on one thread and memory in the cache.
    fn bounds(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0x5a_u8; PIECE];
        let rounds = 128;
        let gib = (rounds * PIECE) as f64 / f64::from(1 << 30);
        let mut cost = |run: &mut dyn FnMut(&mut [u8])| {
            let mut times: Vec<f64> = (0..self.runs)
                .map(|_| {
                    let begun = cpu_s();
                    (0..rounds).for_each(|_| run(&mut buffer));
                    cpu_s() - begun
                })
                .collect();
            gib / median(&mut times)
        };
        let sha256 = cost(&mut |bytes| _ = hint::black_box(digest(&SHA256, bytes)));
        let blake3 = cost(&mut |bytes| _ = hint::black_box(blake3::hash(bytes)));
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| "key")?);
        let gcm = cost(&mut |bytes| {
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            _ = hint::black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), bytes));
        });
        for (name, rate) in [("bound_sha256", sha256), ("bound_blake3", blake3), ("bound_aes256gcm", gcm)] {
            self.add(name, rate, "GiB/s/core", None);
        }
        Ok(())
    }

    /// Seals under this suite, and loads in turn with every peer.
    fn suite(&mut self, suite: Suite) -> Result<(), Failure> {
        let name = if suite == Suite::Sha256 { "sha256" } else { "blake3" };
        let package = self.dir.join(name);
        for threads in [1, 2] {
            if package.exists() {
                fs::remove_dir_all(&package)?;
            }
            let begun = (Instant::now(), cpu_s());
            seal_model(&self.dir.join("model"), &package, suite, threads)?;
            let (wall, cpu) = (begun.0.elapsed().as_secs_f64(), cpu_s() - begun.1);
            self.add(&format!("seal_{name}_{threads}t"), self.gib() / wall, "GiB/s", None);
            self.add(&format!("seal_{name}_{threads}t_cpu"), self.gib() / cpu, "GiB/s/core", None);
        }
        for threads in [1, 2] {
            let kinds: Vec<&str> = ["sealed", "f32", "decrypt"].into_iter().chain(PLAIN).collect();
            let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); kinds.len()];
            for _ in 0..self.runs {
                for (kind, taken) in kinds.iter().zip(&mut taken) {
                    self.run("warm", &package, 1)?;
                    taken.push(self.run(kind, &package, threads)?);
                }
            }
            self.compare(name, threads, &kinds, &taken);
        }
        fs::remove_dir_all(&package)?;
        Ok(())
    }

    fn run(&self, kind: &str, package: &Path, threads: usize) -> Result<Taken, Failure> {
        let mut child = Command::new(env::current_exe()?);
        let output =
            child.env(CHILD, kind).args([package, &self.plain()]).arg(threads.to_string()).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [wall_s, cpu_s, memory] = numbers.as_slice() else { return Err("three numbers".into()) };
        Ok(Taken { wall_s: *wall_s, cpu_s: *cpu_s, memory: *memory })
    }

    fn compare(&mut self, suite: &str, threads: usize, kinds: &[&str], taken: &[Vec<Taken>]) {
        let of = |field: fn(&Taken) -> f64| -> Vec<f64> {
            taken.iter().map(|runs| median(&mut runs.iter().map(field).collect::<Vec<_>>())).collect()
        };
        let (walls, cpus, memories) =
            (of(|taken| taken.wall_s), of(|taken| taken.cpu_s), of(|taken| taken.memory));
        let Some((&sealed, &sealed_cpu)) = walls.first().zip(cpus.first()) else { return };
        let bytes = self.gib() * f64::from(1 << 30);
        for (((kind, wall), cpu), memory) in kinds.iter().zip(&walls).zip(&cpus).zip(&memories) {
            let name = format!("load_{suite}_{kind}_{threads}t");
            match *kind {
                "sealed" => {
                    self.add(&name, self.gib() / wall, "GiB/s", None);
                    self.add(&format!("{name}_cpu"), self.gib() / cpu, "GiB/s/core", None);
                    self.add(&format!("{name}_memory"), memory / bytes, "of the weights", None);
                }
                _ => {
                    self.add(&name, self.gib() / wall, "GiB/s", Some(("sealed over this", wall / sealed)));
                    let ratio = Some(("sealed over this", cpu / sealed_cpu));
                    self.add(&format!("{name}_cpu"), self.gib() / cpu, "GiB/s/core", ratio);
                }
            }
        }
    }

    /// `age` over the same file, if it is installed: ChaCha20-Poly1305 in chunks of 64 KiB, one thread.
    fn age(&mut self) -> Result<(), Failure> {
        let (identity, sealed) = (self.dir.join("age.key"), self.dir.join("age.sealed"));
        let Ok(made) = Command::new("age-keygen").arg("-o").arg(&identity).output() else {
            self.say("age: not installed, left out");
            return Ok(());
        };
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        let recipient = said.split_whitespace().last().ok_or("no recipient")?.to_owned();
        let seal =
            Command::new("age").args(["-r", &recipient, "-o"]).args([&sealed, &self.plain()]).status()?;
        if !seal.success() {
            return Err("age does not encrypt".into());
        }
        let mut times = Vec::new();
        for _ in 0..self.runs {
            let begun = Instant::now();
            let mut open = Command::new("age");
            let open = open.arg("-d").arg("-i").args([&identity, &sealed]).stdout(Stdio::piped()).spawn()?;
            let mut plain = open.stdout.ok_or("no output")?;
            let mut buffer = vec![0; 1 << 20];
            while plain.read(&mut buffer)? > 0 {}
            times.push(begun.elapsed().as_secs_f64());
        }
        let rate = self.gib() / median(&mut times);
        self.add("age_decrypt", rate, "GiB/s", None);
        fs::remove_file(sealed)?;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a size in MiB is far below the precision of a float")]
    fn gib(&self) -> f64 {
        self.mib as f64 / 1024.0
    }

    fn add(&mut self, name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>) {
        match peer {
            Some((peer, ratio)) => self.say(&format!("{name}: {value:.3} {unit}, {peer}: {ratio:.3}")),
            None => self.say(&format!("{name}: {value:.3} {unit}")),
        }
        self.results.push(json!({
            "name": name,
            "value": value,
            "unit": unit,
            "peer": peer.map(|(name, _)| name),
            "ratio": peer.map(|(_, ratio)| ratio),
        }));
    }

    fn say(&self, text: &str) {
        // A closed output must not end the measurement.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn write(self) -> Result<(), Failure> {
        if let Ok(path) = env::var("JSON") {
            fs::write(path, serde_json::to_vec_pretty(&self.results)?)?;
        }
        Ok(())
    }
}

/// One load, whose seconds and memory are printed.
fn child(kind: &str) -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [package, plain, threads] = arguments.as_slice() else { return Err("three arguments".into()) };
    let model = open(Path::new(package))?;
    let plain = File::open(plain)?;
    let threads: usize = threads.parse()?;
    let effort = Effort::on_threads(NonZeroUsize::new(threads).ok_or("no threads")?);
    let before = peak_memory()?;
    let begun = (Instant::now(), cpu_s());
    let made: Box<dyn std::any::Any> = match kind {
        "sealed" => Box::new(model.load(&effort)?),
        "f32" => Box::new(model.load_f32(&effort)?),
        "read" => Box::new(read(&plain, threads, false)?),
        "huge" => Box::new(read(&plain, threads, true)?),
        "decrypt" => Box::new(decrypt(&plain, threads)?),
        "copy" => Box::new(copy(&plain, threads)?),
        "touch" => Box::new(touch(&plain, threads, 4096)?),
        "sum" => Box::new(touch(&plain, threads, 8)?),
        "warm" => Box::new(warm(&plain)?),
        other => return Err(other.into()),
    };
    let (wall, cpu) = (begun.0.elapsed().as_secs_f64(), cpu_s() - begun.1);
    hint::black_box(&made);
    let memory = peak_memory()?.saturating_sub(before);
    Ok(writeln!(std::io::stdout(), "{wall} {cpu} {memory}")?)
}

/// `VmHWM` of this process, in bytes.
fn peak_memory() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.split_whitespace().next().ok_or("no VmHWM")?.parse()?;
    Ok(kib * 1024)
}

/// Seconds of the processor that this process has taken, with those of the system for it.
#[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Runs over the pieces of `memory` on so many threads; each is given with its offset.
fn pieces(
    memory: &mut [u8],
    threads: usize,
    run: impl Fn(&mut [u8], usize) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let queue = std::sync::Mutex::new(memory.chunks_mut(PIECE).enumerate());
    let work = || -> Result<(), String> {
        while let Some((index, piece)) = { queue.lock().map_err(|_| "poisoned")?.next() } {
            run(piece, index * PIECE).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let first = work();
        others.into_iter().try_fold((), |(), other| other.join().map_err(|_| "panicked".to_owned())?)?;
        first
    })?;
    Ok(())
}

fn fresh(file: &File, huge: bool) -> Result<MmapMut, Failure> {
    let memory = MmapMut::map_anon(usize::try_from(file.metadata()?.len())?)?;
    memory.advise(if huge { Advice::HugePage } else { Advice::NoHugePage })?;
    Ok(memory)
}

/// Touches as much memory as a load takes.
fn warm(file: &File) -> Result<MmapMut, Failure> {
    let mut memory = fresh(file, true)?;
    memory.chunks_mut(4096).filter_map(<[u8]>::first_mut).for_each(|byte| *byte = 1);
    Ok(memory)
}

fn read(file: &File, threads: usize, huge: bool) -> Result<MmapMut, Failure> {
    let mut memory = fresh(file, huge)?;
    pieces(&mut memory, threads, |piece, at| Ok(file.read_exact_at(piece, at as u64)?))?;
    Ok(memory)
}

/// Reads and decrypts in place. The file is no ciphertext, which costs as much.
fn decrypt(file: &File, threads: usize) -> Result<MmapMut, Failure> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| "key")?);
    let mut memory = fresh(file, true)?;
    pieces(&mut memory, threads, |piece, at| {
        file.read_exact_at(piece, at as u64)?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        _ = hint::black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), piece));
        Ok(())
    })?;
    Ok(memory)
}

#[expect(unsafe_code, reason = "mapping the plain file is what the peer does")]
fn map(file: &File) -> Result<Mmap, Failure> {
    // SAFETY: the file is in a temporary folder of the process that waits for this one, and nobody writes to it.
    Ok(unsafe { Mmap::map(file)? })
}

fn copy(file: &File, threads: usize) -> Result<MmapMut, Failure> {
    let (mapped, mut memory) = (map(file)?, fresh(file, false)?);
    pieces(&mut memory, threads, |piece, at| {
        piece.copy_from_slice(mapped.get(at..at + piece.len()).ok_or("short file")?);
        Ok(())
    })?;
    Ok(memory)
}

/// Reads one byte in `step`, or every byte in words of 8.
fn touch(file: &File, threads: usize, step: usize) -> Result<(Mmap, u64), Failure> {
    let mapped = map(file)?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sum = 0_u64;
        loop {
            let at = next.fetch_add(PIECE, Ordering::Relaxed);
            let Some(rest) = mapped.get(at..).filter(|rest| !rest.is_empty()) else { return sum };
            let piece = rest.get(..PIECE).unwrap_or(rest);
            if step == 8 {
                let (words, _) = piece.as_chunks::<8>();
                sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            } else {
                sum = piece.iter().step_by(step).fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            }
        }
    };
    let sum = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        others.into_iter().fold(work(), |sum, other| sum.wrapping_add(other.join().unwrap_or_default()))
    });
    Ok((mapped, hint::black_box(sum)))
}

/// A model folder whose weights are `mib` MiB of equal tensors.
fn write_model(weights: &Path, mib: usize) -> Result<(), Failure> {
    let model = weights.parent().ok_or("no folder")?;
    fs::create_dir(model)?;
    let count = (mib << 20) / TENSOR_LEN;
    let entry = |index: usize| {
        let (begin, end, side) = (index * TENSOR_LEN, (index + 1) * TENSOR_LEN, TENSOR_LEN / 4);
        format!(r#""t{index}":{{"dtype":"F32","shape":[{side}],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = (0..count).map(entry).collect();
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = File::create(weights)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut state = 1_u64;
    for _ in 0..count {
        let mut block = Vec::with_capacity(TENSOR_LEN);
        while block.len() < TENSOR_LEN {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            block.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    fs::write(model.join("config.json"), "{}")?;
    fs::write(model.join("tokenizer.json"), "{}")?;
    Ok(())
}

fn seal_model(source: &Path, out: &Path, suite: Suite, threads: usize) -> Result<(), Failure> {
    let options = SealOptions { suite, ..SealOptions::new("bench/model", 1, 1..=2) };
    let effort = Effort::on_threads(NonZeroUsize::new(threads).ok_or("no threads")?);
    seal(source, out, &options, &OwnerKey::from_seed(&OWNER_SEED)?, &KEY, &effort)?;
    Ok(())
}

fn open(package: &Path) -> Result<SealedModel, Failure> {
    let owner = OwnerKey::from_seed(&OWNER_SEED)?.public_key();
    let manifest = Manifest::verify(&read_manifest(package)?, &owner)?;
    let key = WeightsKey::open(&manifest, &KEY)?;
    Ok(SealedModel::open(&key, PackageFiles::open(package, &manifest)?)?)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
