//! The constants in Rust: `rust/wire/src/constants.rs`.

use std::fmt::Write;

use super::constants::{Constant, Constants, camel};
use super::{Generated, filter_text};

type Text = Result<String, Box<dyn std::error::Error>>;

pub(crate) fn file(constants: &Constants) -> Result<Generated, Box<dyn std::error::Error>> {
    let mut out = String::from(
        "//! Constants of the local wire. Generated from `ffi/protocol/constants.toml` by `./make gen`; do not edit.\n\n",
    );
    writeln!(
        out,
        "/// The major version of the local wire.\npub const VERSION: u8 = {};\n",
        constants.version
    )?;
    out += &numbers("limits", "Limits and sizes.", "u32", &constants.limits)?;
    out += &enumeration("Kind", "What a frame is.", &constants.kinds)?;
    out += &enumeration(
        "Service",
        "A socket that serves the wire.",
        &constants.services,
    )?;
    out += "impl Service {\n    /// File name of the service's socket.\n    pub fn socket_name(self) -> &'static str {\n        match self {\n";
    for service in &constants.services {
        writeln!(
            out,
            "Self::{} => {:?},",
            camel(&service.name, &[]),
            service.text
        )?;
    }
    out += "}}}\n";
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
    out += "/// Methods, per service.\npub mod method {\n";
    for (service, methods) in &constants.methods {
        out += &numbers(
            service,
            &format!("Methods of the {service} service."),
            "u16",
            methods,
        )?;
    }
    out += "/// Name of a method, for people.\npub fn name(service: super::Service, method: u16) -> Option<&'static str> {\n    Some(match (service, method) {\n";
    for (service, methods) in &constants.methods {
        for method in methods {
            writeln!(
                out,
                "(super::Service::{}, {}) => {:?},",
                camel(service, &[]),
                method.value,
                method.name
            )?;
        }
    }
    out += "_ => return None,})}\n";
    out += &messages(constants)?;
    out += "}\n\n";
    out += &statuses(constants)?;
    let text = filter_text(
        "rustfmt",
        &["--edition", "2024", "--config-path", "rustfmt.toml"],
        &out,
    )?;
    Ok(Generated {
        path: "rust/wire/src/constants.rs".into(),
        text,
    })
}

/// The table from which tools describe a method.
fn messages(constants: &Constants) -> Text {
    let mut out = String::from(
        "\n/// What a method takes and gives, as names of messages of `local.proto`. `bytes` and `text` are those content types.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub struct Description {\npub service: super::Service,\npub method: u16,\npub name: &'static str,\n\
         /// One sentence.\npub text: &'static str,\n/// Empty: no body.\npub request: &'static str,\n/// Of each event; empty: it does not stream.\npub event: &'static str,\n\
         /// Empty: no body.\npub reply: &'static str,\n}\n\n/// All methods, by service and number.\npub const ALL: &[Description] = &[\n",
    );
    for (service, methods) in &constants.methods {
        for method in methods {
            let [request, event, reply] = &method.messages;
            writeln!(
                out,
                "Description {{ service: super::Service::{}, method: {}, name: {:?}, text: {:?}, request: {request:?}, event: {event:?}, reply: {reply:?} }},",
                camel(service, &[]),
                method.value,
                method.name,
                method.text
            )?;
        }
    }
    out += "];\n";
    Ok(out)
}

fn numbers(module: &str, doc: &str, kind: &str, constants: &[Constant]) -> Text {
    let mut out = format!("/// {doc}\npub mod {module} {{\n");
    for constant in constants {
        writeln!(
            out,
            "/// {}\npub const {}: {kind} = {};",
            constant.text,
            constant.name.to_uppercase(),
            constant.value
        )?;
    }
    out += "}\n\n";
    Ok(out)
}

fn enumeration(name: &str, doc: &str, constants: &[Constant]) -> Text {
    let mut out = format!(
        "/// {doc}\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(u8)]\npub enum {name} {{\n"
    );
    for constant in constants {
        writeln!(
            out,
            "/// {}\n{} = {},",
            constant.text,
            camel(&constant.name, &[]),
            constant.value
        )?;
    }
    writeln!(
        out,
        "}}\n\nimpl {name} {{\n/// All of them, in the order of their numbers.\npub const ALL: &'static [Self] = &["
    )?;
    for constant in constants {
        writeln!(out, "Self::{},", camel(&constant.name, &[]))?;
    }
    out += "];\n\n/// The number on the wire.\npub fn as_u8(self) -> u8 { self as u8 }\n\n/// Its name, as in the specification.\npub fn name(self) -> &'static str { match self {\n";
    for constant in constants {
        writeln!(
            out,
            "Self::{} => {:?},",
            camel(&constant.name, &[]),
            constant.name
        )?;
    }
    writeln!(
        out,
        "}}}}}}\n\nimpl TryFrom<u8> for {name} {{\ntype Error = u8;\nfn try_from(number: u8) -> Result<Self, u8> {{\nOk(match number {{"
    )?;
    for constant in constants {
        writeln!(
            out,
            "{} => Self::{},",
            constant.value,
            camel(&constant.name, &[])
        )?;
    }
    out += "other => return Err(other),})}}\n\n";
    Ok(out)
}

fn statuses(constants: &Constants) -> Text {
    let mut out = String::from(
        "/// How a call ended: 0 is success, errors are negative. A number that this version does not know is kept.\n\
         #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub struct Status(pub i32);\n\nimpl Status {\n",
    );
    for status in &constants.statuses {
        writeln!(
            out,
            "/// {}\npub const {}: Self = Self({});",
            status.text, status.name, status.value
        )?;
    }
    out += "\n/// All known ones, success first.\npub const ALL: &'static [Self] = &[";
    for status in &constants.statuses {
        writeln!(out, "Self::{},", status.name)?;
    }
    out += "];\n\n/// Its name, or `UNKNOWN`.\npub fn name(self) -> &'static str { match self {\n";
    for status in &constants.statuses {
        writeln!(out, "Self::{0} => \"{0}\",", status.name)?;
    }
    out += "_ => \"UNKNOWN\",}}\n\n/// One sentence for people.\npub fn text(self) -> &'static str { match self {\n";
    for status in &constants.statuses {
        writeln!(out, "Self::{} => {:?},", status.name, status.text)?;
    }
    out += "_ => \"A status that this version does not know.\",}}\n\n/// Who is at fault: `none`, `caller`, `peer`, `environment`, `internal`, or `unknown`.\npub fn class(self) -> &'static str { match self {\n";
    for class in ["none", "caller", "peer", "environment", "internal"] {
        let names: Vec<String> = constants
            .statuses
            .iter()
            .filter(|status| status.class == class)
            .map(|status| format!("Self::{}", status.name))
            .collect();
        if !names.is_empty() {
            writeln!(out, "{} => {class:?},", names.join(" | "))?;
        }
    }
    out += "_ => \"unknown\",}}\n\n/// Whether the same call may succeed later.\npub fn is_retryable(self) -> bool { matches!(self, ";
    let retryable: Vec<String> = constants
        .statuses
        .iter()
        .filter(|status| status.retryable)
        .map(|status| format!("Self::{}", status.name))
        .collect();
    out += &retryable.join(" | ");
    out += ")}}\n";
    Ok(out)
}
