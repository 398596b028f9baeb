//! Where the memory of a process lies that was put into a group with NUMA nodes of its own, and that of one beside it which nobody placed.
//! `tests/scripts/numa_guest.sh` runs it in a guest with two nodes.
//!
//! usage: `placement LIST`, the nodes as settings write them. Prints who and KiB by node, or why there is no such group.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a check ends where it fails and prints what it found"
)]

use anchorhold_confine::{Group, Share};
use std::collections::BTreeMap;
use std::process::Command;

const CHILD: &str = "--child";
/// What each process takes: more than everything else that it has.
const BYTES: usize = 64 << 20;

fn main() {
    let list = std::env::args().nth(1).unwrap();
    if list == CHILD {
        return tell();
    }
    let share =
        Share { memory_bytes: 1 << 30, pids: 16, cpu_percent: None, cpus: None, nodes: Some(list.clone()) };
    let groups = match Group::create(1, &share) {
        Ok(groups) => groups,
        Err(error) => return println!("nodes {list}: {error}"),
    };
    for (who, group) in [("free", None), ("placed", groups.first())] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD);
        if let Some(group) = group {
            group.place(&mut command).unwrap();
        }
        let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
        println!("{who} on nodes: {told}");
    }
}

/// Takes memory and prints KiB by node, as in `0=123 1=4`: memory of its own, not files of its program, which lie where somebody read them
/// first (`Documentation/filesystems/proc.rst`, `numa_maps`).
fn tell() {
    let memory = std::hint::black_box(vec![1_u8; BYTES]);
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
    let mut nodes: BTreeMap<u32, u64> = BTreeMap::new();
    for map in maps.lines().filter(|map| !map.contains(" file=")) {
        let page = map.split(' ').find_map(|word| word.strip_prefix("kernelpagesize_kB="));
        let page_kib: u64 = page.map_or(0, |kib| kib.parse().unwrap());
        for (node, pages) in map.split(' ').filter_map(|word| word.strip_prefix('N')?.split_once('=')) {
            *nodes.entry(node.parse().unwrap()).or_default() += page_kib * pages.parse::<u64>().unwrap();
        }
    }
    drop(memory);
    let told: Vec<String> = nodes.into_iter().map(|(node, kib)| format!("{node}={kib}")).collect();
    print!("{}", told.join(" "));
}
