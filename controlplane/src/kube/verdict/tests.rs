use super::*;
use crate::world::{Count, Standing, Tallies, Tally};
use weft_config::SourceFile;
use weft_snapshot::Digest;

fn standing(version: Option<ObjectVersion>, problems: &[(&str, &str, &str)]) -> ObjectStanding {
    let line = |(code, severity, field): &(&str, &str, &str)| ProblemLine {
        code: (*code).to_owned(),
        severity: (*severity).to_owned(),
        field: (*field).to_owned(),
        reason: "it is wrong".to_owned(),
        remedy: "correct it".to_owned(),
        ..ProblemLine::default()
    };
    let text = json!({"metadata": {"generation": 7}}).to_string();
    ObjectStanding {
        text: SourceFile::of_cluster("VirtualService/default/a", text, ""),
        version,
        digest: version.map(|_| DIGEST),
        problems: problems.iter().map(line).collect(),
        count: Count::default(),
        running: None,
    }
}

/// Of what counts.
const DIGEST: Digest = Digest([1; 32]);

fn words(status: &Value) -> Vec<String> {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    conditions.iter().map(|c| format!("{}={}/{}", text(&c["type"]), text(&c["status"]), text(&c["reason"]))).collect()
}

#[test]
fn conditions() {
    use ObjectVersion::{Current, LastGood};
    let counted = |acknowledged, affected| ObjectStanding {
        count: Count { acknowledged, affected },
        ..standing(Some(Current), &[])
    };
    let filter = |digest: Option<Digest>, problems: &[(&str, &str, &str)]| ObjectStanding {
        running: Some(("oci://registry.example/a:1".to_owned(), digest)),
        ..standing(Some(Current), problems)
    };
    let unavailable = [("ImageUnavailable", "error", "spec.image")];
    let rows: [(&str, ObjectStanding, &[&str]); 10] = [
        ("good", standing(Some(Current), &[]), &["Accepted=True/Accepted"]),
        ("a warning", standing(Some(Current), &[("Shadowed", "warning", "spec")]), &["Accepted=True/Accepted"]),
        (
            "broken before it was good",
            standing(None, &[("UnknownField", "error", "spec.hots")]),
            &["Accepted=False/UnknownField"],
        ),
        ("broken now", standing(Some(LastGood), &[("BadValue", "error", "spec")]), &["Accepted=False/BadValue"]),
        (
            "what it attaches has no effect",
            standing(Some(Current), &[("UnknownHost", "error", "spec"), ("NotAllowed", "error", "spec.filters[0]")]),
            &["Accepted=False/NotAllowed"],
        ),
        ("all run it", counted(3, 3), &["Accepted=True/Accepted", "Programmed=True/Acknowledged"]),
        ("some do", counted(1, 3), &["Accepted=True/Accepted", "Programmed=False/Pending"]),
        ("a filter is fetched", filter(None, &[]), &["Accepted=True/Accepted", "Resolved=Unknown/Pending"]),
        ("a filter runs", filter(Some(Digest([1; 32])), &[]), &["Accepted=True/Accepted", "Resolved=True/Running"]),
        (
            "its image is gone",
            filter(None, &unavailable),
            &["Accepted=True/ImageUnavailable", "Resolved=False/ImageUnavailable"],
        ),
    ];
    for (what, standing, want) in rows {
        assert_eq!(words(&verdict(&standing, None, "now")), want, "{what}");
    }
}

#[test]
fn a_condition_keeps_its_time_until_it_turns() {
    let good = standing(Some(ObjectVersion::Current), &[]);
    let first = verdict(&good, None, "1");
    assert_eq!(first["observedGeneration"], 7);
    let time = |status: &Value| status["conditions"][0]["lastTransitionTime"].clone();
    assert_eq!(time(&verdict(&good, Some(&first), "2")), "1");
    let bad = standing(None, &[("BadValue", "error", "spec")]);
    assert_eq!(time(&verdict(&bad, Some(&first), "3")), "3");
}

#[test]
fn the_proxies_of_all_replicas_count() {
    let mut own = standing(Some(ObjectVersion::Current), &[]);
    own.count = Count { acknowledged: 1, affected: 2 };
    let path = own.text.path.clone();
    let mut all = Standing { objects: vec![own], ..Standing::default() };
    let says =
        |digest| Tallies::from([(path.clone(), Tally { digest, count: Count { acknowledged: 3, affected: 3 } })]);
    all.add(&says(DIGEST));
    assert_eq!(verdict(&all.objects[0], None, "now")["proxies"]["summary"], "4/5");
    // A replica that lags has told its proxies something older.
    all.add(&says(Digest([2; 32])));
    all.add(&Tallies::new());
    assert_eq!(verdict(&all.objects[0], None, "now")["proxies"]["summary"], "4/8");
}
