//! Bodies to JSON and back, by the descriptor of the messages.

use bytes::Bytes;
use mfn_wire::{ContentType, Service, descriptor, method};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

use crate::error::CliError;

const PACKAGE: &str = "hypermesh.local.v1";

/// Knows every message.
#[derive(Debug)]
pub(super) struct Bodies {
    pool: DescriptorPool,
}

/// A method by its name or number.
pub(super) fn described(service: Service, name: &str) -> Option<&'static method::Description> {
    let number: Option<u16> = name.parse().ok();
    method::ALL
        .iter()
        .find(|one| one.service == service && (one.name == name || Some(one.method) == number))
}

impl Bodies {
    pub(super) fn new() -> Result<Self, CliError> {
        let pool = DescriptorPool::decode(descriptor::FILE_DESCRIPTOR_SET).map_err(|error| {
            CliError::failed(format!(
                "the messages are not readable ({error}); please report this"
            ))
        })?;
        Ok(Self { pool })
    }

    fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(&format!("{PACKAGE}.{name}"))
    }

    /// The body of a request from what was typed.
    pub(super) fn encode(
        &self,
        message: &str,
        json: Option<&str>,
    ) -> Result<(ContentType, Bytes), CliError> {
        if message.is_empty() {
            return match json {
                None | Some("{}") => Ok((ContentType::None, Bytes::new())),
                Some(_) => Err(CliError::usage("this method takes no arguments")),
            };
        }
        let descriptor = self.message(message).ok_or_else(|| {
            CliError::failed(format!("{message} is not described; please report this"))
        })?;
        let mut deserializer = serde_json::Deserializer::from_str(json.unwrap_or("{}"));
        let encoded = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer)
            .and_then(|dynamic| deserializer.end().map(|()| dynamic))
            .map_err(|error| {
                let fields: Vec<String> = descriptor
                    .fields()
                    .map(|field| field.name().to_owned())
                    .collect();
                CliError::usage(format!(
                    "the JSON is not a {message}: {error}; its fields are {}",
                    fields.join(", ")
                ))
            })?;
        use prost::Message as _;
        Ok((ContentType::Protobuf, encoded.encode_to_vec().into()))
    }

    /// A body as JSON: by its message where that is known, else as text or hex.
    pub(super) fn decode(&self, content_type: ContentType, message: &str, body: &Bytes) -> Value {
        match content_type {
            ContentType::None if message.is_empty() => json!({}),
            ContentType::Text => json!(String::from_utf8_lossy(body)),
            ContentType::Bytes | ContentType::Fixed => json!({ "bytes": hex(body) }),
            ContentType::None | ContentType::Protobuf => self
                .message(message)
                .and_then(|descriptor| DynamicMessage::decode(descriptor, body.clone()).ok())
                .and_then(|dynamic| {
                    let options = SerializeOptions::new()
                        .use_proto_field_name(true)
                        .skip_default_fields(false)
                        .stringify_64_bit_integers(false);
                    dynamic
                        .serialize_with_options(serde_json::value::Serializer, &options)
                        .ok()
                })
                .unwrap_or_else(|| json!({ "undecoded": hex(body) })),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every message that a method names is described, and JSON goes there and back.
    #[test]
    fn all_methods_are_described() {
        let bodies = Bodies::new().unwrap();
        for one in method::ALL {
            for name in [one.request, one.event, one.reply] {
                let is_message = !["", "bytes", "text"].contains(&name);
                assert!(!is_message || bodies.message(name).is_some(), "{one:?}");
            }
            assert_eq!(described(one.service, one.name), Some(one));
            assert_eq!(described(one.service, &one.method.to_string()), Some(one));
        }
        let typed = r#"{"root":"hmr1x","offset":5}"#;
        let (content_type, body) = bodies.encode("CatRequest", Some(typed)).unwrap();
        let value = bodies.decode(content_type, "CatRequest", &body);
        assert_eq!(
            (&value["root"], &value["offset"]),
            (&json!("hmr1x"), &json!(5))
        );
        for wrong in ["{", "{} x", r#"{"rot":1}"#, r#"{"offset":"x"}"#] {
            let error = bodies.encode("CatRequest", Some(wrong)).unwrap_err();
            assert!(error.line(false).contains("its fields are root"), "{wrong}");
        }
        let noise = Bytes::from_static(&[0xff; 9]);
        let value = bodies.decode(ContentType::Protobuf, "CatRequest", &noise);
        assert_eq!(value["undecoded"], "ff".repeat(9));
    }
}
