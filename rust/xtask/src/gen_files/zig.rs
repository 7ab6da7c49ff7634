//! The constants in Zig: `zig/src/gen/protocol.zig`.

use std::fmt::Write;

use super::constants::{Constant, Constants};
use super::{Generated, filter_text};

pub(crate) fn file(constants: &Constants) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut out = String::from(
        "//! Constants of the local wire. Generated from ffi/protocol/constants.toml by `./make gen`; do not edit.\n\n",
    );
    writeln!(
        out,
        "/// The major version of the local wire.\npub const version: u8 = {};\n",
        constants.version
    )?;
    out += &numbers("limits", "Limits and sizes.", "u32", &constants.limits)?;
    out += &enumeration("Kind", "What a frame is.", &constants.kinds)?;
    out += &enumeration(
        "Service",
        "A socket that serves the wire.",
        &constants.services,
    )?;
    out += &enumeration("ContentType", "What a body is.", &constants.content_types)?;
    out += &numbers(
        "flag",
        "Bits of the header's flags.",
        "u16",
        &constants.flags,
    )?;
    out += &numbers("tlv", "Types of TLV entries.", "u16", &constants.tlvs)?;
    out += &numbers(
        "feature",
        "Bits of the features that HELLO announces.",
        "u64",
        &constants.features,
    )?;
    out += &numbers(
        "ifr_key",
        "What a key of the ifr service is.",
        "u8",
        &constants.ifr_keys,
    )?;
    out += "/// Methods, per service.\npub const method = struct {\n";
    for (service, methods) in &constants.methods {
        out += &numbers(
            service,
            &format!("Methods of the {service} service."),
            "u16",
            methods,
        )?;
    }
    out += "};\n\n/// How a call ended: 0 is success, errors are negative.\npub const Status = enum(i32) {\n";
    for status in &constants.statuses {
        writeln!(
            out,
            "/// {}\n@\"{}\" = {},",
            status.text,
            status.name.to_lowercase(),
            status.value
        )?;
    }
    out += "_,\n};\n";
    let zig = std::env::var("ZIG").unwrap_or_else(|_| "zig".into());
    let text = filter_text(&zig, &["fmt", "--stdin"], &out)?;
    Ok(Generated {
        path: "zig/src/gen/protocol.zig".into(),
        text,
    })
}

fn numbers(
    module: &str,
    doc: &str,
    kind: &str,
    constants: &[Constant],
) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = format!("/// {doc}\npub const {module} = struct {{\n");
    for constant in constants {
        writeln!(
            out,
            "/// {}\npub const {}: {kind} = {};",
            constant.text, constant.name, constant.value
        )?;
    }
    out += "};\n\n";
    Ok(out)
}

fn enumeration(
    name: &str,
    doc: &str,
    constants: &[Constant],
) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = format!("/// {doc}\npub const {name} = enum(u8) {{\n");
    for constant in constants {
        // Quoted, since a name may be a keyword; the formatter removes the quotes where it is none.
        writeln!(
            out,
            "/// {}\n@\"{}\" = {},",
            constant.text, constant.name, constant.value
        )?;
    }
    out += "};\n\n";
    Ok(out)
}
