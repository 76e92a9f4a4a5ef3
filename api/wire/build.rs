//! Compiles the messages without a system protoc, and lists the services for the crates that generate gRPC code.

use prost_build::{Service, ServiceGenerator};
use std::error::Error;
use std::fmt::Write;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/weft.proto");
    let descriptors = protox::compile(["proto/weft.proto"], ["proto"])?;
    prost_build::Config::new().service_generator(Box::new(Table::default())).compile_fds(descriptors)?;
    Ok(())
}

/// Writes `SERVICES`: this crate may not see tonic, the crates that may read it in their build scripts.
#[derive(Default)]
struct Table {
    rows: String,
}

impl ServiceGenerator for Table {
    fn generate(&mut self, service: Service, _buf: &mut String) {
        let mut methods = String::new();
        for method in &service.methods {
            let _ = write!(
                methods,
                "crate::rpc::Method {{ name: {:?}, route: {:?}, input: {:?}, output: {:?}, \
                 client_streams: {}, server_streams: {} }},",
                method.name,
                method.proto_name,
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming
            );
        }
        let _ = writeln!(
            self.rows,
            "crate::rpc::Service {{ package: {:?}, name: {:?}, methods: &[{methods}] }},",
            service.package, service.proto_name
        );
    }

    fn finalize_package(&mut self, _package: &str, buf: &mut String) {
        let _ = write!(buf, "pub(crate) const SERVICES: &[crate::rpc::Service] = &[{}];", self.rows);
    }
}
