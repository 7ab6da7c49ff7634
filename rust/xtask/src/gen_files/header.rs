//! The C header of what is written in Rust: `ffi/include/mfn/client.h` from `rust/capi`.

use std::path::Path;

use super::Generated;

const HEAD: &str = "\
/* The client of the local sockets. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/client.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, and
 * mfn_last_error has the text of the last error of the calling thread. */";

pub(crate) fn file(root: &Path) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(HEAD.into()),
        include_guard: Some("MFN_CLIENT_H".into()),
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
        .with_src(root.join("rust/capi/src/client.rs"))
        .generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(Generated {
        path: "ffi/include/mfn/client.h".into(),
        text: String::from_utf8(text)?,
    })
}
