//! Compiles the kernels of `server/cuda/kernels` for the CPU.

fn main() {
    let kernels = "../../server/cuda/kernels";
    println!("cargo::rerun-if-changed=simt");
    println!("cargo::rerun-if-changed={kernels}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        // A product and a sum stay two roundings here; nvcc may fuse them.
        .flag("-ffp-contract=off")
        .include("simt")
        .include(kernels)
        .file("simt/simt.cpp")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("simt");
}
