//! The device of the driver on a driver of host memory and fibers (`simt/driver.cpp`): the calls themselves, the pinned buffers, the
//! recorded graphs, and what is given back.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_cuda::{
    ConfidentialMode, CudaDecoder, CudaDevice, Device as _, DeviceError, confidential_mode, self_test,
};
use anchorhold_model::{LoadedModel, load_on};
use anchorhold_sealed_weights::Effort;
use common::*;
use std::os::unix::fs::symlink;
use std::process::Command;

/// What the fake takes for a fat binary.
const KERNELS: &[u8] = b"fibers";

/// Builds the fake and runs the tests below where the loader finds it: it looks for libraries where it was told when a process began.
#[test]
fn the_device_of_the_driver_works_on_a_fake_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    let built = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
        .args(["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-Bsymbolic"])
        .args([format!("-I{here}/simt"), format!("-I{here}/../../server/cuda/kernels")])
        .arg(format!("{here}/simt/driver.cpp"))
        .arg("-o")
        .arg(folder.path().join("libcuda.so.1"))
        .status();
    assert!(built.unwrap().success());
    for name in ["libcublasLt.so.13", "libnvidia-ml.so.1"] {
        symlink("libcuda.so.1", folder.path().join(name)).unwrap();
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--test-threads", "1"])
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && text.contains("2 passed"), "{text}");
}

#[test]
#[ignore = "run by the first test, with the fake driver"]
fn answers_are_those_of_the_cpu() {
    assert_eq!(confidential_mode(), Ok(ConfidentialMode::On));
    self_test(&mut CudaDevice::open_with(KERNELS).unwrap()).unwrap();
    for family in ["llama", "qwen3"] {
        let device = CudaDevice::open_with(KERNELS).unwrap();
        let (loaded, _) = load_on(&sealed(&tiny(family)), Effort::default(), |plan, weights| {
            Ok(Box::new(CudaDecoder::load(device, &plan, weights, CAPACITY)?))
        })
        .unwrap();
        let LoadedModel::Chat(model) = loaded else { panic!("not a chat model") };
        assert_equals_the_cpu(&tiny(family), 128, &mut Sequences::new(model.generator));
    }
}

#[test]
#[ignore = "run by the first test, with the fake driver"]
fn copies_are_whole_and_limits_hold() {
    let mut device = CudaDevice::open_with(KERNELS).unwrap();
    // More than the ring has buffers for.
    let bytes: Vec<u8> = (0..70_u32 << 20).map(|at| (at ^ at >> 11).to_le_bytes()[0]).collect();
    let memory = device.allocate(bytes.len()).unwrap();
    let mut back = vec![1; bytes.len()];
    device.read(memory, &mut back).unwrap();
    assert!(back.iter().all(|byte| *byte == 0), "fresh memory is zeroed");
    device.upload(memory, &bytes).unwrap();
    device.read(memory, &mut back).unwrap();
    assert!(back == bytes);
    device.clear(memory.part(5, 10).unwrap()).unwrap();
    device.read(memory.part(0, 20).unwrap(), &mut back[..20]).unwrap();
    assert_eq!((&back[..5], &back[5..15], &back[15..20]), (&bytes[..5], &[0; 10][..], &bytes[15..20]));
    let too_long = Err(DeviceError::Launch("more bytes than a pinned buffer has"));
    assert_eq!(device.send(memory, &bytes[..(1 << 20) + 1]), too_long);
    let outside = Err(DeviceError::Launch("a range is outside of its memory"));
    assert_eq!(device.upload(memory.part(0, 9).unwrap(), &bytes[..10]), outside);
    assert!(matches!(device.allocate(1 << 40), Err(DeviceError::Memory { .. })));
    assert_eq!(device.end_recording(), Err(DeviceError::Launch("nothing is being recorded")));
    assert!(matches!(CudaDevice::open_with(b"nothing"), Err(DeviceError::Call { code: 200, .. })));
}
