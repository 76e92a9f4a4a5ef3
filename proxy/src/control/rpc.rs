//! The gRPC clients that build.rs generates from weft-wire's table.
//!
//! Nothing here is written by hand.

#[allow(clippy::all, clippy::large_futures, unreachable_pub, unused_qualifications)]
pub(super) mod discovery {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Discovery.rs"));
}

#[allow(clippy::all, clippy::large_futures, unreachable_pub, unused_qualifications)]
pub(super) mod artifacts {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Artifacts.rs"));
}

#[allow(clippy::all, clippy::large_futures, unreachable_pub, unused_qualifications)]
pub(super) mod identity {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.Identity.rs"));
}
