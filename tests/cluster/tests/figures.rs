//! What a sidecar costs a pod, measured: its start, its memory and its time at rest. `bench/cluster` runs it and prints;
//! nothing here is a limit.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};
use weft_cluster_tests::{Namespace, image, install, own_node, within};

/// Pods of each kind.
const PODS: usize = 10;
const REST: Duration = Duration::from_secs(20);

#[test]
#[ignore = "a measurement: bench/cluster"]
fn figures() {
    install();
    let bare = Namespace::new("bare", &[]);
    let meshed = Namespace::new("meshed", &["istio-injection=enabled"]);
    for (namespace, what) in [(&bare, "without"), (&meshed, "with"), (&bare, "without"), (&meshed, "with")] {
        let mut times: Vec<Duration> = (0..PODS).map(|number| start(namespace, number)).collect();
        times.sort_unstable();
        println!(
            "pod created to ready, {what} a sidecar: p50 {:.2?}, longest {:.2?} of {PODS}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
        if what == "without" {
            clear(namespace);
        }
    }
    if own_node().is_none() {
        return println!("memory and time: passed over, the processes of this cluster are out of reach");
    }
    for (program, what) in [("weft-proxy", "sidecar"), ("weft-controlpla", "control plane")] {
        let before = processes(program);
        std::thread::sleep(REST);
        for (pid, resident_kib, ticks) in processes(program) {
            let Some((_, _, earlier)) = before.iter().find(|(other, ..)| *other == pid) else { continue };
            let share = (ticks - earlier) as f64 / REST.as_secs_f64();
            println!("{what} at rest: RSS {:.1} MiB, {share:.2} % of a core", resident_kib as f64 / 1024.0);
        }
    }
}

fn clear(namespace: &Namespace) {
    namespace.kubectl(["delete", "pods", "--all", "--grace-period=0", "--force"]);
}

/// Of a container that is ready as soon as it runs.
fn start(namespace: &Namespace, number: usize) -> Duration {
    static ROUND: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let round = ROUND.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("pod-{round}-{number}");
    let container = json!({"name": "app", "image": image("weft-cluster-app"), "args": ["serve", "--name", "app"]});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}});
    let started = Instant::now();
    namespace.try_create(&pod).unwrap();
    within(Duration::from_secs(60), "the pod is ready", || {
        let pod = namespace.get(["pod", &name]);
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        if conditions.iter().any(ready) { Ok(()) } else { Err(pod["status"].clone()) }
    });
    started.elapsed()
}

/// PID, KiB of memory and hundredths of a second of all with this name, which the kernel cuts off at 15 characters.
fn processes(name: &str) -> Vec<(u32, u64, u64)> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let read = |pid: u32| {
        let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        if text("comm")?.trim() != name {
            return None;
        }
        let status = text("status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let stat = text("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some((pid, resident.trim().trim_end_matches(" kB").parse().ok()?, ticks))
    };
    pids.filter_map(read).collect()
}
