//! How much longer a sealed load takes than a plain one, from the page cache, with one and two threads.
//!
//! Run with `cargo bench -p anchorhold-sealed-weights`. `SEALED_LOAD_DIR` names the folder for about 1 GiB of files
//! (default `/dev/shm`), `SEALED_LOAD_MIB` the size of the weights (default 512). `JSON` names a file for the results.
//!
//! A sealed load reads, hashes, decrypts and copies every byte, so with one thread it cannot be faster than the plain read
//! plus SHA-256 plus AES-256-GCM of as many bytes. `over_parts` is the ratio to that sum; `bound_*` are the two speeds.
//! SHA-256 is by far the largest part: one stream runs at the latency of the processor's SHA instructions.
//!
//! Every number is the median of five runs, taken in turn with the peers it is compared with.

use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;
use std::{env, hint, thread};

use anchorhold_sealed_weights::{
    Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, SegmentSize, WeightsKey, read_manifest, seal,
};
use memmap2::Mmap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const RUNS: usize = 5;
const TENSOR_LEN: usize = 8 << 20;
const KEY: [u8; 32] = [0x5a; 32];
const OWNER_SEED: [u8; 32] = [7; 32];
/// Set in a process that makes one measurement.
const CHILD: &str = "SEALED_LOAD_CHILD";

fn main() -> Result<(), Failure> {
    if let Ok(kind) = env::var(CHILD) {
        return load_once(&kind);
    }
    let place = env::var("SEALED_LOAD_DIR").unwrap_or_else(|_| "/dev/shm".to_owned());
    let mib: usize = env::var("SEALED_LOAD_MIB").map_or(Ok(512), |text| text.parse())?;
    let dir = tempfile::tempdir_in(place)?;
    let mut results = Results::default();
    write_model(dir.path(), mib)?;
    let crypto_s = bounds(&mut results, mib)?;
    for (name, segment) in
        [("1mib", SegmentSize::Mib1), ("4mib", SegmentSize::Mib4), ("16mib", SegmentSize::Mib16)]
    {
        let package = dir.path().join(name);
        let started = Instant::now();
        seal_model(&dir.path().join("model"), &package, segment)?;
        if segment == SegmentSize::Mib4 {
            results.add("seal", gib_per_s(mib, started.elapsed().as_secs_f64()), "GiB/s", None);
        }
        for threads in [1, 2] {
            compare(&mut results, dir.path(), &package, (name, threads, mib), crypto_s)?;
        }
        fs::remove_dir_all(&package)?;
    }
    results.write()
}

/// Loads in turn: sealed, read into fresh memory, mapped and copied into fresh memory. Every load is in a process of its
/// own, since memory that an earlier load has touched is not fresh.
fn compare(
    results: &mut Results,
    dir: &Path,
    package: &Path,
    (segment, threads, mib): (&str, usize, usize),
    crypto_s: f64,
) -> Result<(), Failure> {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (times, kind) in times.iter_mut().zip(["sealed", "read", "mmap"]) {
            let mut child = Command::new(env::current_exe()?);
            child
                .env(CHILD, kind)
                .args([package, &dir.join("model/model.safetensors")])
                .arg(threads.to_string());
            let output = child.output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            times.push(String::from_utf8(output.stdout)?.trim().parse()?);
        }
    }
    let [sealed, read, mapped] = times.map(median);
    let name = |what: &str| format!("{what}_{segment}_{threads}t");
    results.add(&name("sealed_load"), gib_per_s(mib, sealed), "GiB/s", None);
    results.add(&name("over_read"), sealed, "s", Some(("read into fresh memory", sealed / read)));
    results.add(&name("over_mmap"), sealed, "s", Some(("mmap and copy to fresh memory", sealed / mapped)));
    let parts = read + if threads == 1 { crypto_s } else { crypto_s / 2.0 };
    results.add(
        &name("over_parts"),
        sealed,
        "s",
        Some(("read, SHA-256 and AES-256-GCM alone", sealed / parts)),
    );
    Ok(())
}

/// One load, whose seconds are printed.
fn load_once(kind: &str) -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [package, plain, threads] = arguments.as_slice() else { return Err("three arguments".into()) };
    let model = open(Path::new(package))?;
    let plain = File::open(plain)?;
    let threads: usize = threads.parse()?;
    let seconds = match kind {
        "sealed" => time(|| Ok(model.load_f32(NonZeroUsize::new(threads).ok_or("no threads")?)?))?,
        "read" => time(|| load_plain(&model, threads, |out, at| read_into(&plain, out, at)))?,
        _ => time(|| load_mapped(&model, &plain, threads))?,
    };
    Ok(writeln!(std::io::stdout(), "{seconds}")?)
}

