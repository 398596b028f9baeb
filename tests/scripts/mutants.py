"""Mutation test of one crate with one build: every function holds its own changed bodies, and the environment says which one runs.

usage: mutants.py PACKAGE FOLDER [--shard K/N] [--exclude WORD ...] [--re REGEX] [--skip WORD ...] [--cpu SECONDS]

The mutants are those of cargo-mutants (`cargo mutants --list`), which builds the package and its tests anew for each: the build is most of the
time. Here a function with mutants becomes `match mutant() { 17 => { body 17 } .. _ => { body } }` in a copy of the sources under FOLDER, which
is built once. Each mutant then costs a run of those test programs that reach its function, until one of them fails.

What the compiler refuses is taken out and built again (`unviable`). Constants and other places outside of functions, and functions that return
`impl Trait`, cannot be chosen while running: they are listed as `left` and want `mutants.sh`. `const fn` loses its `const` in the copy, where
that compiles. A mutant that uses more than --cpu seconds of processor time is a `timeout`.

--shard 0/8 takes every eighth mutant of the package, the first one first; --exclude leaves out files whose path has this word. Results go to
FOLDER/{caught,missed,timeout,unviable,left}.txt and are added to those of runs before; a mutant that stands in one is not run again, so a run
that was stopped goes on. Delete missed.txt to try its mutants again after tests were added.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("caught", "missed", "timeout", "unviable", "left")
CHOICE = """
pub(crate) mod mutants_choice {
    use std::sync::{OnceLock, atomic::{AtomicBool, Ordering}};
    static CHOSEN: OnceLock<(u32, Option<String>)> = OnceLock::new();
    static REACHED: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];
    pub(crate) fn at(function: usize) -> u32 {
        let (chosen, told) = CHOSEN.get_or_init(|| {
            let number = std::env::var("MUTANT").ok().and_then(|number| number.parse().ok());
            (number.unwrap_or(0), std::env::var("MUTANTS_REACHED").ok())
        });
        if let Some(path) = told && !REACHED[function].swap(true, Ordering::Relaxed) {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{function}\\n").as_bytes()));
        }
        *chosen
    }
}
"""


def listed(package):
    """Every mutant of the package, in the order of cargo-mutants."""
    command = ["cargo", "mutants", "--list", "--json", "--package", package]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def offset(lines, place):
    """Where in the file's text a line and column of cargo-mutants is."""
    return sum(len(line) for line in lines[: place["line"] - 1]) + place["column"] - 1


def body_start(text, at):
    """The first brace after a function's parameters and return type."""
    depth = 0
    while True:
        if text.startswith("//", at):
            at = text.index("\n", at)
        elif text[at] in "([":
            depth += 1
        elif text[at] in ")]":
            depth -= 1
        elif text[at] == "{" and depth == 0:
            return at
        at += 1


