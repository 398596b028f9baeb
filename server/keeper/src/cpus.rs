//! Which CPUs the threads of workers are bound to.

use rustix::thread::{CpuSet, sched_getaffinity};
use std::path::Path;

/// Where Linux tells which CPUs lie at the same memory: a folder `node0` and so on, with a file `cpulist`.
const NODES: &str = "/sys/devices/system/node";
/// The longest list that is read, in bytes.
const MAX_LIST_LEN: usize = 4096;

/// CPUs that this process may use, for `workers` with so many threads each; `None` if two threads would have to share one.
pub(crate) fn for_workers(workers: usize, threads: u16) -> Option<Vec<u16>> {
    let allowed = sched_getaffinity(None).ok()?;
    let allowed: Vec<u16> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| allowed.is_set(cpu))
        .filter_map(|cpu| cpu.try_into().ok())
        .collect();
    let cpus = ordered(&allowed, &nodes(Path::new(NODES)));
    (cpus.len() >= workers.checked_mul(threads.into())?).then_some(cpus)
}

/// The share of the worker at this place; empty if there is none.
pub(crate) fn share(cpus: &[u16], threads: u16, worker: usize) -> Vec<u16> {
    let threads = usize::from(threads);
    cpus.get(worker * threads..).and_then(|rest| rest.get(..threads)).unwrap_or_default().to_vec()
}

/// The allowed CPUs, those of one node after those of another, so that threads fill a node before they reach for far memory. The node
/// with the most comes first. Inside of a node they ascend, which on the usual numbering takes every core before a second thread of one.
fn ordered(allowed: &[u16], nodes: &[Vec<u16>]) -> Vec<u16> {
    let of_node = |node: &Vec<u16>| allowed.iter().copied().filter(|cpu| node.contains(cpu)).collect();
    let mut groups: Vec<Vec<u16>> = nodes.iter().map(of_node).collect();
    // CPUs of which nothing is said come last.
    groups.push(allowed.iter().copied().filter(|cpu| !nodes.iter().any(|node| node.contains(cpu))).collect());
    let last = groups.len() - 1;
    if let Some(told) = groups.get_mut(..last) {
        told.sort_by_key(|group| std::cmp::Reverse(group.len()));
    }
    groups.concat()
}

/// The CPUs of each node below this folder; none where the system tells nothing.
fn nodes(folder: &Path) -> Vec<Vec<u16>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse::<u32>().ok()?;
        let list = std::fs::read_to_string(entry.path().join("cpulist")).ok()?;
        Some((number, parse(&list)?))
    });
    let mut numbered: Vec<(u32, Vec<u16>)> = numbered.collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, cpus)| cpus).collect()
}

/// Reads a list such as `0-3,8`, in the form of the kernel's `cpulist`. A node without CPUs has an empty one.
fn parse(list: &str) -> Option<Vec<u16>> {
    let list = list.trim();
    if list.is_empty() {
        return Some(Vec::new());
    }
    if list.len() > MAX_LIST_LEN {
        return None;
    }
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    Some(ranges.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse("\n"), Some(Vec::new()));
        for wrong in ["a", "1-", "-1", "1,,2", "99999999", &"1,".repeat(MAX_LIST_LEN)] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn threads_fill_one_node_before_the_next() {
        let folder = std::env::temp_dir().join(format!("anchorhold-nodes-{}", std::process::id()));
        for (node, list) in
            [("node0", "0-1,4-5\n"), ("node1", "2-3,6-7\n"), ("node10", "\n"), ("power", "9\n")]
        {
            std::fs::create_dir_all(folder.join(node)).unwrap();
            std::fs::write(folder.join(node).join("cpulist"), list).unwrap();
        }
        let nodes = nodes(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(nodes, [vec![0, 1, 4, 5], vec![2, 3, 6, 7], vec![]]);
        assert_eq!(ordered(&[0, 1, 2, 3, 4, 5, 6, 7], &nodes), [0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(ordered(&[1, 2, 3, 6, 9], &nodes), [2, 3, 6, 1, 9], "the node with the most first");
        assert_eq!(ordered(&[5, 7], &[]), [5, 7], "a machine that tells nothing");
    }

    #[test]
    fn no_two_workers_share_a_cpu() {
        let cpus = [0, 1, 4, 5, 2];
        assert_eq!([0, 1, 2].map(|worker| share(&cpus, 2, worker)), [vec![0, 1], vec![4, 5], vec![]]);
        assert!(for_workers(CpuSet::MAX_CPU, 2).is_none(), "more threads than CPUs");
        assert!(for_workers(1, 1).is_some_and(|cpus| !cpus.is_empty()));
    }
}
