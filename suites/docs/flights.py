"""The flights of 2013, loaded and read back: how long it takes and how many objects it makes, for README.md.

usage: flights.py [--write] FOLDER-OF-THE-BINARIES

Once on SQLite and a folder, once on Postgres and S3; by streamctl, and by a default Java producer (suites/java/FlightsSuite),
which also checks what comes back. Wants the environment that run.py wants; --write puts the table into README.md.
"""

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from lists import table
from run import ROOT, Page

STORES = {
    "SQLite, folder": "streamhouse serve --data data --kafka 127.0.0.1:9092 --http 127.0.0.1:8080",
    "Postgres, S3": "AWS_ACCESS_KEY_ID=streamhouse AWS_SECRET_ACCESS_KEY=streamhouse-secret "
    "streamhouse serve --data data --kafka 127.0.0.1:9092 --http 127.0.0.1:8080 "
    "--bucket 's3://streamhouse/demo?endpoint=http://127.0.0.1:9000' "
    "--metadata 'postgres://streamhouse:secret@127.0.0.1:5432/streamhouse'",
}
CREATE = "streamctl topic create flights --partitions 6 --config retention.ms=-1"
WRITE = "streamctl produce flights flights.csv --format csv --csv-value row --key carrier --timestamp time_hour"
READ = "kcat -b $STREAMCTL_BOOTSTRAP -C -t flights -e -q -f '%T,%s\\n' > read.csv"
COMPARE = """
export LC_ALL=C
cmp <(tail -n +2 flights.csv | sort -s -t, -k10,10) <(cut -d, -f2- read.csv | sort -s -t, -k10,10)
cmp <(cut -d, -f1 read.csv) <(cut -d, -f20 read.csv | date -u -f - +%s000)
"""


class Load:
    """A server, and what is done to it."""

    def __init__(self, stores, binaries):
        self.page = Page(ROOT / "README.md", binaries)
        problem = self.page.start(self.page.replace(STORES[stores]))
        if problem:
            sys.exit(problem)
        self.page.environment["STREAMCTL_BOOTSTRAP"] = self.page.own("9092")

    def sh(self, command):
        """Seconds and output of a command that must succeed."""
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.page.folder,
            env=self.page.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{command}\n{done.stdout}{self.page.logs()}")
        return time.monotonic() - start, done.stdout

    def uploaded(self):
        """Objects and bytes that were put into the bucket so far."""
        with urllib.request.urlopen(f"http://{self.page.own('8080')}/metrics") as answer:
            text = answer.read().decode()
        puts = re.findall(r'^streamhouse_bucket_requests_total\{(?=[^}]*op="put")(?=[^}]*outcome="ok")[^}]*\} (\d+)', text, re.M)
        up = re.findall(r'^streamhouse_bucket_bytes_total\{[^}]*direction="up"[^}]*\} (\d+)', text, re.M)
        return sum(map(int, puts)), sum(map(int, up))

    def measured(self, act):
        """A row of the table: what `act` says of seconds, and what it uploaded."""
        objects, size = self.uploaded()
        wrote, read = act()
        after, size_after = self.uploaded()
        return [f"{wrote:.1f} s", f"{read:.1f} s", str(after - objects), f"{(size_after - size) / 2**20:.1f} MiB"]

    def streamctl(self):
        self.sh(CREATE)
        wrote, _ = self.sh(WRITE)
        read, _ = self.sh(READ)
        self.sh(COMPARE)
        return wrote, read

    def java(self):
        _, text = self.sh("java -Xmx1g FlightsSuite $STREAMCTL_BOOTSTRAP flights.csv")
        seconds = [float(found) for found in re.findall(r"flights (?:written|read) in ([\d.]+) s", text)]
        return seconds[0], seconds[1]


def main():
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    rows = []
    for stores in STORES:
        load = Load(stores, Path(arguments[0]).resolve())
        try:
            rows.append([stores, "streamctl", "kcat", *load.measured(load.streamctl)])
            rows.append([stores, "Java, its defaults", "Java", *load.measured(load.java)])
        finally:
            load.page.stop()
    text = table(["stores", "written by", "read by", "written in", "read in", "objects", "uploaded"], rows)
    print(text)
    if "--write" in sys.argv:
        readme = ROOT / "README.md"
        pattern = re.compile(r"(<!-- flights: measured -->\n).*?(<!-- end -->)", re.S)
        readme.write_text(pattern.sub(lambda m: f"{m.group(1)}{text}\n{m.group(2)}", readme.read_text()))


if __name__ == "__main__":
    main()