class Source:
    """A file of the package: its functions with mutants, and its text with those that are still in."""

    def __init__(self, path, mutants):
        self.path, self.text, self.arms = path, (ROOT / path).read_text(), {}
        lines = self.text.splitlines(keepends=True)
        self.functions = {}
        for mutant in mutants:
            span = mutant["function"]["span"]
            key = (offset(lines, span["start"]), offset(lines, span["end"]))
            start, end = offset(lines, mutant["span"]["start"]), offset(lines, mutant["span"]["end"])
            self.functions.setdefault(key, []).append((mutant, start, end))

    def left(self):
        """Mutants that cannot be chosen while running: what their function returns has no name, or another function stands in it."""
        for key, found in list(self.functions.items()):
            signature = self.text[key[0] : body_start(self.text, key[0])]
            returned = signature.rpartition("->")[2] if "->" in signature else ""
            nested = any(key[0] < other[0] and other[1] < key[1] for other in self.functions)
            if re.search(r"\bimpl\b", returned) or nested:
                del self.functions[key]
                yield from (mutant for mutant, _, _ in found)

    def mutated(self, numbers, gone, functions):
        """The text with every mutant that is not gone; remembers which lines are whose."""
        out, at = [], 0
        self.arms, self.lines = {}, {}
        for key in sorted(self.functions):
            found = [item for item in self.functions[key] if item[0]["name"] not in gone]
            start = body_start(self.text, key[0])
            if not found:
                continue
            number = functions.setdefault((self.path, key), len(functions))
            signature = self.text[key[0] : start]
            out += [self.text[at : key[0]], re.sub(r"\bconst (?=(unsafe )?fn\b)", "", signature), "{\n"]
            out.append(f"match crate::mutants_choice::at({number}) {{\n")
            begins = "".join(out).count("\n")
            for mutant, first, last in found:
                replacement = mutant["replacement"]
                if mutant["genre"] == "BinaryOperator":
                    replacement = f" {replacement} "
                body = self.text[start:first] + replacement + self.text[last : key[1]]
                before = "".join(out).count("\n") + 1
                out.append(f"{numbers[mutant['name']]} => \n{body}\n,\n")
                self.arms[mutant["name"]] = (before, "".join(out).count("\n"))
            out += ["_ => \n", self.text[start : key[1]], "\n}\n}"]
            self.lines[key] = (begins, "".join(out).count("\n") + 1)
            at = key[1]
        out.append(self.text[at:])
        return "".join(out)

    def at_line(self, line):
        """The mutants that a complaint about this line is about: the arm's, or all of the function."""
        for name, (first, last) in self.arms.items():
            if first <= line <= last:
                return [name]
        for key, (first, last) in self.lines.items():
            if first <= line <= last:
                return [mutant["name"] for mutant, _, _ in self.functions[key]]
        return []


