#!/usr/bin/env python3
"""Writes requests.txt from the message definitions that a kafka-clients jar carries.

usage: generate.py kafka-clients-4.3.1.jar > requests.txt

One line a request: api key, name, flexible versions, fields. A field is name:type, with @versions where it is not in all of
them, #tag@versions where it is tagged, and ?versions where it is a struct that may be null. `[]` before a type is an array.
"""
import json
import re
import sys
import zipfile


def definitions(jar):
    with zipfile.ZipFile(jar) as archive:
        for name in sorted(archive.namelist()):
            if re.fullmatch(r"common/message/\w+Request\.json", name):
                text = archive.read(name).decode()
                yield json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def typed(kind, field, structs):
    if kind.startswith("[]"):
        return "[]" + typed(kind[2:], field, structs)
    fields = field.get("fields") or structs.get(kind)
    return "{" + " ".join(line(f, structs) for f in fields) + "}" if fields else kind


def line(field, structs):
    kind = field["type"]
    out = snake(field["name"]) + ":" + typed(kind, field, structs)
    if field["versions"] != "0+":
        out += "@" + field["versions"]
    if "taggedVersions" in field:
        out += f"#{field['tag']}@{field['taggedVersions']}"
    is_struct = out.split(":", 1)[1].startswith("{")
    if is_struct and "nullableVersions" in field:
        out += "?" + field["nullableVersions"]
    return out


def main():
    # Retired requests are in the jar too; they have no versions.
    requests = [d for d in definitions(sys.argv[1]) if d["validVersions"] != "none"]
    for d in sorted(requests, key=lambda d: d["apiKey"]):
        structs = {s["name"]: s["fields"] for s in d.get("commonStructs", [])}
        fields = " ".join(line(f, structs) for f in d.get("fields", []))
        name = d["name"].removesuffix("Request")
        print(d["apiKey"], name, d["flexibleVersions"], "{" + fields + "}")


main()
