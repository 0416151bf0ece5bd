//! Generates Rust from `proto/trainyard/**` (protox: no `protoc` needed) and proto3 JSON for the same types. Of the Cosmos
//! SDK's and CometBFT's messages only descriptors are made: their Rust types are other crates'.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::{Label, Type};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let ours = compile("proto/trainyard")?;
    let mut config = prost_build::Config::new();
    config
        .enable_type_names()
        .extern_path(".cosmos", "::cosmos_sdk_proto::cosmos")
        .compile_fds(ours.file_descriptor_set())?;
    pbjson_build::Builder::new()
        .register_descriptors(&ours.encode_file_descriptor_set())?
        .extern_path(".cosmos", "::cosmos_sdk_proto::cosmos")
        .preserve_proto_field_names()
        .emit_fields()
        .build(&[".trainyard"])?;
    std::fs::write(out.join("amino.rs"), amino_forms(&ours.file_descriptor_set()))?;
    std::fs::write(
        out.join("descriptors.bin"),
        compile("proto")?.encode_file_descriptor_set(),
    )?;
    Ok(())
}

/// All files below a folder, and what they import. Comments stay: documents are made of them.
fn compile(folder: &str) -> Result<protox::Compiler, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    collect(Path::new(folder), &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    Ok(compiler)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// The table by which `src/amino/own.rs` writes our messages: those that accounts send and what lies in them, by full name in
/// order, each with its fields in order.
fn amino_forms(set: &FileDescriptorSet) -> String {
    let mut all = BTreeMap::new();
    let mut ahead = Vec::new();
    for file in &set.file {
        for message in &file.message_type {
            let name = format!("{}.{}", file.package(), message.name());
            if file.package().starts_with("trainyard.") && message.name().starts_with("Msg") {
                ahead.push(name.clone());
            }
            all.insert(name, message);
        }
    }
    let mut forms = BTreeMap::new();
    while let Some(name) = ahead.pop() {
        let fields: BTreeMap<_, _> = all[&name].field.iter().map(|field| (field.number(), field)).collect();
        let fields = fields.into_values().map(|field| {
            let kind = match field.r#type() {
                Type::String => "Kind::Text".into(),
                Type::Bytes => "Kind::Bytes".into(),
                Type::Bool => "Kind::Bool".into(),
                Type::Uint64 => "Kind::Unsigned".into(),
                Type::Uint32 => "Kind::Small".into(),
                Type::Int32 | Type::Enum => "Kind::SmallSigned".into(),
                Type::Message => {
                    let inner = field.type_name().trim_start_matches('.');
                    ahead.push(inner.to_owned());
                    format!("Kind::Message({inner:?})")
                }
                other => panic!(
                    "{name}.{} is a {other:?}, for which amino JSON has no form",
                    field.name()
                ),
            };
            format!(
                "({}, {:?}, {kind}, {})",
                field.number(),
                field.name(),
                field.label() == Label::Repeated
            )
        });
        let fields: Vec<_> = fields.collect();
        forms.insert(name, fields.join(", "));
    }
    let lines = forms
        .iter()
        .map(|(name, fields)| format!("    ({name:?}, &[{fields}]),\n"));
    let lines: String = lines.collect();
    format!(
        "/// Fields of every message, by its full name, in order.\nstatic MESSAGES: &[(&str, &[Field])] = &[\n{lines}];\n"
    )
}
