//! Generates Rust from `proto/trainyard/**` (protox: no `protoc` needed) and proto3 JSON for the same types. Of the Cosmos
//! SDK's and CometBFT's messages only descriptors are made: their Rust types are other crates'.

use std::path::{Path, PathBuf};

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