def copy_sources(tree):
    files = subprocess.run(
        ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        source, target = ROOT / name, tree / name
        if not source.is_file() or (target.is_file() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def cargo(tree, target, *arguments):
    """Runs cargo in the copy; gives back what the compiler complains of and the test programs that were made."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), RUSTFLAGS="--cap-lints=warn")
    command = ["cargo", *arguments, "--profile", "mutants", "--message-format=json"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    errors, programs = [], []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            errors.append(message["message"])
        elif message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            programs.append((message["target"]["name"], message["executable"]))
    if done.returncode != 0 and not errors:
        sys.exit(done.stderr)
    return errors, programs


def run(program, folder, limit_s, skipped, **variables):
    """Runs one test program: whether it passed, and the processor time it took; `None` for the first when that was too much."""
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1", CARGO_MANIFEST_DIR=str(folder), **variables)
    arguments = ["-q", "-Z", "unstable-options", "--fail-fast", *(part for word in skipped for part in ("--skip", word))]

    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=environment, preexec_fn=limits, timeout=60 * limit_s,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -24
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (None if code == -24 else code == 0), used


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--exclude", nargs="*", default=[])
    parser.add_argument("--re", default="")
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--cpu", type=int, default=60)
    given = parser.parse_args()
    folder = given.folder.resolve()
    tree, target = (folder / "tree").resolve(), pathlib.Path(os.environ.get("CARGO_TARGET_DIR", folder / "target"))
    tree.mkdir(parents=True, exist_ok=True)

    shard, shards = map(int, given.shard.split("/"))
    mutants = listed(given.package)
    numbers = {mutant["name"]: number for number, mutant in enumerate(mutants, 1)}
    mutants = [mutant for mutant in mutants if not any(word in mutant["file"] for word in given.exclude)]
    mutants = [mutant for mutant in mutants[shard::shards] if re.search(given.re, mutant["name"])]
    known = {kind: [] for kind in KINDS}
    for kind in KINDS:
        if (path := folder / f"{kind}.txt").exists():
            known[kind] = path.read_text().splitlines()
    judged = {name for names in known.values() for name in names}
    mutants = [mutant for mutant in mutants if mutant["name"] not in judged]

    def put(kind, name):
        known[kind].append(name)
        with (folder / f"{kind}.txt").open("a") as file:
            file.write(name + "\n")
        print(kind, name, flush=True)

    copy_sources(tree)
    by_file = {}
    for mutant in mutants:
        if mutant["function"] is None:
            put("left", mutant["name"])
        else:
            by_file.setdefault(mutant["file"], []).append(mutant)
    sources = {path: Source(path, found) for path, found in by_file.items()}
    for source in sources.values():
        for mutant in source.left():
            put("left", mutant["name"])
    mutants = [item[0] for source in sources.values() for found in source.functions.values() for item in found]

    metadata = json.loads(
        subprocess.run(["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=tree, check=True, capture_output=True, text=True).stdout
    )
    manifest = next(one["manifest_path"] for one in metadata["packages"] if one["name"] == given.package)
    package_folder = pathlib.Path(manifest).parent
    root = str((package_folder / "src/lib.rs").relative_to(tree))
    gone, functions, variable, programs = set(), {}, set(), []
    stages = [("build", "--lib"), ("test", "--no-run")]
    while stages:
        for path in sorted({root, *sources, *(path for path, _ in variable)}):
            source = sources.get(path)
            text = source.mutated(numbers, gone, functions) if source else (ROOT / path).read_text()
            for _, name in (one for one in variable if one[0] == path):
                text = re.sub(rf"\bconst fn {name}\b", f"fn {name}", text)
            (tree / path).write_text(text + CHOICE if path == root else text)
        command, *arguments = stages[0]
        errors, programs = cargo(tree, target, command, "--package", given.package, *arguments)
        if not errors:
            stages.pop(0)
            continue
        wrong, moved = {}, len(variable)
        for error in errors:
            notes = " ".join([error["message"], *(child["message"] for child in error["children"])])
            for span in (span for span in error["spans"] if span["is_primary"]):
                path, line = span["file_name"], span["line_start"]
                found = sources[path].at_line(line) if path in sources else []
                if "in constant functions" in notes and "non-const" in notes:
                    # What calls a function that is no constant one any more cannot be one either.
                    before = "".join((tree / path).read_text().splitlines(keepends=True)[:line])
                    variable.add((path, re.findall(r"\bconst fn (\w+)", before)[-1]))
                elif "non-const" in notes and (called := re.search(r"non-const .*?`(?:.*::)?(\w+)(?:::<.*>)?`", notes)):
                    # A constant is made with it: it has to stay as it is.
                    here = (item for one in sources.values() for of in one.functions.values() for item in of)
                    of_called = (item[0] for item in here if item[0]["function"]["function_name"].split("::")[-1] == called[1])
                    wrong.update((mutant["name"], "left") for mutant in of_called)
                    variable = {one for one in variable if one[1] != called[1]}
                else:
                    wrong.update((name, "unviable") for name in found)
        wrong = {name: kind for name, kind in wrong.items() if name not in gone}
        if not wrong and len(variable) == moved:
            sys.exit("\n".join(error["rendered"] for error in errors))
        for name, kind in sorted(wrong.items()):
            put(kind, name)
        gone |= wrong.keys()

    # Without a mutant: what passes, what each program reaches and how long it takes.
    suites = []
    for name, program in programs:
        told = folder / "reached"
        told.unlink(missing_ok=True)
        passed, used = run(program, package_folder, 10 * given.cpu, given.skip, MUTANTS_REACHED=str(told))
        if not passed:
            sys.exit(f"{name} fails without a mutant")
        reached = {int(line) for line in told.read_text().split()} if told.exists() else set()
        suites.append((used, name, program, reached))
        print(f"{name}: {used:.1f} s, reaches {len(reached)} of {len(functions)} functions", flush=True)
    suites.sort()
    for path, source in sources.items():
        for key, found in source.functions.items():
            for mutant, _, _ in found:
                if mutant["name"] in gone:
                    continue
                verdict = "missed"
                for used, _, program, reached in suites:
                    if functions[path, key] not in reached:
                        continue
                    limit_s = max(given.cpu, int(5 * used))
                    passed, _ = run(program, package_folder, limit_s, given.skip, MUTANT=str(numbers[mutant["name"]]))
                    if passed is not True:
                        verdict = "timeout" if passed is None else "caught"
                        break
                put(verdict, mutant["name"])
    counts = {kind: len(names) for kind, names in known.items()}
    of = counts["caught"] + counts["missed"]
    print(f"{counts}; caught {100 * counts['caught'] / max(of, 1):.1f} % of {of}")


if __name__ == "__main__":
    main()
