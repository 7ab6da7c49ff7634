//! The messages of `ffi/protocol/local.proto` in Rust and Go.
//!
//! The descriptor is made here (protox), so no `protoc` is needed; Go's own plugin writes the Go code from it.

use std::path::Path;

use prost::Message;
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse};

use super::{Files, Generated, filter};

const SOURCE: &str = "local.proto";

pub(crate) fn files(root: &Path) -> Files {
    let directory = root.join("ffi/protocol");
    let compiler = protox::Compiler::new([&directory])?
        .include_source_info(true)
        .include_imports(true)
        .open_file(SOURCE)?
        .file_descriptor_set();

    let module = prost_build::Module::from_protobuf_package_name("hypermesh.local.v1");
    let mut config = prost_build::Config::new();
    // Blocks are parts of the frame that brought them, not copies.
    config.bytes([
        ".hypermesh.local.v1.ReadBlock.body",
        ".hypermesh.local.v1.ArrivedBlock.body",
        ".hypermesh.local.v1.Heard.content",
        ".hypermesh.local.v1.Tell.content",
    ]);
    let generated = config.generate(
        compiler
            .file
            .iter()
            .map(|file| (module.clone(), file.clone()))
            .collect(),
    )?;
    let code = generated
        .into_values()
        .next()
        .ok_or("local.proto: no Rust code came out")?;
    let rust = Generated {
        path: "rust/wire/src/pb.rs".into(),
        text: format!(
            "// Messages of the local wire. Generated from `ffi/protocol/local.proto` by `./make gen`; do not edit.\n{code}"
        ),
    };

    // Source positions would make it four times as long, and say nothing of the wire.
    let bare = protox::Compiler::new([&directory])?
        .include_source_info(false)
        .include_imports(true)
        .open_file(SOURCE)?
        .encode_file_descriptor_set();
    let descriptor = Generated {
        path: "rust/wire/src/descriptor.rs".into(),
        text: descriptor(&bare),
    };

    let request = CodeGeneratorRequest {
        file_to_generate: vec![SOURCE.into()],
        parameter: Some("paths=source_relative".into()),
        proto_file: compiler.file,
        compiler_version: None,
    };
    let plugin = ["run", "google.golang.org/protobuf/cmd/protoc-gen-go"];
    let answer = filter("go", &plugin, &root.join("go"), &request.encode_to_vec())?;
    let answer = CodeGeneratorResponse::decode(answer.as_slice())?;
    if let Some(error) = answer.error {
        return Err(format!("protoc-gen-go: {error}").into());
    }
    let code = answer
        .file
        .into_iter()
        .next()
        .and_then(|file| file.content)
        .ok_or("local.proto: no Go code came out")?;
    let go = Generated {
        path: "go/internal/protocol/localpb/local.pb.go".into(),
        text: code,
    };
    Ok(vec![rust, descriptor, go])
}

/// The descriptor set as a byte string of Rust: text, so that its drift is seen in a review.
fn descriptor(bytes: &[u8]) -> String {
    let mut out = String::from(
        "//! The messages of `local.proto`, described for tools that read bodies without knowing them.\n\
         //! Generated from `ffi/protocol/local.proto` by `./make gen`; do not edit.\n\n\
         /// A `google.protobuf.FileDescriptorSet`, encoded.\npub const FILE_DESCRIPTOR_SET: &[u8] = b\"\\\n",
    );
    for line in bytes.chunks(28) {
        for byte in line {
            out += &format!("\\x{byte:02x}");
        }
        out += "\\\n";
    }
    out + "\";\n"
}
