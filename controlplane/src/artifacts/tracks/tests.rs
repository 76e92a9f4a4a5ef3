//! The rules of one Filter, told what happened and what time it is.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::artifacts::good::{Admitted, PolicyAsk};
use crate::artifacts::problem::ProblemKind;
use weft_filter_host::Manifest;
use weft_snapshot::FilterKey;

const NAME: &str = "default/canary";

fn ask(config: &str, refresh: Option<u64>) -> Ask {
    let asked = PolicyAsk { config: config.to_owned(), deadline: Duration::from_millis(2), memory_max: 1 << 24 };
    Ask {
        image: "oci-layout:/images:1".to_owned(),
        pin: None,
        refresh: refresh.map(Duration::from_secs),
        pull_secret: None,
        policies: BTreeMap::from([(FilterKey(NAME.to_owned()), asked)]),
        file: "canary.yaml".to_owned(),
        line: 1,
        column: 1,
    }
}

fn asks(ask: Ask) -> BTreeMap<String, Ask> {
    BTreeMap::from([(NAME.to_owned(), ask)])
}

fn good(ask: &Ask, n: u8) -> Good {
    let admitted = |ask: &PolicyAsk| Admitted { ask: ask.clone(), manifest: Manifest::default() };
    Good {
        version: Version { image: Digest([n; 32]), component: Digest([n; 32]) },
        object: ask.object(),
        policies: ask.policies.iter().map(|(key, ask)| (key.clone(), admitted(ask))).collect(),
    }
}

fn succeeded(ask: &Ask, n: u8) -> Outcome {
    Outcome { good: Some(good(ask, n)), refused: None, troubles: Vec::new() }
}

fn failed(good: Option<Good>) -> Outcome {
    let trouble = Trouble {
        kind: ProblemKind::ImageUnavailable,
        refused: None,
        reason: "it is down".to_owned(),
        remedy: "start it".to_owned(),
    };
    Outcome { good, refused: None, troubles: vec![trouble] }
}

fn only(jobs: Vec<Job>) -> Job {
    let [job] = <[Job; 1]>::try_from(jobs).unwrap();
    job
}

/// What was asked first has become good.
fn ready(ask: &Ask, now: Instant) -> Tracks {
    let mut tracks = Tracks::default();
    tracks.want(1, asks(ask.clone()), now);
    let job = only(tracks.start(now));
    tracks.done(NAME, job.number, succeeded(ask, 1), now);
    tracks
}

#[test]
fn when_the_next_attempt_is_due() {
    type Row = (Option<u64>, &'static [bool], &'static [Option<u64>]);
    // refresh, outcomes, seconds after each until the next attempt
    let cases: [Row; 4] = [
        (None, &[true, true], &[None]),
        (Some(30), &[true, true], &[Some(30), Some(30)]),
        (None, &[false; 8], &[Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(60), Some(60)]),
        (Some(20), &[false, false, false, true], &[Some(20), Some(40), Some(60), Some(20)]),
    ];
    for (refresh, outcomes, want) in cases {
        let mut now = Instant::now();
        let ask = ask("{}", refresh);
        let mut tracks = Tracks::default();
        tracks.want(1, asks(ask.clone()), now);
        for (n, (ok, want)) in outcomes.iter().zip(want).enumerate() {
            let job = only(tracks.start(now));
            assert_eq!(job.lookup, Lookup::Anew, "refresh {refresh:?}, attempt {n}");
            let outcome = if *ok { succeeded(&ask, 1) } else { failed(None) };
            tracks.done(NAME, job.number, outcome, now);
            let next = tracks.next().map(|next| next.duration_since(now));
            assert_eq!(next, want.map(Duration::from_secs), "refresh {refresh:?}, attempt {n}");
            now = tracks.next().unwrap_or(now);
        }
    }
}

#[test]
fn whether_a_restart_looks_the_tag_up() {
    let (same, other) = (ask("{}", None), ask("{\"other\":1}", None));
    let attached = {
        let mut attached = same.clone();
        let added = attached.policies.values().next().unwrap().clone();
        attached.policies.insert(FilterKey(format!("{NAME}#1")), added);
        attached
    };
    let cases = [
        ("nothing was good", None, &same, Lookup::Anew),
        ("the same object", Some(&same), &same, Lookup::Keep),
        ("another attachment of the same object", Some(&same), &attached, Lookup::Keep),
        ("another config", Some(&same), &other, Lookup::Anew),
        ("a tag that is followed", Some(&ask("{}", Some(5))), &ask("{}", Some(5)), Lookup::Anew),
    ];
    for (row, before, now_asked, want) in cases {
        let stored = before.map(|before| (NAME.to_owned(), good(before, 1))).into_iter().collect();
        let mut tracks = Tracks::new(stored, BTreeSet::new());
        let now = Instant::now();
        tracks.want(1, asks(now_asked.clone()), now);
        assert_eq!(only(tracks.start(now)).lookup, want, "{row}");
    }
}

