//! `weft inject`: sidecars into files, by the code that the webhook runs.

use crate::output::{progress, say};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weft_config::{from_yaml, to_yaml};
use weft_controlplane::inject::{Injected, Injection, Namespace, Outcome, Settings, inject_object};

/// Gives the pods in YAML files their sidecars, as the webhook would
///
/// Reads Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs, also in Lists, and prints all
/// documents. A document that is not changed comes out as it was written; one that is changed is written anew, and
/// loses its comments. Labels of a Namespace among the files count; a namespace that is not among them counts as one
/// in the mesh. Exit code 1 where a pod is refused; then nothing is printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft inject -f app.yaml | kubectl apply -f -\n  kubectl get deployment web -o yaml | weft inject -f -"
)]
pub(crate) struct Options {
    /// YAML or JSON files, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Image of the sidecars
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Trust domain of the mesh
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut documents = Vec::new();
    for path in &options.files {
        documents.extend(read(path)?);
    }
    let usual = Settings::default();
    let settings = Settings {
        image: options.image.clone().unwrap_or(usual.image),
        trust_domain: options.trust_domain.clone(),
        ..usual
    };
    let labels = namespaces(&documents);
    let mut out = Vec::new();
    let mut refused = 0;
    for document in documents {
        let (text, report) = injected(document, &settings, &labels);
        out.push(text);
        for (object, outcome) in report {
            refused += usize::from(matches!(outcome, Outcome::Refused(_)));
            tell(&object, &outcome);
        }
    }
    if refused > 0 {
        bail!("{refused} pods are refused, and nothing is written");
    }
    say(out.join("---\n").trim_end());
    Ok(ExitCode::SUCCESS)
}

/// One document as it was written, and what it means.
struct Document {
    text: String,
    value: Value,
}

fn read(path: &Path) -> Result<Vec<Document>> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    let got = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    got.with_context(|| format!("cannot read {shown}"))?;
    let mut documents = Vec::new();
    for (line, part) in parts(&text) {
        let values = from_yaml(&part).map_err(|mut fault| {
            fault.line += line;
            anyhow::anyhow!("{shown}:{fault}")
        })?;
        match <[Value; 1]>::try_from(values) {
            Ok([value]) => documents.push(Document { text: part, value }),
            // Comments, or nothing.
            Err(none) if none.is_empty() => {}
            Err(_) => bail!("{shown}: line {} begins more than one document", line + 1),
        }
    }
    Ok(documents)
}

/// The documents of a text, each with the number of lines before it. A line that begins with `---` separates them
/// wherever it is, in a block of text too.
fn parts(text: &str) -> Vec<(u32, String)> {
    let mut parts = vec![(0, String::new())];
    for (number, line) in (0_u32..).zip(text.split_inclusive('\n')) {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        match (rest, parts.last_mut()) {
            (Some(rest), _) if rest.trim().is_empty() || rest.trim_start().starts_with('#') => {
                parts.push((number + 1, String::new()));
            }
            (Some(rest), _) => parts.push((number, rest.to_owned())),
            (None, Some((_, part))) => part.push_str(line),
            (None, None) => {}
        }
    }
    parts
}

/// Labels of the Namespaces among the files.
fn namespaces(documents: &[Document]) -> BTreeMap<String, BTreeMap<String, String>> {
    let lists = documents.iter().flat_map(|document| document.value["items"].as_array()).flatten();
    let objects = documents.iter().map(|document| &document.value).chain(lists);
    let namespaces = objects.filter(|object| object["kind"] == "Namespace" && object["apiVersion"] == "v1");
    let labels = |object: &Value| {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    namespaces.filter_map(|object| Some((object["metadata"]["name"].as_str()?.to_owned(), labels(object)))).collect()
}

type Report = Vec<(String, Outcome)>;

fn injected(
    document: Document,
    settings: &Settings,
    known: &BTreeMap<String, BTreeMap<String, String>>,
) -> (String, Report) {
    let namespace = |name: &str| {
        let mut labels = known.get(name).cloned().unwrap_or_default();
        // Whoever types the command asks for it, unless the namespace says something else.
        let says = ["weft.dev/inject", "istio-injection", "weft.dev/rev", "istio.io/rev"];
        if !says.iter().any(|label| labels.contains_key(*label)) {
            labels.insert("weft.dev/inject".to_owned(), "enabled".to_owned());
        }
        Namespace { name: name.to_owned(), labels }
    };
    let mut value = document.value;
    match inject_object(&mut value, settings, &namespace) {
        Injection::Pods(report) if report.iter().any(|(_, outcome)| matches!(outcome, Outcome::Injected(_))) => {
            (to_yaml(&value), report)
        }
        Injection::Pods(report) => (whole(document.text), report),
        Injection::Other => (whole(document.text), Vec::new()),
    }
}

fn whole(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn tell(object: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Injected(Injected { not_supported, .. }) => {
            not_supported.iter().for_each(|sentence| progress(format!("warning: {object}: {sentence}")));
        }
        Outcome::Skipped(skip) => progress(format!("{object} gets no sidecar: {skip}")),
        Outcome::Refused(refused) => progress(format!("error: {object}: {refused}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_documents() {
        let cases: &[(&str, &[(u32, &str)])] = &[
            ("a: 1\n", &[(0, "a: 1\n")]),
            ("---\na: 1\n---\nb: 2", &[(0, ""), (1, "a: 1\n"), (3, "b: 2")]),
            ("a: |\n  ---\n--- # next\nb: 2\n", &[(0, "a: |\n  ---\n"), (3, "b: 2\n")]),
            ("--- {a: 1}\n--- b\n", &[(0, ""), (0, " {a: 1}\n"), (1, " b\n")]),
            ("a: ---b\n---c: 1\n", &[(0, "a: ---b\n---c: 1\n")]),
        ];
        for (text, want) in cases {
            let got = parts(text);
            let got: Vec<(u32, &str)> = got.iter().map(|(line, part)| (*line, part.as_str())).collect();
            assert_eq!(got, *want, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_injected_stays_as_it_was_written() {
        let text = "kind: ConfigMap # kept\napiVersion: v1\nmetadata: {name: a}\n";
        let value = from_yaml(text).expect("YAML").remove(0);
        let document = Document { text: text.to_owned(), value };
        let (out, report) = injected(document, &Settings::default(), &BTreeMap::new());
        assert_eq!((out.as_str(), report.len()), (text, 0));
    }
}