/// What hashing and decrypting cost alone, with one thread, on memory in the cache. Returns the seconds of both.
fn bounds(results: &mut Results, mib: usize) -> Result<f64, Failure> {
    let mut buffer = vec![0x5a_u8; (4 << 20) + 16];
    let key = UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| "key")?;
    let key = LessSafeKey::new(key);
    let rounds = mib / 4;
    let hash = time(|| Ok((0..rounds).map(|_| digest(&SHA256, &buffer)).collect::<Vec<_>>()))?;
    results.add("bound_sha256", gib_per_s(mib, hash), "GiB/s", None);
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let aead = time(|| {
        for _ in 0..rounds {
            let tag =
                key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer).map_err(|_| "seal")?;
            key.open_in_place_separate_tag(nonce(), Aad::empty(), tag, &mut buffer, 0..)
                .map_err(|_| "open")?;
        }
        Ok(())
    })?;
    results.add("bound_aes256gcm", gib_per_s(2 * mib, aead), "GiB/s", None);
    Ok(hash + aead / 2.0)
}

/// A model folder whose weights are `mib` MiB of 8 MiB tensors.
fn write_model(dir: &Path, mib: usize) -> Result<(), Failure> {
    let model = dir.join("model");
    fs::create_dir(&model)?;
    let count = (mib << 20) / TENSOR_LEN;
    let entry = |index: usize| {
        let (begin, end, side) = (index * TENSOR_LEN, (index + 1) * TENSOR_LEN, TENSOR_LEN / 4);
        format!(r#""t{index}":{{"dtype":"F32","shape":[{side}],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = (0..count).map(entry).collect();
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = File::create(model.join("model.safetensors"))?;
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

fn seal_model(source: &Path, out: &Path, segment: SegmentSize) -> Result<(), Failure> {
    let options = SealOptions {
        model_id: "bench/model",
        version: 1,
        created_s: 1,
        not_after_s: 2,
        previous: None,
        segment,
    };
    seal(source, out, &options, &OwnerKey::from_seed(&OWNER_SEED)?, &KEY)?;
    Ok(())
}

fn open(package: &Path) -> Result<SealedModel, Failure> {
    let owner = OwnerKey::from_seed(&OWNER_SEED)?.public_key();
    let manifest = Manifest::verify(&read_manifest(package)?, &owner)?;
    let key = WeightsKey::open(&manifest, &KEY)?;
    Ok(SealedModel::open(&key, PackageFiles::open(package, &manifest)?)?)
}

/// Fills fresh memory for every tensor, tensor by tensor, from several threads.
fn load_plain(
    model: &SealedModel,
    threads: usize,
    fill: impl Fn(&mut [f32], u64) -> Result<(), Failure> + Sync,
) -> Result<Vec<Vec<f32>>, Failure> {
    let tensors = model.index().tensors();
    let mut out = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        out.push(vec![0.0_f32; usize::try_from(tensor.elements())?]);
    }
    let start = model.index().data_start();
    let queue = Mutex::new(tensors.iter().map(|tensor| start + tensor.begin).zip(&mut out));
    let work = || -> Result<(), String> {
        while let Some((at, out)) = { queue.lock().map_err(|_| "poisoned")?.next() } {
            fill(out, at).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let first = work();
        others.into_iter().try_fold((), |(), other| other.join().map_err(|_| "panicked".to_owned())?)?;
        first
    })?;
    Ok(out)
}

/// Reads numbers straight into place, a cache's worth at a time.
fn read_into(file: &File, out: &mut [f32], at: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 << 10];
    let mut at = at;
    for part in out.chunks_mut(buffer.len() / 4) {
        file.read_exact_at(&mut buffer, at)?;
        copy_numbers(part, &buffer);
        at += buffer.len() as u64;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "mapping the plain file is what the peer does")]
fn load_mapped(model: &SealedModel, file: &File, threads: usize) -> Result<Vec<Vec<f32>>, Failure> {
    // SAFETY: the file is in a fresh temporary folder of this process, which does not write to it any more.
    let map = unsafe { Mmap::map(file)? };
    load_plain(model, threads, |out, at| {
        let bytes = map.get(usize::try_from(at)?..).ok_or("short file")?;
        copy_numbers(out, bytes);
        Ok(())
    })
}

fn copy_numbers(out: &mut [f32], bytes: &[u8]) {
    for (out, number) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *out = f32::from_le_bytes(*number);
    }
}

/// Seconds for one run; what it made is dropped after the clock is read.
fn time<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    let made = hint::black_box(run()?);
    let elapsed = started.elapsed().as_secs_f64();
    drop(made);
    Ok(elapsed)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "a size in MiB is far below the precision of a float")]
fn gib_per_s(mib: usize, seconds: f64) -> f64 {
    mib as f64 / 1024.0 / seconds
}

#[derive(Default)]
struct Results(Vec<Value>);

impl Results {
    fn add(&mut self, name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>) {
        let line = match peer {
            Some((peer, ratio)) => format!("{name}: {value:.3} {unit}, {ratio:.3} times {peer}"),
            None => format!("{name}: {value:.3} {unit}"),
        };
        // A closed output must not end the measurement.
        let _ = writeln!(std::io::stdout(), "{line}");
        self.0.push(json!({
            "name": name,
            "value": value,
            "unit": unit,
            "peer": peer.map(|(name, _)| name),
            "ratio": peer.map(|(_, ratio)| ratio),
        }));
    }

    fn write(self) -> Result<(), Failure> {
        if let Ok(path) = env::var("JSON") {
            fs::write(path, serde_json::to_vec_pretty(&self.0)?)?;
        }
        Ok(())
    }
}
