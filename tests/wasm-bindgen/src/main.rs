//! `anchorhold-wasm-bindgen MODULE.wasm FOLDER`: the module without wasm-bindgen's descriptions, and its JavaScript for the web.

use std::error::Error;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        return Err("usage: anchorhold-wasm-bindgen MODULE.wasm FOLDER".into());
    };
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(false)
        .out_name("anchorhold_wasm")
        .generate(folder)?;
    Ok(())
}
