//! The raw bindings of the `-sys` crates, each from one header of `ffi/include/mfn`.
//!
//! A committed file names the hash of the headers that it was made from. A check compares hashes, so that only
//! whoever changes a header needs libclang.

use std::path::Path;

use super::{Files, Generated};

/// What every header includes.
const STATUS: &str = "ffi/include/mfn/status.h";

/// One header and what is made of it.
struct Bindings {
    header: &'static str,
    output: &'static str,
    /// Start of the names of its functions and types.
    prefix: &'static str,
}

const ALL: &[Bindings] = &[
    Bindings {
        header: "ffi/include/mfn/ifr.h",
        output: "rust/ifr-sys/src/bindings.rs",
        prefix: "mfn_ifr_",
    },
    Bindings {
        header: "ffi/include/mfn/alm.h",
        output: "rust/alm-sys/src/bindings.rs",
        prefix: "mfn_alm_",
    },
];

pub(crate) fn files(root: &Path) -> Files {
    ALL.iter().map(|one| file(root, one)).collect()
}

fn file(root: &Path, one: &Bindings) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut hasher = blake3::Hasher::new();
    for header in [one.header, STATUS] {
        let path = root.join(header);
        hasher.update(&std::fs::read(&path).map_err(|error| format!("{header}: {error}"))?);
    }
    let first = format!(
        "// Generated from {} (headers {}) by `./make gen`; do not edit.\n",
        one.header,
        hasher.finalize().to_hex()
    );
    let there = std::fs::read_to_string(root.join(one.output)).unwrap_or_default();
    if there.starts_with(&first) {
        return Ok(Generated {
            path: one.output.into(),
            text: there,
        });
    }
    let bindings = bindgen::Builder::default()
        .header(root.join(one.header).to_string_lossy())
        .clang_arg(format!("-I{}", root.join("ffi/include").display()))
        .allowlist_function(format!("{}.*", one.prefix))
        .allowlist_type(format!("{}.*|mfn_status", one.prefix))
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
    Ok(Generated {
        path: one.output.into(),
        text: format!("{first}{bindings}"),
    })
}
