//! Generates the gRPC servers from weft-wire's table of services, and apart from them clients: for the tests, and for
//! a replica that copies from another.

use std::path::Path;
use tonic_build::manual::{Builder, Method, Service};
use weft_wire::rpc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let clients = Path::new(&std::env::var("OUT_DIR")?).join("clients");
    std::fs::create_dir_all(&clients)?;
    Builder::new().build_client(false).compile(&services());
    Builder::new().build_server(false).out_dir(clients).compile(&services());
    Ok(())
}

fn services() -> Vec<Service> {
    let build = |service: &rpc::Service| {
        let start = Service::builder().package(service.package).name(service.name);
        service.methods.iter().map(method).fold(start, |built, method| built.method(method)).build()
    };
    rpc::SERVICES.iter().map(build).collect()
}

fn method(method: &rpc::Method) -> Method {
    let built = Method::builder()
        .name(method.name)
        .route_name(method.route)
        .input_type(format!("{}::{}", rpc::MESSAGES_PATH, method.input))
        .output_type(format!("{}::{}", rpc::MESSAGES_PATH, method.output))
        .codec_path("::tonic_prost::ProstCodec");
    let built = if method.client_streams { built.client_streaming() } else { built };
    let built = if method.server_streams { built.server_streaming() } else { built };
    built.build()
}
