//! The constants in Python: `integration/interop/python/mfn/protocol.py`.

use std::fmt::Write;

use super::Generated;
use super::constants::{Constant, Constants};

pub(crate) fn file(constants: &Constants) -> Generated {
    let mut out = String::from(
        "\"\"\"Constants of the local wire. Generated from ffi/protocol/constants.toml by `./make gen`; do not edit.\"\"\"\n\n\
         from enum import IntEnum\n",
    );
    line(
        &mut out,
        format_args!(
            "\n#: The major version of the local wire.\nVERSION = {}",
            constants.version
        ),
    );
    line(
        &mut out,
        format_args!(
            "\n\nclass Status(IntEnum):\n    \"\"\"How a call ended: 0 is success, errors are negative.\"\"\"\n"
        ),
    );
    for status in &constants.statuses {
        line(
            &mut out,
            format_args!(
                "    #: {}\n    {} = {}",
                status.text, status.name, status.value
            ),
        );
    }
    enumeration(
        &mut out,
        "Service",
        "What a socket serves.",
        &constants.services,
    );
    enumeration(
        &mut out,
        "ContentType",
        "What a body is.",
        &constants.content_types,
    );
    enumeration(
        &mut out,
        "IfrKey",
        "What a key of the ifr service is.",
        &constants.ifr_keys,
    );
    for (service, methods) in &constants.methods {
        enumeration(
            &mut out,
            &format!("{}Method", capitalised(service)),
            &format!("Methods of the {service} service."),
            methods,
        );
    }
    out += "\n\n#: The methods of each service.\nMETHODS: dict[Service, type[IntEnum]] = {\n";
    for (service, _) in &constants.methods {
        line(
            &mut out,
            format_args!(
                "    Service.{}: {}Method,",
                service.to_uppercase(),
                capitalised(service)
            ),
        );
    }
    out += "}\n";
    Generated {
        path: "integration/interop/python/mfn/protocol.py".into(),
        text: out,
    }
}

fn enumeration(out: &mut String, name: &str, doc: &str, constants: &[Constant]) {
    line(
        out,
        format_args!("\n\nclass {name}(IntEnum):\n    \"\"\"{doc}\"\"\"\n"),
    );
    for constant in constants {
        line(
            out,
            format_args!(
                "    #: {}\n    {} = {}",
                constant.text,
                constant.name.to_uppercase(),
                constant.value
            ),
        );
    }
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// Writing to a string does not fail.
fn line(out: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{args}");
}
