//! The C headers of what is written in Rust: `ffi/include/mfn/*.h` from the modules of `rust/capi`.

use std::path::Path;

use super::Files;
use super::Generated;

/// A header: its name, its modules, what it is, what stands at its end beside what is generated.
type Header = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const HEADERS: &[Header] = &[
    (
        "client",
        &["client"],
        "\
/* The client of the local sockets. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/client.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, and
 * mfn_last_error has the text of the last error of the calling thread. */",
        "",
    ),
    (
        "dsr",
        &["dsr", "dsr_pools"],
        "\
/* Layer 2, the Dynamic Similarity Reservoir: similar vectors, and novelty. Implemented in rust/dsr; C11 and C++17.
 *
 * Generated from rust/capi/src/dsr.rs and dsr_pools.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, but for
 * lengths that say what is needed, and mfn_dsr_last_error has the text of the last error of the calling thread. */",
        "\
#define MFN_DSR_OPTIONS_INIT {(uint32_t)sizeof(struct mfn_dsr_options), 0, 1, 0, MFN_DSR_PRECISION_BYTES, 0, {0, 0}}
#define MFN_DSR_POOL_OPTIONS_INIT {(uint32_t)sizeof(struct mfn_dsr_pool_options), 0, (uint64_t)64 << 20, 0, {0}}",
    ),
    (
        "cpe",
        &["cpe", "cpe_pools"],
        "\
/* Layer 4: predicts the next symbol of streams and the next values of series. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/cpe.rs and cpe_pools.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, except
 * `needed`. Structs that are filled start with struct_size, which the caller sets; a shorter one gets what fits.
 * docs/memory/CPE.md has the idea and a tutorial. */",
        "",
    ),
];

pub(crate) fn files(root: &Path) -> Files {
    HEADERS.iter().map(|header| file(root, header)).collect()
}

fn file(
    root: &Path,
    (name, modules, head, tail): &Header,
) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some((*head).into()),
        include_guard: Some(format!("MFN_{}_H", name.to_uppercase())),
        cpp_compat: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        includes: vec!["status.h".into()],
        trailer: (!tail.is_empty()).then(|| (*tail).into()),
        style: cbindgen::Style::Tag,
        usize_is_size_t: true,
        documentation_style: cbindgen::DocumentationStyle::C,
        line_length: 120,
        ..Default::default()
    };
    config.function.sort_by = Some(cbindgen::SortKey::None);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for module in *modules {
        builder = builder.with_src(root.join(format!("rust/capi/src/{module}.rs")));
    }
    let bindings = builder.generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(Generated {
        path: format!("ffi/include/mfn/{name}.h").into(),
        text: String::from_utf8(text)?,
    })
}
