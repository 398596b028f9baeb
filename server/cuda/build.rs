//! Embeds the kernels that `make cuda` compiled, where it says that it did; else nothing, and the program says so when it starts.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=ANCHORHOLD_CUDA_KERNELS");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let to = Path::new(&out).join("kernels.fatbin");
    match std::env::var_os("ANCHORHOLD_CUDA_KERNELS") {
        Some(from) => {
            println!("cargo::rerun-if-changed={}", from.display());
            std::fs::copy(from, to).expect("the file that ANCHORHOLD_CUDA_KERNELS names can be copied");
        }
        None => std::fs::write(to, []).expect("OUT_DIR can be written"),
    }
}
