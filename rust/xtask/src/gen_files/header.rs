//! The C headers of what is written in Rust: `ffi/include/mfn/client.h` and `cpe.h` from `rust/capi`.

use std::path::Path;

use super::Generated;

const CLIENT: &str = "\
/* The client of the local sockets. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/client.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, and
 * mfn_last_error has the text of the last error of the calling thread. */";

const CPE: &str = "\
/* Layer 4: predicts the next symbol of streams and the next values of series. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/cpe.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, except
 * `needed`. Structs that are filled start with struct_size, which the caller sets; a shorter one gets what fits.
 * docs/memory/CPE.md has the idea and a tutorial. */";

pub(crate) fn files(root: &Path) -> super::Files {
    Ok(vec![
        header(root, "client", CLIENT)?,
        header(root, "cpe", CPE)?,
    ])
}

fn header(root: &Path, name: &str, head: &str) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(head.into()),
        include_guard: Some(format!("MFN_{}_H", name.to_uppercase())),
        cpp_compat: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        includes: vec!["status.h".into()],
        style: cbindgen::Style::Tag,
        usize_is_size_t: true,
        documentation_style: cbindgen::DocumentationStyle::C,
        line_length: 120,
        ..Default::default()
    };
    config.function.sort_by = Some(cbindgen::SortKey::None);
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join(format!("rust/capi/src/{name}.rs")))
        .generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(Generated {
        path: format!("ffi/include/mfn/{name}.h").into(),
        text: String::from_utf8(text)?,
    })
}