#[test]
fn an_outcome_counts_only_for_what_was_asked() {
    let now = Instant::now();
    let (first, second) = (ask("{}", None), ask("{\"a\":1}", None));
    let mut tracks = Tracks::default();
    tracks.want(1, asks(first.clone()), now);
    let job = only(tracks.start(now));
    tracks.want(2, asks(second.clone()), now);
    assert_eq!(tracks.start(now), [], "one job at a time");
    tracks.done(NAME, job.number, succeeded(&first, 1), now);
    let next = only(tracks.start(now));
    assert_eq!((next.ask, next.good), (second.clone(), Some(good(&first, 1))), "it builds on what became good");
    assert_eq!(tracks.filters[NAME].progress, Progress::Working);
    tracks.done(NAME, job.number, succeeded(&first, 9), now);
    assert_eq!(tracks.filters[NAME].at_work, Some(next.number), "a job's second outcome is nobody's");
    tracks.done(NAME, next.number, succeeded(&second, 2), now);
    assert_eq!(tracks.filters[NAME].progress, Progress::Settled);
    assert_eq!(tracks.good(), BTreeMap::from([(NAME.to_owned(), good(&second, 2))]));
}

#[test]
fn a_failure_keeps_what_was_good_and_a_place_is_no_change() {
    let now = Instant::now();
    let ask = ask("{}", None);
    let mut tracks = ready(&ask, now);
    tracks.want(2, asks(Ask { line: 7, file: "moved.yaml".to_owned(), ..ask.clone() }), now);
    assert_eq!(tracks.start(now), [], "only its place changed");
    let pinned = Ask { pin: Some(Digest([3; 32])), ..ask.clone() };
    tracks.want(3, asks(pinned), now);
    let job = only(tracks.start(now));
    tracks.done(NAME, job.number, failed(None), now);
    assert_eq!(tracks.filters[NAME].good, Some(good(&ask, 1)));
    assert_eq!(tracks.filters[NAME].status(NAME).problems.len(), 1);
}

#[test]
fn a_filter_that_goes_and_comes_again_runs_what_was_good() {
    let now = Instant::now();
    let ask = ask("{}", None);
    let mut tracks = ready(&ask, now);
    tracks.want(2, BTreeMap::new(), now);
    assert_eq!(tracks.components(), BTreeSet::new());
    tracks.want(3, asks(ask.clone()), now);
    let job = only(tracks.start(now));
    assert_eq!((job.lookup, job.good), (Lookup::Keep, Some(good(&ask, 1))));
}

#[test]
fn a_folder_is_watched_where_its_tag_is_followed() {
    let now = Instant::now();
    for (refresh, watched) in [(None, false), (Some(3600), true)] {
        let ask = ask("{}", refresh);
        let mut tracks = ready(&ask, now);
        assert_eq!(!tracks.layouts().is_empty(), watched, "refresh {refresh:?}");
        tracks.layout_changed(now);
        assert_eq!(!tracks.start(now).is_empty(), watched, "refresh {refresh:?}");
    }
}

#[test]
fn another_key_is_compiled_for_without_looking_the_tag_up() {
    let now = Instant::now();
    let ask = ask("{}", None);
    let keys = |count: usize| ["own", "other", "third"][..count].iter().map(|key| (*key).to_owned()).collect();
    let mut tracks = ready(&ask, now);
    assert_eq!(tracks.start(now), []);
    tracks.compile_for(keys(2), now);
    assert_eq!(tracks.filters[NAME].progress, Progress::Working);
    let job = only(tracks.start(now));
    assert_eq!((job.lookup, job.good), (Lookup::Keep, Some(good(&ask, 1))));
    tracks.compile_for(keys(3), now);
    tracks.done(NAME, job.number, succeeded(&ask, 1), now);
    assert_eq!(tracks.filters[NAME].progress, Progress::Working, "that job began before the third key was known");
    assert_eq!(only(tracks.start(now)).lookup, Lookup::Keep);
}
