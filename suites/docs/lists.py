"""The lists in the pages that follow from the code: settings, broker and topic configs, API versions, differences, metrics,
and the functions that ARCHITECTURE.md names.

A list stands between `<!-- list: NAME -->` and `<!-- end -->`. A list that is not what the code says is a failure.
"""

import re
import subprocess


def check(root, binaries, write):
    """Compares every list, or writes it. Answers one boolean a list."""
    return [compare(root / page, name, make(root, binaries), write) for page, name, make in LISTS] + [
        metrics_are_told(root),
        rules_are_there(root),
    ]


def compare(page, name, wanted, write):
    text = page.read_text()
    pattern = re.compile(rf"(<!-- list: {name} -->\n).*?(\n?<!-- end -->)", re.S)
    found = pattern.search(text)
    if found and write:
        page.write_text(pattern.sub(lambda m: f"{m.group(1)}{wanted}\n{m.group(2).lstrip()}", text))
        found = pattern.search(page.read_text())
    ok = bool(found) and found.group(0) == found.group(1) + wanted + found.group(2)
    advice = "" if ok else ": it is not what the code says; run suites/docs/run.py --write"
    print(f"{'ok  ' if ok else 'FAIL'} {page.name} lists {name}{advice}")
    return ok


def table(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings(_root, binaries):
    """From `streamhouse serve --help`: flag, variable, key in the file, default, meaning."""
    command = [binaries / "streamhouse", "serve", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "100"}).stdout
    rows = []
    for option in re.split(r"\n\s+(?=-)", text.split("Options:", 1)[1]):
        words = " ".join(option.split())
        flag = re.match(r"--([\w-]+) \[?<([^>]+)>\]? (.*)", words)
        if flag:
            rows.append(setting(*flag.groups()))
    return table(["flag", "variable", "key in the file", "default", "meaning"], rows)


def setting(flag, value, rest):
    part = lambda name: (re.search(rf"\[{name}[:=] ?([^\]]*)\]", rest) or [None, ""])[1]
    meaning = re.sub(r" \[(default|env|possible values)[:=][^\]]*\]", "", rest)
    key = {"config": "", "set": "the table `[kafka]`", "kafka": "`kafka_listen`"}.get(flag, f"`{flag.replace('-', '_')}`")
    return [f"`--{flag} {value}`", f"`{part('env').rstrip('=')}`", key, part("default"), meaning]


ROW = re.compile(r'^    row\("([^"]+)", \w+, (None|MAX|Some\("[^"]*"\)|"[^"]*"), (.*), "((?:[^"\\]|\\.)*)"\),$', re.M)


def default_of(text):
    return "9223372036854775807" if text == "MAX" else re.sub(r'^Some\("|^"|"\)?$', "", text).replace("None", "")


def broker_configs(root, _binaries):
    kinds = {"ReadOnly": "at the start", "ClusterWide": "while it runs", "Derived": "shown only"}
    rows = []
    for name, default, middle, meaning in ROW.findall((root / "crates/node/src/config/broker.rs").read_text()):
        rows.append([f"`{name}`", default_of(default), kinds[middle.rsplit(", ", 1)[-1]], meaning])
    return table(["setting", "default", "set", "meaning"], rows)


def topic_configs(root, _binaries):
    rows = []
    for name, default, middle, meaning in sorted(ROW.findall((root / "crates/node/src/config/topic.rs").read_text())):
        broker = re.search(r'Some\("([^"]+)"\)$', middle)
        rows.append([f"`{name}`", default_of(default), f"`{broker[1]}`" if broker else "", meaning])
    return table(["setting", "default", "default comes from", "meaning"], rows)


def api_versions(root, _binaries):
    text = (root / "crates/kafka/src/api/mod.rs").read_text()
    apis = re.findall(r"^\s+(\w+)Request, (\d+)\.\.=(\d+), \w+;$", text, re.M)
    apis += re.findall(r'name: "(\w+)",\n\s+min: (\d+),\n\s+max: (\d+),', text)
    return table(["API", "versions"], [[name, f"{low} to {high}"] for name, low, high in sorted(apis)])


def differences(root, _binaries):
    text = (root / "crates/testkit/src/oracle/wanted.rs").read_text()
    reasons = dict.fromkeys(re.findall(r'reason: "((?:[^"\\]|\\.)*)"', text))
    return "\n".join(f"- {reason}" for reason in reasons)


def metrics_are_told(root):
    """Every metric of the code has its line in operations.md."""
    told = (root / "docs/operations.md").read_text()
    code = "".join(path.read_text() for path in (root / "crates").glob("*/src/**/*.rs"))
    names = set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(\w+)"', code))
    unknown = sorted(name for name in names if f"`{name}`" not in told)
    print(f"FAIL operations.md does not tell of {', '.join(unknown)}" if unknown else "ok   operations.md tells of every metric")
    return not unknown


def rules_are_there(root):
    """Every function that ARCHITECTURE.md names is in the file that it names."""
    text = (root / "ARCHITECTURE.md").read_text()
    named = re.findall(r"\| `(\S+\.rs)` `(\w+)` \|", text)
    gone = [f"{path} {name}" for path, name in named if not has_function(root / "crates" / path, name)]
    ok = bool(named) and not gone
    print("ok   ARCHITECTURE.md names functions that are there" if ok else f"FAIL ARCHITECTURE.md names what is gone: {gone}")
    return ok


def has_function(path, name):
    return path.exists() and bool(re.search(rf"\bfn {name}\b", path.read_text()))


LISTS = [
    ("docs/settings.md", "settings", settings),
    ("docs/settings.md", "broker settings", broker_configs),
    ("docs/settings.md", "topic settings", topic_configs),
    ("docs/kafka-compatibility.md", "API versions", api_versions),
    ("docs/kafka-compatibility.md", "differences", differences),
]
