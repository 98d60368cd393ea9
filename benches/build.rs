//! Generates what `peers` calls through tonic, from Rust and so without protoc.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name, route, input, output| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let calculator = Service::builder()
        .name("Calculator")
        .package("benches")
        .method(method(
            "add",
            "Add",
            "crate::peers::tonic::Pair",
            "crate::peers::tonic::Sum",
        ))
        .method(method(
            "echo",
            "Echo",
            "crate::peers::tonic::Data",
            "crate::peers::tonic::Data",
        ))
        .build();
    Builder::new().compile(&[calculator]);
    println!("cargo::rerun-if-changed=build.rs");
}
