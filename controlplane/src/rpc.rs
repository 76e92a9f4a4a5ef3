//! The gRPC services as tonic wants them, generated from weft-wire's table.

#[allow(clippy::all, unreachable_pub, unused_qualifications)]
pub(crate) mod discovery {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Discovery.rs"));
}

#[allow(clippy::all, unreachable_pub, unused_qualifications)]
pub(crate) mod artifacts {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Artifacts.rs"));
}

#[allow(clippy::all, unreachable_pub, unused_qualifications)]
pub(crate) mod identity {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Identity.rs"));
}

#[allow(clippy::all, unreachable_pub, unused_qualifications)]
pub(crate) mod replicas {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Replicas.rs"));
    include!(concat!(env!("OUT_DIR"), "/clients/weft.v1.Replicas.rs"));
}
