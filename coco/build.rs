//! Generates the wire types from `proto/coco/v1/coco.proto` with a compiler written in Rust: no `protoc`
//! is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "grpc")]
    {
        use prost::Message as _;
        println!("cargo::rerun-if-changed=proto/coco/v1/coco.proto");
        let files = protox::compile(["coco/v1/coco.proto"], ["proto"])?;
        // For reflection.
        let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
        std::fs::write(out.join("coco.bin"), files.encode_to_vec())?;
        tonic_prost_build::configure().compile_fds(files)?;
    }
    Ok(())
}
