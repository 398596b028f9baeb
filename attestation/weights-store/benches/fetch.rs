//! How fast a package is fetched over the loopback interface, against curl fetching the same bytes from the same server.
//!
//! Run with `cargo bench -p anchorhold-weights-store`. `FETCH_DIR` names the folder for three times `FETCH_MIB` (default 512) of
//! files (default `/dev/shm`, so that neither side waits for a disk). `JSON` names a file for the results.
//!
//! Curl writes what comes; a fetch also hashes it, which on one core is the limit. Every number is the median of five runs, taken
//! in turn. Each fetch is a process of its own, whose peak memory is measured too. Without curl its rows are left out.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, thread};

use anchorhold_sealed_weights::{Effort, Manifest, OwnerKey, SealOptions, SegmentSize, read_manifest, seal};
use anchorhold_weights_store::{
    Cache, Limits, Order, Pin, PlainHttp, Recheck, Store, StoreOptions, Target, fetch,
};

type Failure = Box<dyn std::error::Error>;

const RUNS: usize = 5;
const OWNER_SEED: [u8; 32] = [7; 32];
/// Set in a process that makes one measurement: `in_flight recheck url cache`.
const CHILD: &str = "FETCH_CHILD";
const ROOM: u64 = 1 << 40;

fn main() -> Result<(), Failure> {
    if let Ok(order) = env::var(CHILD) {
        return fetch_once(&order);
    }
    let place = env::var("FETCH_DIR").unwrap_or_else(|_| "/dev/shm".to_owned());
    let mib: usize = env::var("FETCH_MIB").map_or(Ok(512), |text| text.parse())?;
    let dir = tempfile::tempdir_in(place)?;
    let package = dir.path().join("package");
    seal_model(dir.path(), &package, mib)?;
    let url = serve(&package)?;
    let weights = largest(&package.join("objects"))?;
    let weights_url = format!("{url}/objects/{}", weights.file_name().unwrap_or_default().to_string_lossy());
    let cache = dir.path().join("cache");
    let mut results = Vec::new();
    let mib_f = mib as f64;

    let mut curl = Vec::new();
    let mut fetched = [Vec::new(), Vec::new()];
    let mut peak = 0.0_f64;
    for _ in 0..RUNS {
        curl.extend(curl_once(&weights_url, &dir.path().join("curl"))?);
        for (times, in_flight) in fetched.iter_mut().zip([1, 8]) {
            if cache.exists() {
                fs::remove_dir_all(&cache)?;
            }
            let (seconds, memory) = child(&format!("{in_flight} no {url} {}", cache.display()))?;
            times.push(seconds);
            peak = peak.max(memory);
        }
    }
    let curl_rate = median(&mut curl).map(|seconds| mib_f / seconds);
    if let Some(rate) = curl_rate {
        add(&mut results, "curl", rate, "MiB/s", None);
    }
    for (mut times, in_flight) in fetched.into_iter().zip([1, 8]) {
        let rate = median(&mut times).map_or(0.0, |seconds| mib_f / seconds);
        let ratio = curl_rate.map(|curl| rate / curl);
        add(&mut results, &format!("fetch_{in_flight}_in_flight"), rate, "MiB/s", ratio);
    }
    add(&mut results, "fetch_peak_memory", peak, "MiB", None);

    // The package is whole now: what it costs to find that out, by the note and by every byte.
    for (name, recheck) in [("resume_by_note", "no"), ("resume_by_hash", "yes")] {
        let runs: Result<Vec<f64>, Failure> = (0..RUNS)
            .map(|_| child(&format!("8 {recheck} {url} {}", cache.display())).map(|(seconds, _)| seconds))
            .collect();
        let milliseconds = median(&mut runs?).unwrap_or(0.0) * 1e3;
        add(&mut results, name, milliseconds, "ms", None);
    }
    if let Ok(path) = env::var("JSON") {
        fs::write(path, format!("[{}]", results.join(",")))?;
    }
    Ok(())
}

