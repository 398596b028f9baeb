"""Holds what a hostile worker met under AppArmor against the matrix: apparmor.py MATRIX CONSOLE."""

import sys
import tomllib


def fail(why):
    sys.exit(f"apparmor: {why}")


def main():
    with open(sys.argv[1], "rb") as file:
        matrix = tomllib.load(file)
    with open(sys.argv[2], encoding="utf-8", errors="replace") as file:
        lines = [line.rstrip("\r\n") for line in file]
    # The firmware leaves its last line open.
    lines = [line[line.index("profiles\t") :] if "profiles\t" in line else line for line in lines]
    if "profiles\tloaded" not in lines:
        fail("the kernel did not take the profiles: " + " | ".join(lines[-20:]))
    met, how = {}, None
    for line in lines:
        words = line.split("\t")
        if words[0] == "under":
            how = words[1]
        elif words[0] in ("attempt", "serving") and how:
            met[how, words[0], words[1]] = words[2]
        elif words[0] == "ended" and words[2] != "0":
            fail(f"the worker under {how} ended with {words[2]}: " + " | ".join(lines[-20:]))
    if "context\tanchorhold-worker (enforce)" not in lines:
        fail("the worker is not held by its profile")
    if "active\tapparmor" not in lines:
        fail("the worker does not know that its profile holds it")
    refused = wrong = 0
    for attempt in matrix["attempt"]:
        for how, key in (("apparmor", "apparmor"), ("attempts", "all")):
            outcome = met.pop((how, "attempt", attempt["name"]), "nothing")
            if outcome not in attempt[key]:
                print(f"apparmor: {attempt['name']}, {how}: met {outcome}, wanted one of {attempt[key]}")
                wrong += 1
            refused += how == "apparmor" and outcome != "ALLOWED"
    for attempt in matrix["serving"]:
        outcome = met.pop(("attempts", "serving", attempt["name"]), "nothing")
        if outcome not in attempt["all"]:
            print(f"apparmor: {attempt['name']}, serving: met {outcome}, wanted one of {attempt['all']}")
            wrong += 1
    if wrong or met:
        fail(f"{wrong} attempts met something else; not in the matrix: {sorted(met)}")
    print(f"apparmor: {refused} of {len(matrix['attempt'])} attempts refused by the profile alone, all of them by all layers")


main()
