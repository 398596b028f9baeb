#!/usr/bin/env python3
"""Writes ocsf-rules.json: what the published OCSF schema asks of the classes that entries are exported as.

usage: make_ocsf_rules.py CHECKOUT > ocsf-rules.json

CHECKOUT is the schema's own repository at the release that the exporter names. Of each class and object stand here the names of the
attributes, whether they are required, their types and the closed lists of values; no text of the schema. Objects are followed from
OBJECTS only; the test that reads the rules refuses an object that has none here.
"""
import json
import pathlib
import sys

CLASSES = [1007, 1008, 2004, 3002, 3003, 3004, 5002, 6002, 6003, 6005, 6008]
OBJECTS = [
    "actor", "ai_model", "api", "databucket", "device", "fingerprint", "finding_info", "http_response", "managed_entity", "metadata",
    "network_endpoint", "process", "product", "request", "response", "service", "user",
]
root = pathlib.Path(sys.argv[1])
version = json.loads((root / "version.json").read_text())["version"]
dictionary = json.loads((root / "dictionary.json").read_text())
words = dictionary["attributes"]
categories = {name: entry["uid"] for name, entry in json.loads((root / "categories.json").read_text())["attributes"].items()}


def documents(folder):
    found = {}
    for path in (root / folder).rglob("*.json"):
        document = json.loads(path.read_text())
        found[document.get("name") or document.get("extends")] = document
    return found


events, objects = documents("events"), documents("objects")


def include(attributes):
    """The attributes with those of included files; an included profile's are marked with its name."""
    attributes = dict(attributes)
    merged = {}
    files = attributes.pop("$include", [])
    for file in [files] if isinstance(files, str) else files:
        document = json.loads((root / file).read_text())
        for name, attribute in include(document["attributes"]).items():
            attribute = dict(attribute)
            if document.get("meta") == "profile":
                attribute.setdefault("profile", document["name"])
            merged[name] = attribute
    for name, attribute in attributes.items():
        merged[name] = {**merged.get(name, {}), **attribute}
    return merged


def resolve(document, known):
    """Attributes, constraint, category and profiles with what the document extends."""
    parent = document.get("extends")
    base = resolve(known[parent], known) if parent else {"attributes": {}, "any": [], "category": None, "profiles": set()}
    attributes = {name: dict(value) for name, value in base["attributes"].items()}
    for name, attribute in include(document.get("attributes", {})).items():
        enum = {**attributes.get(name, {}).get("enum", {}), **attribute.get("enum", {})}
        attributes[name] = {**attributes.get(name, {}), **attribute}
        if enum:
            attributes[name]["enum"] = enum
    constraint = (document.get("constraints") or {}).get("at_least_one", base["any"])
    return {
        "attributes": attributes, "any": constraint, "category": document.get("category") or base["category"],
        "profiles": base["profiles"] | set(document.get("profiles") or []),
    }


def rule(name, attribute):
    word = words[name]
    entry = {"type": word["type"], "object": word["type"] not in dictionary["types"]["attributes"]}
    entry["array"] = bool(word.get("is_array"))
    entry["required"] = attribute.get("requirement") == "required"
    if attribute.get("profile"):
        entry["profile"] = attribute["profile"]
    enum = {**word.get("enum", {}), **attribute.get("enum", {})}
    # The schema compiles the numbers of categories and classes into these lists; the test compares them itself.
    if enum and name not in ("category_uid", "class_uid", "type_uid"):
        entry["values"] = sorted(enum, key=lambda value: (len(value), value))
    return entry


def rules(resolved):
    kept = {n: rule(n, a) for n, a in sorted(resolved["attributes"].items()) if not n.startswith("$") and n in words}
    kept = {n: a for n, a in kept.items() if a["required"] or not a["object"] or a["type"] in OBJECTS or n == "unmapped"}
    return {"attributes": kept, "at_least_one": resolved["any"]}


out = {"version": version, "types": {}, "classes": {}, "objects": {}}
for name, document in sorted(events.items()):
    if "uid" not in document:
        continue
    resolved = resolve(document, events)
    uid = categories.get(resolved["category"], 0) * 1000 + document["uid"]
    if uid in CLASSES:
        out["classes"][str(uid)] = {**rules(resolved), "category": uid // 1000, "profiles": sorted(resolved["profiles"])}
for name in OBJECTS:
    out["objects"][name] = rules(resolve(objects[name], objects))
missing = set(map(str, CLASSES)) - set(out["classes"])
assert not missing, missing
for name, kind in dictionary["types"]["attributes"].items():
    out["types"][name] = kind.get("type", name)
json.dump(out, sys.stdout, indent=None, sort_keys=True, separators=(",", ":"))
print()