fn add(results: &mut Vec<String>, name: &str, value: f64, unit: &str, ratio: Option<f64>) {
    let of_curl = ratio.map(|ratio| format!("  ({ratio:.2} of curl)")).unwrap_or_default();
    // Without a reader the results still go to the file.
    let _ = writeln!(std::io::stdout(), "{name:<24} {value:>10.1} {unit}{of_curl}");
    let peer = ratio.map(|ratio| format!(r#","peer":"curl","ratio":{ratio}"#)).unwrap_or_default();
    results.push(format!(r#"{{"name":"{name}","value":{value},"unit":"{unit}"{peer}}}"#));
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Runs this program again for one fetch; seconds and MiB of peak memory.
fn child(order: &str) -> Result<(f64, f64), Failure> {
    let output = Command::new(env::current_exe()?).env(CHILD, order).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(memory))) => Ok((seconds, memory)),
        _ => Err(format!("the fetch failed: {text}").into()),
    }
}

fn fetch_once(order: &str) -> Result<(), Failure> {
    let words: Vec<&str> = order.split(' ').collect();
    let [in_flight, recheck, url, cache] = words[..] else { return Err("order".into()) };
    let limits = Limits { in_flight: in_flight.parse()?, ..Limits::default() };
    let options = StoreOptions { plain_http: PlainHttp::DangerouslyAllowed, ..StoreOptions::default() };
    let store = Store::open(&url.parse()?, &options, &limits)?;
    let owner = OwnerKey::from_seed(&OWNER_SEED)?.public_key();
    let recheck = if recheck == "yes" { Recheck::Everything } else { Recheck::Nothing };
    let bytes = manifest_of(url)?;
    let digest = *Manifest::verify(&bytes, &owner)?.digest();
    let order =
        Order { owner_key: &owner, pin: Pin::Release { digest, min_version: 1 }, recheck, limits: &limits };
    let cache = Cache::open(Path::new(cache), ROOM)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let began = Instant::now();
    runtime.block_on(fetch(&store, &order, Target::Cache(&cache), &|_| {}))?;
    let seconds = began.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    let peak: f64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    Ok(writeln!(std::io::stdout(), "{seconds} {}", peak / 1024.0)?)
}

/// The manifest, by hand.
fn manifest_of(url: &str) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let authority = url.strip_prefix("http://").ok_or("not http")?;
    let mut stream = TcpStream::connect(authority)?;
    stream.write_all(b"GET /manifest.json HTTP/1.1\r\nconnection: close\r\n\r\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
    Ok(answer.split_off(at + 4))
}

fn curl_once(url: &str, out: &Path) -> Result<Option<f64>, Failure> {
    // A new file each time, as for the fetch.
    if out.exists() {
        fs::remove_file(out)?;
    }
    let began = Instant::now();
    match Command::new("curl").args(["--silent", "--fail", "--output"]).arg(out).arg(url).status() {
        Ok(status) if status.success() => Ok(Some(began.elapsed().as_secs_f64())),
        Ok(status) => Err(format!("curl ended with {status}").into()),
        Err(_) => Ok(None),
    }
}

fn largest(folder: &Path) -> Result<PathBuf, Failure> {
    let mut largest = (0, PathBuf::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        largest = largest.max((entry.metadata()?.len(), entry.path()));
    }
    Ok(largest.1)
}

fn seal_model(dir: &Path, package: &Path, mib: usize) -> Result<(), Failure> {
    let model = dir.join("model");
    fs::create_dir(&model)?;
    let len = mib << 20;
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    let file = File::create_new(model.join("model.safetensors"))?;
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0)?;
    file.write_all_at(header.as_bytes(), 8)?;
    file.set_len(8 + header.len() as u64 + len as u64)?;
    fs::write(model.join("config.json"), "{}")?;
    fs::write(model.join("tokenizer.json"), "{}")?;
    let options = SealOptions { segment: SegmentSize::Mib4, ..SealOptions::new("bench", 1, 1..=2) };
    seal(&model, package, &options, &OwnerKey::from_seed(&OWNER_SEED)?, &[9; 32], &Effort::default())?;
    read_manifest(package)?;
    fs::remove_dir_all(model)?;
    Ok(())
}

/// Serves the files of a folder with `sendfile`, a thread for each connection; ends with the process.
fn serve(root: &Path) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let root = root.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            thread::spawn(move || connection(&root, &stream).is_ok());
        }
    });
    Ok(url)
}

fn connection(root: &Path, mut stream: &TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        let path =
            head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("/").trim_start_matches('/');
        let file = File::open(root.join(path))?;
        let len = file.metadata()?.len();
        let range = head.iter().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
        let (first, end) = match range {
            Some((first, last)) => (first.parse()?, last.parse::<u64>()? + 1),
            None => (0, len),
        };
        let (status, ranged) = match range {
            Some(_) => ("206 Partial Content", format!("content-range: bytes {first}-{}/{len}\r\n", end - 1)),
            None => ("200 OK", String::new()),
        };
        let length = end - first;
        let answer = format!("HTTP/1.1 {status}\r\netag: \"1\"\r\ncontent-length: {length}\r\n{ranged}\r\n");
        stream.write_all(answer.as_bytes())?;
        let mut at = first;
        while at < end {
            let count = usize::try_from(end - at)?;
            rustix::fs::sendfile(stream, &file, Some(&mut at), count)?;
        }
    }
}
