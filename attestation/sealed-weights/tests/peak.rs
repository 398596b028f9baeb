//! Case 25: the memory that a load takes beyond the tensors is one segment for each thread. Measured as the kernel counts it, in
//! a process with this one test.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::fs;
use std::num::NonZeroUsize;

use anchorhold_sealed_weights::{
    Destination, Effort, Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, SegmentSize, WeightsKey,
    read_manifest, seal,
};

const KEY: [u8; 32] = [0x5a; 32];
const MIB: usize = 1 << 20;
const TENSORS: usize = 24;
/// Not a multiple of the segment, so that some segments hold two tensors and go through a scratch.
const TENSOR_LEN: usize = 4 * MIB + 4096;
const THREADS: usize = 16;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// The most memory that `run` has beyond what there was before.
fn most(run: impl FnOnce()) -> usize {
    let before = status("VmRSS");
    // Sets the high-water mark to what there is now (proc(5), `clear_refs`).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    run();
    status("VmHWM").saturating_sub(before)
}

#[test]
fn case_25_a_load_takes_the_tensors_and_one_segment_for_each_thread() {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("model");
    fs::create_dir(&model).unwrap();
    let entry = |at: usize| {
        let (begin, end) = (at * TENSOR_LEN, (at + 1) * TENSOR_LEN);
        format!(r#""t{at}":{{"dtype":"U8","shape":[{TENSOR_LEN}],"data_offsets":[{begin},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..TENSORS).map(entry).collect::<Vec<_>>().join(","));
    let mut weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    weights.resize(weights.len() + TENSORS * TENSOR_LEN, 7);
    fs::write(model.join("model.safetensors"), weights).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    fs::write(model.join("tokenizer.json"), "{}").unwrap();
    let (owner, out) = (OwnerKey::from_seed(&[7; 32]).unwrap(), place.path().join("package"));
    let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("acme/tiny", 1, 1..=2) };
    let effort = Effort::on_threads(NonZeroUsize::new(THREADS).unwrap());
    // Sealing takes a segment for each thread and no more of the weights, however long they are.
    let sealing = most(|| {
        seal(&model, &out, &options, &owner, &KEY, &effort).unwrap();
    });
    assert!(sealing <= (2 * THREADS + 8) * MIB, "sealing took {sealing} bytes");
    let manifest = Manifest::verify(&read_manifest(&out).unwrap(), &owner.public_key()).unwrap();
    let key = WeightsKey::open(&manifest, &KEY).unwrap();
    let sealed = SealedModel::open(&key, PackageFiles::open(&out, &manifest).unwrap()).unwrap();
    let loading = most(|| drop(sealed.load(&effort).unwrap()));
    let tensors = TENSORS * TENSOR_LEN;
    assert!(loading >= tensors, "the measure measures: {loading} bytes");
    assert!(loading <= tensors + (THREADS + 8) * MIB, "loading took {loading} bytes");
    let skips = || sealed.index().tensors().map(|_| Destination::Skip).collect();
    let verifying = most(|| sealed.load_tensors(skips(), &effort).unwrap());
    assert!(verifying <= (THREADS + 8) * MIB, "verifying took {verifying} bytes");
}
