//! Generates the wire types from `proto/coco/v1/coco.proto` with a compiler written in Rust: no `protoc`
//! is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "grpc")]
    {
        println!("cargo::rerun-if-changed=proto/coco/v1/coco.proto");
        let files = protox::compile(["coco/v1/coco.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(files)?;
    }
    Ok(())
}
