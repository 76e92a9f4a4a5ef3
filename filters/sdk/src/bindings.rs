//! The contract as Rust, generated from `wit/`.
//!
//! A filter that looks at responses exports the world `request-filter` and, beside it, the one phase by which the world
//! `filter` is larger; the encoder puts the two together. Generating both worlds whole would define everything twice.
//! The two phases themselves are exported by `export!` (`abi.rs`).
#![allow(unsafe_code, unreachable_pub, unused_qualifications, missing_docs, clippy::all)]

pub mod request {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "request-filter",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "weft_filter_sdk::bindings::request",
        additional_derives: [PartialEq],
        generate_unused_types: true,
        skip: ["on-request"],
        disable_run_ctors_once_workaround: true,
    });
}

pub mod response {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package weft:sdk;
            world response-phase {
                export weft:filter/response-phase@0.1.0;
            }
        ",
        world: "weft:sdk/response-phase",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "weft_filter_sdk::bindings::response",
        with: {
            "weft:filter/types@0.1.0": crate::bindings::request::weft::filter::types,
            "weft:filter/response-phase@0.1.0": generate,
        },
        skip: ["on-response"],
        disable_run_ctors_once_workaround: true,
    });
}
