//! The page as HTML, in one piece: no script, no font, no picture from elsewhere.
//!
//! It also shows how the page came about: which version answered, how long it took, and which headers the mesh set.

use std::fmt::Write;

use http::HeaderMap;
use serde_json::Value;

use crate::headers;
use crate::productpage::{Call, products};

/// Headers of the visitor's own request that tell something about the mesh.
const SHOWN_OF_REQUEST: [&str; 4] = ["x-request-id", "traceparent", "end-user", "x-forwarded-client-cert"];
/// The part of an answer's headers that the mesh and its filters set.
const SHOWN_OF_ANSWER: &str = "x-";

pub(crate) struct Content<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) incoming: &'a HeaderMap,
    pub(crate) details: &'a Call,
    pub(crate) reviews: &'a Call,
}

pub(crate) fn html(content: &Content<'_>) -> String {
    let products = products();
    let product = &products[0];
    let parts = [
        include_str!("page/head.html"),
        &login(content.user),
        "</header>\n<main>\n<h1>",
        &escaped(text(&product["title"])),
        "</h1>\n<p class=\"lead\">",
        // Our own markup.
        text(&product["descriptionHtml"]),
        "</p>\n<div class=\"columns\">\n",
        &details(content.details),
        &reviews(content.reviews),
        "</div>\n",
        &journey(content),
        "</main>\n</body>\n</html>\n",
    ];
    parts.concat()
}

fn login(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<form method=\"post\" action=\"/logout\"><span>{}</span><button>Sign out</button></form>\n",
            escaped(user)
        ),
        None => "<form method=\"post\" action=\"/login\"><input name=\"username\" placeholder=\"Your name\" \
                 aria-label=\"Your name\" required><button>Sign in</button></form>\n"
            .to_owned(),
    }
}

fn details(call: &Call) -> String {
    let Some(Value::Object(facts)) = call.value() else {
        return sorry("Book details", "Sorry, product details are currently not available.", call);
    };
    let mut html = String::from("<section>\n<h2>Book details</h2>\n<dl>\n");
    for (field, label) in [
        ("type", "Type"),
        ("pages", "Pages"),
        ("publisher", "Publisher"),
        ("language", "Language"),
        ("author", "Author"),
        ("year", "Year"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ] {
        let value = match facts.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => continue,
        };
        push(&mut html, format_args!("<dt>{label}</dt><dd>{}</dd>\n", escaped(&value)));
    }
    html.push_str("</dl>\n</section>\n");
    html
}

fn reviews(call: &Call) -> String {
    let Some(answer) = call.value() else {
        return sorry("Book reviews", "Sorry, product reviews are currently not available.", call);
    };
    let pod = escaped(text(&answer["podname"]));
    let mut html = format!("<section>\n<h2>Book reviews <span class=\"pod\">served by {pod}</span></h2>\n");
    for review in answer["reviews"].as_array().map_or(&[][..], Vec::as_slice) {
        let (words, who) = (escaped(text(&review["text"])), escaped(text(&review["reviewer"])));
        push(
            &mut html,
            format_args!("<blockquote><p>{words}</p><footer>{who} {}</footer></blockquote>\n", stars(review)),
        );
    }
    html.push_str("</section>\n");
    html
}

/// Stars, where this version of reviews has them.
fn stars(review: &Value) -> String {
    let rating = &review["rating"];
    if let Some(problem) = rating["error"].as_str() {
        return format!("<span class=\"none\">{}</span>", escaped(problem));
    }
    let Some(count) = rating["stars"].as_u64().map(|count| count.min(5) as usize) else { return String::new() };
    let color = if rating["color"] == "red" { "red" } else { "black" };
    let (full, empty) = ("★".repeat(count), "☆".repeat(5 - count));
    format!("<span class=\"stars {color}\" role=\"img\" aria-label=\"{count} of 5 stars\">{full}{empty}</span>")
}

fn sorry(title: &str, sentence: &str, call: &Call) -> String {
    format!(
        "<section class=\"sorry\">\n<h2>{title}</h2>\n<p>{sentence}</p>\n<p class=\"why\">{}</p>\n</section>\n",
        escaped(&outcome(call))
    )
}

/// How the page came about.
fn journey(content: &Content<'_>) -> String {
    let mut html = String::from(
        "<section class=\"journey\">\n<h2>How this page was made</h2>\n<table>\n<tr><th>Call</th><th>Answer</th>\
         <th>Time</th><th>Headers set on the way back</th></tr>\n",
    );
    for call in [content.details, content.reviews] {
        let set = match &call.outcome {
            Ok(reply) => shown(&reply.headers, |name| name.starts_with(SHOWN_OF_ANSWER)),
            Err(_) => String::new(),
        };
        let (service, path, outcome) = (escaped(&call.service), escaped(&call.path), escaped(&outcome(call)));
        let milliseconds = call.elapsed.as_secs_f64() * 1000.0;
        push(
            &mut html,
            format_args!(
                "<tr><td>{service}{path}</td><td>{outcome}</td><td>{milliseconds:.1} ms</td><td>{set}</td></tr>\n"
            ),
        );
    }
    html.push_str("</table>\n");
    let own = shown(content.incoming, |name| SHOWN_OF_REQUEST.contains(&name));
    if !own.is_empty() {
        push(&mut html, format_args!("<p class=\"own\">Your request: {own}</p>\n"));
    }
    html.push_str("</section>\n");
    html
}

fn outcome(call: &Call) -> String {
    match &call.outcome {
        Ok(reply) if reply.status.is_success() => reply.status.as_str().to_owned(),
        Ok(reply) => {
            let body = String::from_utf8_lossy(&reply.body);
            let reason: String = body.trim().chars().take(200).collect();
            format!("{} {reason}", reply.status.as_str())
        }
        Err(problem) => problem.to_string(),
    }
}

fn shown(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> String {
    let mut html = String::new();
    for (name, value) in headers.iter().filter(|(name, _)| wanted(name.as_str())) {
        push(&mut html, format_args!("<code>{name}: {}</code> ", escaped(headers::text(value))));
    }
    html
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes whatever is written to it.
    let _ = html.write_fmt(text);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            letter => html.push(letter),
        }
    }
    html
}
