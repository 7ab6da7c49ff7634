//! Reads and checks `ffi/protocol/constants.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

/// The whole file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    protocol: Protocol,
    limits: BTreeMap<String, Number>,
    kind: BTreeMap<String, Number>,
    service: BTreeMap<String, Number>,
    content_type: BTreeMap<String, Number>,
    flag: BTreeMap<String, Number>,
    tlv: BTreeMap<String, Number>,
    feature: BTreeMap<String, Number>,
    ifr_key: BTreeMap<String, Number>,
    method: BTreeMap<String, BTreeMap<String, Number>>,
    status: BTreeMap<String, StatusSource>,
}

#[derive(Deserialize)]
struct Protocol {
    version: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    value: u64,
    text: String,
    #[serde(default)]
    retired: bool,
    /// Of a method: the message that asks; absent is no body.
    #[serde(default)]
    request: String,
    /// Of a method: the message of its events.
    #[serde(default)]
    event: String,
    /// Of a method: the message that answers.
    #[serde(default)]
    reply: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusSource {
    value: i32,
    class: String,
    retryable: bool,
    text: String,
    #[serde(default)]
    retired: bool,
}

/// One number with its name and its sentence.
pub(crate) struct Constant {
    pub name: String,
    pub value: u64,
    pub text: String,
    /// Of a method: the messages of request, event and reply; `bytes` and `text` are those content types, empty is none.
    pub messages: [String; 3],
}

/// One status.
pub(crate) struct Status {
    /// As in the source: `BAD_KIND`.
    pub name: String,
    pub value: i32,
    pub class: String,
    pub retryable: bool,
    pub text: String,
}

/// All constants, each list in the order of its values.
pub(crate) struct Constants {
    pub version: u8,
    pub limits: Vec<Constant>,
    pub kinds: Vec<Constant>,
    pub services: Vec<Constant>,
    pub content_types: Vec<Constant>,
    pub flags: Vec<Constant>,
    pub tlvs: Vec<Constant>,
    pub features: Vec<Constant>,
    pub ifr_keys: Vec<Constant>,
    /// Service name and its methods, in the order of the services.
    pub methods: Vec<(String, Vec<Constant>)>,
    pub statuses: Vec<Status>,
}

/// Reads the constants; a number that stands twice, or does not fit its field, is an error.
pub(crate) fn load(root: &Path) -> Result<Constants, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(root.join("ffi/protocol/constants.toml"))?;
    let source: Source = toml::from_str(&text)?;
    let services = list("service", source.service, u8::MAX.into())?;
    let mut methods = Vec::new();
    let mut of_service = source.method;
    for service in &services {
        if let Some(numbers) = of_service.remove(&service.name) {
            methods.push((
                service.name.clone(),
                list("method", numbers, u16::MAX.into())?,
            ));
        }
    }
    if let Some(name) = of_service.keys().next() {
        return Err(format!("method.{name}: no such service").into());
    }
    Ok(Constants {
        version: source.protocol.version,
        limits: limits(source.limits)?,
        kinds: list("kind", source.kind, u8::MAX.into())?,
        services,
        content_types: list("content_type", source.content_type, u8::MAX.into())?,
        flags: list("flag", source.flag, u16::MAX.into())?,
        tlvs: list("tlv", source.tlv, u16::MAX.into())?,
        features: list("feature", source.feature, u64::MAX)?,
        ifr_keys: list("ifr_key", source.ifr_key, u8::MAX.into())?,
        methods,
        statuses: statuses(source.status)?,
    })
}

/// Numbers that name something: distinct, and inside their field.
fn list(what: &str, numbers: BTreeMap<String, Number>, most: u64) -> Result<Vec<Constant>, String> {
    let mut seen = BTreeSet::new();
    for (name, number) in &numbers {
        if number.value > most {
            return Err(format!(
                "{what}.{name}: {} does not fit its field",
                number.value
            ));
        }
        if !seen.insert(number.value) {
            return Err(format!(
                "{what}.{name}: {} is taken; numbers are never reused",
                number.value
            ));
        }
    }
    limits(numbers)
}

/// Numbers that measure something: two may be equal.
fn limits(numbers: BTreeMap<String, Number>) -> Result<Vec<Constant>, String> {
    let mut constants: Vec<Constant> = numbers
        .into_iter()
        .filter(|(_, number)| !number.retired)
        .map(|(name, number)| Constant {
            name,
            value: number.value,
            text: number.text,
            messages: [number.request, number.event, number.reply],
        })
        .collect();
    constants.sort_by_key(|constant| constant.value);
    Ok(constants)
}

fn statuses(source: BTreeMap<String, StatusSource>) -> Result<Vec<Status>, String> {
    let mut seen = BTreeSet::new();
    let mut statuses = Vec::new();
    for (name, status) in source {
        if !seen.insert(status.value) {
            return Err(format!(
                "status.{name}: {} is taken; numbers are never reused",
                status.value
            ));
        }
        if !["none", "caller", "peer", "environment", "internal"].contains(&status.class.as_str()) {
            return Err(format!(
                "status.{name}: class '{}' is unknown",
                status.class
            ));
        }
        if !status.retired {
            let StatusSource {
                value,
                class,
                retryable,
                text,
                ..
            } = status;
            statuses.push(Status {
                name,
                value,
                class,
                retryable,
                text,
            });
        }
    }
    statuses.sort_by_key(|status| -status.value);
    Ok(statuses)
}

/// `frame_bytes_max` as `FrameBytesMax`; parts that are initialisms stay so where `initialisms` asks for it.
pub(crate) fn camel(name: &str, initialisms: &[&str]) -> String {
    name.split('_')
        .map(|part| {
            let lower = part.to_ascii_lowercase();
            if initialisms.contains(&lower.as_str()) {
                return lower.to_ascii_uppercase();
            }
            let mut letters = lower.chars();
            letters.next().map_or(String::new(), |first| {
                first.to_ascii_uppercase().to_string() + letters.as_str()
            })
        })
        .collect()
}
