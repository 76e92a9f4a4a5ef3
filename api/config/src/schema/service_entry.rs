//! ServiceEntry and WorkloadEntry: `spec` as the CRDs say it. Their readers are `kind::service_entry` and
//! `kind::workload_entry`.

use super::{Schema, count, export_to, list, map, object, port, selector, text, text_map, texts, words};

pub(super) fn spec() -> Schema {
    object("A service that is no Kubernetes Service, inside the mesh or out.")
        .requires("hosts", texts("DNS names; *.example.com takes all below it.", "api.example.com").items_max(256))
        .with("addresses", texts("IP addresses that stand for the hosts.", "192.0.2.10"))
        .with("ports", list("Its ports.", service_port()).keyed_by(&["name"]))
        .with("exportTo", export_to())
        .with("location", words("Inside the mesh or out.", &["MESH_EXTERNAL", "MESH_INTERNAL"]))
        .with(
            "resolution",
            words(
                "Where its endpoints come from; NONE by default. Of DNS only DNS itself is supported.",
                &["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"],
            ),
        )
        .with("endpoints", list("Its endpoints, written out.", workload_entry().about("One endpoint.")))
        .with("workloadSelector", selector("WorkloadEntries of this namespace that are its endpoints.", "labels"))
        .without_effect("subjectAltNames")
        .rule(
            "!(has(self.endpoints) && has(self.workloadSelector))",
            "endpoints and workloadSelector exclude each other",
        )
}

fn service_port() -> Schema {
    object("One port.")
        .requires("number", port("Its number."))
        .requires("name", text("Its name.", "http"))
        .with("protocol", text("HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP or MONGO.", "HTTP"))
        .with("targetPort", port("Where the endpoints listen; its number by default."))
}

pub(super) fn workload_entry() -> Schema {
    object("A workload that is no pod: where its app listens, and who it is.")
        .with("address", text("An IP address, or a DNS name.", "192.0.2.20"))
        .with("ports", map("Where it listens, by the names of the service's ports.", "http", port("")))
        .with("labels", text_map("Its labels.", "app", "reviews"))
        .with("weight", count("Its share of requests; 1 by default."))
        .with("serviceAccount", text("Of its identity; default by default.", "reviews"))
        .unsupported(&["network"])
        .without_effect("locality")
}
