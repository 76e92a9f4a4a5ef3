//! VirtualService: `spec` as the CRD says it. Its reader is `kind::virtual_service`, with `route`, `matching`, `header`,
//! `retry`, `rewrite` and `attachment`.

use super::{
    Schema, boolean, count, duration, export_to, integer, list, map, object, port, text, text_map, texts, words,
};

pub(super) fn spec() -> Schema {
    object("How requests to some hosts are routed.")
        .with(
            "hosts",
            texts("Hosts to which requests are addressed; a short name is one of this namespace.", "reviews"),
        )
        .with("gateways", texts("Who routes by it: mesh (the default) stands for all sidecars.", "mesh"))
        .with("exportTo", export_to())
        .with("filters", filters("Filters for every route, in the caller's sidecar or the service's own."))
        .with("http", list("Routes of HTTP and gRPC; the first that matches counts.", route()))
        .unsupported(&["tcp", "tls"])
}

fn route() -> Schema {
    object("One route: which requests, and where they go.")
        .with("name", text("Shown in logs and metrics; targetRefs go by it.", "canary"))
        .with("match", list("Blocks of conditions, one of which must hold; none: every request.", block()))
        .with("headers", headers())
        .with("filters", filters("Filters for this route, in the caller's sidecar."))
        .with("route", list("Destinations, by weight.", destination()))
        .with("redirect", redirect())
        .with("directResponse", direct_response())
        .with("rewrite", rewrite())
        .with("timeout", duration("For the whole exchange, all tries included; none by default."))
        .with("retries", retries())
        .unsupported(&["fault", "mirror", "mirrors", "mirrorPercentage", "mirrorPercent", "mirror_percent"])
        .unsupported(&["corsPolicy", "delegate"])
        .rule(
            "(has(self.route) ? 1 : 0) + (has(self.redirect) ? 1 : 0) + (has(self.directResponse) ? 1 : 0) <= 1",
            "route, redirect and directResponse exclude each other",
        )
}

fn block() -> Schema {
    object("Conditions that must all hold.")
        .with("name", text("Logged behind the route's name.", "mobile"))
        .with("uri", string_match("The path."))
        .with("ignoreUriCase", boolean("For exact and prefix of uri."))
        .with("scheme", string_match("http or https."))
        .with("method", string_match("The method."))
        .with("authority", string_match("The authority (Host)."))
        .with("headers", matches("Headers by lower-case name; {} asks only that it is there.", "end-user"))
        .with("withoutHeaders", matches("Headers that must not match.", "x-canary"))
        .with("queryParams", matches("Parameters of the query by name.", "tier"))
        .with("port", port("The port to which the request was addressed."))
        .with("sourceLabels", text_map("Labels of the caller's pod.", "app", "productpage"))
        .with("sourceNamespace", text("Namespace of the caller.", "default"))
        .with("gateways", texts("Who uses this block: mesh stands for all sidecars.", "mesh"))
        .unsupported(&["statPrefix"])
}

fn matches(about: &'static str, example: &'static str) -> Schema {
    map(about, example, string_match(""))
}

/// The reader refuses two of them by name; so deep in lists a rule in CEL would be over the API server's budget.
fn string_match(about: &'static str) -> Schema {
    object(about)
        .with("exact", text("The whole value.", "jason"))
        .with("prefix", text("What it begins with.", "/api"))
        .with("regex", text("RE2 syntax; the whole value must match.", "v[12]"))
}

fn headers() -> Schema {
    let operations = |about| {
        object(about)
            .with("set", text_map("Values that replace what is there.", "x-tier", "gold"))
            .with("add", text_map("Values that come beside what is there.", "x-seen", "yes"))
            .with("remove", texts("Names that go.", "x-internal"))
    };
    object("Header operations.")
        .with("request", operations("On the request, before it is sent upstream."))
        .with("response", operations("On the response, before it goes back."))
}

fn destination() -> Schema {
    let place = object("A service, or a subset of it.")
        .requires("host", text("The service: a short name is one of this namespace.", "reviews"))
        .with("subset", text("A subset that a DestinationRule defines.", "v1"))
        .with("port", object("Which port, where the service has several.").with("number", port("The port's number.")));
    object("One destination.")
        .requires("destination", place)
        .with("weight", count("Its share of the sum of all weights; of a single destination it does not count."))
        .with("headers", headers())
        .with("filters", filters("Filters for this destination, in the caller's sidecar."))
}

/// Shorthand: targetRefs of a Filter say the same without a schema of another project.
pub(super) fn filters(about: &'static str) -> Schema {
    let attachment = object("One Filter.")
        .requires("name", text("A Filter of this namespace, else of the root namespace.", "canary"))
        .with("config", Schema::new("Replaces the Filter's own config.", super::Shape::Free))
        .with("at", words("Whose sidecar runs it.", &["Caller", "Destination"]));
    list(about, attachment)
}

fn redirect() -> Schema {
    object("A redirect, sent instead of the request.")
        .with("uri", text("The new path.", "/new"))
        .with("prefixRewrite", text("What replaces the prefix that matched.", "/new"))
        .with("authority", text("The new authority.", "example.com"))
        .with("scheme", words("The new scheme.", &["http", "https"]))
        .with("port", port("The new port."))
        .with("derivePort", words("Where the new port comes from.", &["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]))
        .with("redirectCode", integer("301 (the default), 302, 303, 307 or 308.", 301, 308))
}

fn direct_response() -> Schema {
    let body = object("The body; none by default.")
        .with("string", text("As text.", "closed"))
        .with("bytes", text("In base64.", "Y2xvc2Vk"));
    object("A response, sent instead of the request.")
        .requires("status", integer("The status code.", 200, 599))
        .with("body", body)
}

fn rewrite() -> Schema {
    let regex = object("A part of the path, by regular expression.")
        .with("match", text("RE2 syntax.", "^/v([0-9]+)/"))
        .with("rewrite", text("What replaces it; \\1 is the first group.", "/\\1/"));
    object("What is changed of a request before it is sent upstream.")
        .with("uri", text("Replaces the prefix that matched, else the whole path.", "/api"))
        .with("uriRegexRewrite", regex)
        .with("authority", text("Replaces the authority.", "reviews.example.com"))
}

fn retries() -> Schema {
    object("When and how often a request is sent again.")
        .with("attempts", integer("Tries beside the first; 0 or less: none.", i64::from(i32::MIN), 100))
        .with("perTryTimeout", duration("For each try; the route's timeout by default."))
        .with("retryOn", text("Envoy's conditions and status codes, with commas.", "connect-failure,503"))
        .with("backoff", duration("Before the second try, doubling; 25ms by default."))
        .with("retryIgnorePreviousHosts", boolean("Another endpoint for each try; true by default."))
        .unsupported(&["retryRemoteLocalities"])
}
