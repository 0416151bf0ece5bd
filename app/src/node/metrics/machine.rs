//! What a node uses of its machine: memory, processor, files, disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::time::{ClockId, clock_gettime};

use super::super::home::Home;
use super::text::Text;

/// Folders in the data folder whose size is told, ours and CometBFT's.
const FOLDERS: &[&str] = &[
    "application.db",
    "snapshots",
    "blockstore.db",
    "state.db",
    "tx_index.db",
    "evidence.db",
    "cs.wal",
];

/// Bytes of the files below a folder; 0 where there is none.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0, // Deleted meanwhile.
    });
    sizes.sum()
}

/// What is on the disk, and what room is left.
pub(super) fn disk(text: &mut Text, home: &Home) {
    let data = home.data();
    let sizes = FOLDERS
        .iter()
        .map(|name| (vec![("folder", (*name).to_owned())], size(&data.join(name)) as f64));
    text.family(
        "disk_bytes",
        "gauge",
        "Size of what lies in the data folder, bytes.",
        sizes,
    );
    if let Ok(found) = statvfs(&data) {
        let free = found.blocks_available() as f64 * found.fragment_size() as f64;
        let help = "Room left on the disk of the data folder, bytes.";
        text.family("disk_free_bytes", "gauge", help, [(Vec::new(), free)]);
    }
}

/// The process, under the names that all programs use.
pub(super) fn process(text: &mut Text) {
    let mut one = |name, kind, help, value| text.family(name, kind, help, [(Vec::new(), value)]);
    if let Ok(time) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) {
        let seconds = Duration::from(time).as_secs_f64();
        one(
            "process_cpu_seconds_total",
            "counter",
            "Processor time, seconds; CometBFT's is its own.",
            seconds,
        );
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    for (field, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory, bytes."),
        ("VmSize:", "process_virtual_memory_bytes", "Virtual memory, bytes."),
    ] {
        if let Some(kib) = kib(field) {
            let kib: f64 = kib;
            one(name, "gauge", help, kib * 1024.0);
        }
    }
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    one("process_open_fds", "gauge", "Open files.", open as f64);
}
