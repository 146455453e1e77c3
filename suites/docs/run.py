"""The documentation, done as it says: every command of README.md and docs/*.md, page by page, in a new folder each.

usage: run.py [--write] FOLDER-OF-THE-BINARIES [PAGE]...

A block of a page is what its fence says:

    ```sh         is run by bash; it must succeed
    ```sh start   is run in the background until the server is ready; `cargo run --release` stands for the server
    ```sh skip    is not run: it installs something, or its meaning is to be read
    ```python     is run by this interpreter
    ```text       is what the block before it prints: these lines, in this order; … stands for any text

Pages name default ports; each run gets free ones. In the environment: CLASSPATH (the jars of Apache Kafka), FLIGHTS (the
path of flights.csv), STREAMHOUSE_TEST_POSTGRES, STREAMHOUSE_TEST_S3, STREAMHOUSE_TEST_S3_KEY, STREAMHOUSE_TEST_S3_SECRET.
--write brings the lists that follow from the code up to date instead of comparing them.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import lists

ROOT = Path(__file__).resolve().parents[2]
PORTS = ["9092", "9093", "8080", "8081"]
BLOCK_SECONDS = 120
TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
}


def main():
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    if not arguments:
        sys.exit(__doc__)
    binaries, named = Path(arguments[0]).resolve(), arguments[1:]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    results = lists.check(ROOT, binaries, write="--write" in sys.argv)
    for page in pages:
        if not named or page.name in named:
            results += Page(page, binaries).run()
    failed = sum(1 for ok in results if not ok)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


def blocks(page):
    """(language, words, text, line) of every fenced block."""
    fence, lines, start = None, [], 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```") and fence is None:
            fence, lines, start = line[3:].split() or ["text"], [], number
        elif line.startswith("```"):
            yield fence[0], fence[1:], "\n".join(lines) + "\n", start
            fence = None
        elif fence is not None:
            lines.append(line)


class Page:
    """One page in one folder, with the servers that it starts."""

    def __init__(self, page, binaries):
        self.page = page
        self.folder = Path(tempfile.mkdtemp(prefix="streamhouse-docs-"))
        self.servers = []
        self.replacements = replacements()
        self.environment = environment(binaries, self.folder)
        if "FLIGHTS" in os.environ:
            (self.folder / "flights.csv").symlink_to(os.environ["FLIGHTS"])

    def run(self):
        results, printed = [], ""
        try:
            for language, words, text, line in blocks(self.page):
                name = f"{self.page.name}:{line}"
                if language == "text":
                    if printed is not None and "skip" not in words:
                        results.append(report(f"{name} prints what the page shows", missing(text, printed)))
                    continue
                printed = None
                if language not in ("sh", "python") or "skip" in words:
                    continue
                problem, printed = self.block(language, words, self.replace(text))
                results.append(report(f"{name} {text.splitlines()[0]}", problem))
                if problem:
                    break
        finally:
            self.stop()
        return results

    def replace(self, text):
        for old, new in self.replacements.items():
            text = text.replace(old, new)
        return text

    def block(self, language, words, text):
        if "start" in words:
            return self.start(text), None
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=BLOCK_SECONDS,
                text=True,
            )
        except subprocess.TimeoutExpired as late:
            return f"not done after {BLOCK_SECONDS} s: {late.output}", ""
        problem = None if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{self.logs()}"
        return problem, done.stdout

    def start(self, text):
        text = text.replace("cargo run --release -- ", "streamhouse ").replace("cargo run --release", "streamhouse")
        if "--http" not in text:
            text = f"{text.strip()} --kafka {self.own('9092')} --http {self.own('8080')}"
        http = re.search(r"--http (\S+)", text).group(1)
        log = open(self.folder / f"server-{len(self.servers)}.log", "w+")
        server = subprocess.Popen(
            ["bash", "-c", "exec env " + text.strip()],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.servers.append((server, log))
        return self.wait(server, http)

    def own(self, port):
        return self.replacements[f"127.0.0.1:{port}"]

    def wait(self, server, http):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            try:
                urllib.request.urlopen(f"http://{http}/readyz", timeout=2)
                return None
            except OSError:
                time.sleep(0.05)
        return f"the server is not ready\n{self.logs()}"

    def logs(self):
        def tail(log):
            log.seek(0)
            return "".join(log.readlines()[-30:])

        return "".join(f"--- log of a server\n{tail(log)}" for _, log in self.servers)

    def stop(self):
        for server, log in self.servers:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
                try:
                    server.wait(40)
                except subprocess.TimeoutExpired:
                    server.kill()
            log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def replacements():
    """What pages say, and what it is in this run."""
    found = {f"127.0.0.1:{port}": f"127.0.0.1:{free_port()}" for port in PORTS}
    if "STREAMHOUSE_TEST_S3" in os.environ:
        bucket = os.environ["STREAMHOUSE_TEST_S3"].split(",")[0]
        place, query = bucket.split("?", 1)
        found["s3://streamhouse/demo?endpoint=http://127.0.0.1:9000"] = f"{place}/docs-{uuid.uuid4()}?{query}"
        found["AWS_ACCESS_KEY_ID=streamhouse"] = "AWS_ACCESS_KEY_ID=" + os.environ["STREAMHOUSE_TEST_S3_KEY"]
        found["AWS_SECRET_ACCESS_KEY=streamhouse-secret"] = (
            "AWS_SECRET_ACCESS_KEY=" + os.environ["STREAMHOUSE_TEST_S3_SECRET"]
        )
    if "STREAMHOUSE_TEST_POSTGRES" in os.environ:
        schema = f"docs_{uuid.uuid4().hex}"
        database = os.environ["STREAMHOUSE_TEST_POSTGRES"]
        found["postgres://streamhouse:secret@127.0.0.1:5432/streamhouse"] = f"{database}?schema={schema}"
    return found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(binaries, folder):
    """Kafka's tools by their names, and ours, before everything else."""
    tools = folder / ".tools"
    tools.mkdir()
    for name, java_class in TOOLS.items():
        script = tools / name
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        script.write_text(f'#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 {level} {java_class} "$@"\n')
        script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMHOUSE_", "STREAMCTL_"))}
    return {**kept, "PATH": f"{tools}:{binaries}:{os.environ['PATH']}", "NO_COLOR": "1"}


def missing(expected, printed):
    """The first expected line that does not come after the one before it."""
    rest = iter(printed.splitlines())
    for line in expected.splitlines():
        pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
        if not any(re.fullmatch(pattern, other.strip()) for other in rest):
            return f"no line {line!r} in its place in\n{printed}"
    return None


def report(name, problem):
    print(f"FAIL {name}\n{problem}" if problem else f"ok   {name}", flush=True)
    return problem is None


if __name__ == "__main__":
    main()
