//! What processes take of memory and time, as the kernel counts it. In a node of the cluster suite its pods' are seen.

use std::fs;
use std::path::Path;
use std::time::Duration;

pub(super) struct Processes(Vec<Process>);

struct Process {
    pid: u32,
    resident_kib: u64,
    cpu: Duration,
}

impl Processes {
    pub(super) fn of_the_control_plane() -> Self {
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut all: Vec<Process> = pids.filter_map(Process::read).collect();
        all.sort_by_key(|process| process.pid);
        Self(all)
    }

    pub(super) fn print(&self, when: &str) {
        let memory: Vec<String> = self.0.iter().map(|p| format!("{:.0} MiB", p.resident_kib as f64 / 1024.0)).collect();
        println!("control plane, {when}: RSS {}", memory.join(" and "));
    }

    /// Of all of them, since then.
    pub(super) fn cpu_since(&self) -> Duration {
        let before: Duration = self.0.iter().map(|process| process.cpu).sum();
        let now: Duration = Self::of_the_control_plane().0.iter().map(|process| process.cpu).sum();
        now.saturating_sub(before)
    }

    pub(super) fn print_cpu(&self, when: &str, over: Duration) {
        let share = 100.0 * self.cpu_since().as_secs_f64() / over.as_secs_f64();
        println!("control plane, {when}: {share:.1} % of one core, all replicas together");
    }
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        // Its name is cut off at 15 characters.
        if fs::read_to_string(folder.join("comm")).ok()?.trim() != "weft-controlpla" {
            return None;
        }
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some(Self {
            pid,
            resident_kib: resident.trim().trim_end_matches(" kB").parse().ok()?,
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}
