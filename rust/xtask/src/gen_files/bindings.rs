//! The raw bindings of `rust/ifr-sys` from `ffi/include/mfn/ifr.h`.
//!
//! The committed file names the hash of the headers that it was made from. A check compares hashes, so that only
//! whoever changes a header needs libclang.

use std::path::Path;

use super::{Files, Generated};

const HEADERS: [&str; 2] = ["ffi/include/mfn/ifr.h", "ffi/include/mfn/status.h"];
const OUTPUT: &str = "rust/ifr-sys/src/bindings.rs";

pub(crate) fn files(root: &Path) -> Files {
    if !root.join(HEADERS[0]).exists() {
        return Ok(Vec::new());
    }
    let mut hasher = blake3::Hasher::new();
    for header in HEADERS {
        let path = root.join(header);
        hasher.update(&std::fs::read(&path).map_err(|error| format!("{header}: {error}"))?);
    }
    let first = format!(
        "// Generated from ffi/include/mfn/ifr.h (headers {}) by `./make gen`; do not edit.\n",
        hasher.finalize().to_hex()
    );
    let there = std::fs::read_to_string(root.join(OUTPUT)).unwrap_or_default();
    if there.starts_with(&first) {
        return Ok(vec![Generated {
            path: OUTPUT.into(),
            text: there,
        }]);
    }
    let bindings = bindgen::Builder::default()
        .header(root.join(HEADERS[0]).to_string_lossy())
        .clang_arg(format!("-I{}", root.join("ffi/include").display()))
        .allowlist_function("mfn_ifr_.*")
        .allowlist_type("mfn_ifr_.*|mfn_status")
        .allowlist_var("MFN_.*")
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .use_core()
        .disable_header_comment()
        .layout_tests(true)
        .formatter(bindgen::Formatter::Prettyplease)
        .generate()
        .map_err(|error| {
            format!("{error}; regenerating bindings needs libclang (Debian: libclang1)")
        })?;
    Ok(vec![Generated {
        path: OUTPUT.into(),
        text: format!("{first}{bindings}"),
    }])
}
