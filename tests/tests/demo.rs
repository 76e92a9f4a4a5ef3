//! The main job, as README's first command runs it, unattended: every answer is what the config says, across a hot swap.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use weft_tests::weft;

#[test]
fn the_demo_tells_its_story_and_nothing_fails() {
    // Two demos that start at once would choose the same ports: another run of this test on the machine has its turn.
    let turn = std::fs::File::create(std::env::temp_dir().join("weft-demo-test.lock"));
    let _turn = turn.inspect(|turn| turn.lock().unwrap());
    let output = Command::new(weft()).args(["demo", "--for", "12s", "-o", "json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", String::from_utf8_lossy(&output.stdout));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["passed"], &summary["failed"]), (&true.into(), &0.into()), "{summary}");
    assert!(summary["requests"].as_u64().unwrap() > 200, "{summary}");
    assert_ne!(summary["swap"]["from"], summary["swap"]["to"], "{summary}");
    for split in ["splitBefore", "splitAfter"] {
        let versions: Vec<_> = summary[split].as_object().unwrap().keys().collect();
        assert_eq!(versions, ["v1", "v3"], "{summary}");
    }
}
