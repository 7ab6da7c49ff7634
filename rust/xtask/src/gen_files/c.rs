//! The constants in C: `ffi/include/mfn/status.h` and `ffi/include/mfn/protocol.h`.

use std::fmt::Write;

use super::Generated;
use super::constants::{Constant, Constants};

const NOTE: &str = "Generated from ffi/protocol/constants.toml by `./make gen`; do not edit.";

pub(crate) fn files(constants: &Constants) -> [Generated; 2] {
    [
        Generated {
            path: "ffi/include/mfn/status.h".into(),
            text: status(constants),
        },
        Generated {
            path: "ffi/include/mfn/protocol.h".into(),
            text: protocol(constants),
        },
    ]
}

fn open(guard: &str, what: &str) -> String {
    format!("/* {what}\n * {NOTE} */\n#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n")
}

fn status(constants: &Constants) -> String {
    let mut out = open(
        "MFN_STATUS_H",
        "How a call ended: 0 is success, errors are negative.",
    );
    out += "enum mfn_status {\n";
    for status in &constants.statuses {
        line(
            &mut out,
            format_args!(
                "    /* {} */\n    MFN_{} = {},",
                status.text, status.name, status.value
            ),
        );
    }
    out += "};\n\n/* Name of a status; never NULL. */\nstatic inline const char *mfn_status_name(int32_t status) {\n    switch (status) {\n";
    for status in &constants.statuses {
        line(
            &mut out,
            format_args!("    case MFN_{0}:\n        return \"{0}\";", status.name),
        );
    }
    out += "    default:\n        return \"UNKNOWN\";\n    }\n}\n\n/* One sentence for people; never NULL. */\nstatic inline const char *mfn_status_text(int32_t status) {\n    switch (status) {\n";
    for status in &constants.statuses {
        line(
            &mut out,
            format_args!(
                "    case MFN_{}:\n        return {:?};",
                status.name, status.text
            ),
        );
    }
    out += "    default:\n        return \"A status that this version does not know.\";\n    }\n}\n\n#endif\n";
    out
}

fn protocol(constants: &Constants) -> String {
    let mut out = open("MFN_PROTOCOL_H", "Constants of the local wire.");
    line(
        &mut out,
        format_args!(
            "/* The major version of the local wire. */\n#define MFN_WIRE_VERSION {}\n",
            constants.version
        ),
    );
    defines(&mut out, "Limits and sizes.", "WIRE_", &constants.limits);
    defines(&mut out, "What a frame is.", "KIND_", &constants.kinds);
    defines(&mut out, "Services.", "SERVICE_", &constants.services);
    defines(
        &mut out,
        "What a body is.",
        "CONTENT_TYPE_",
        &constants.content_types,
    );
    defines(
        &mut out,
        "Bits of the header's flags.",
        "FLAG_",
        &constants.flags,
    );
    defines(&mut out, "Types of TLV entries.", "TLV_", &constants.tlvs);
    defines(
        &mut out,
        "Bits of the features that HELLO announces.",
        "FEATURE_",
        &constants.features,
    );
    defines(
        &mut out,
        "What a key of the ifr service is.",
        "IFR_KEY_",
        &constants.ifr_keys,
    );
    for (service, methods) in &constants.methods {
        let prefix = format!("METHOD_{}_", service.to_uppercase());
        defines(
            &mut out,
            &format!("Methods of the {service} service."),
            &prefix,
            methods,
        );
    }
    out += "#endif\n";
    out
}

fn defines(out: &mut String, doc: &str, prefix: &str, constants: &[Constant]) {
    line(out, format_args!("/* {doc} */"));
    for constant in constants {
        let name = constant.name.to_uppercase();
        line(
            out,
            format_args!(
                "#define MFN_{prefix}{name} {}u /* {} */",
                constant.value, constant.text
            ),
        );
    }
    out.push('\n');
}

/// Writing to a string does not fail.
fn line(out: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{args}");
}
