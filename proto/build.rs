//! Generates Rust from `proto/trainyard/**` (protox: no `protoc` needed) and proto3 JSON for the same types.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: Vec<String> = ["registry", "job", "pouw", "overlay"]
        .iter()
        .flat_map(|module| ["types", "tx", "query"].map(|file| format!("proto/trainyard/{module}/v1/{file}.proto")))
        .filter(|path| PathBuf::from(path).exists())
        .collect();
    let descriptors = protox::compile(&files, ["proto"])?;
    let bytes = descriptors.encode_to_vec();
    prost_build::Config::new()
        .enable_type_names()
        .extern_path(".cosmos", "::cosmos_sdk_proto::cosmos")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .extern_path(".cosmos", "::cosmos_sdk_proto::cosmos")
        .preserve_proto_field_names()
        .emit_fields()
        .build(&[".trainyard"])?;
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin"), bytes)?;
    Ok(())
}
