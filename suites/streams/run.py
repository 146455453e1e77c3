"""Kafka Streams with exactly_once_v2: a word count and a windowed join of the flights, while the application and the
server are killed, give what a batch computation gives.

usage: run.py [--records N] [--kills N] [--on folder|pair] [--bootstrap HOST:PORT] FOLDER-OF-THE-BINARIES
"""

import sys
import time
import uuid
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kills"))
from processes import Feed, Killer, Reader, flights, main

CARRIER, TAIL_NUMBER, ORIGIN, DESTINATION = 9, 11, 12, 13
PARTITIONS = 4
HOUR_MS = 3_600_000


def word_count(rows):
    words = Counter()
    for line, _ in rows:
        fields = line.split(",")
        words.update([fields[CARRIER], fields[TAIL_NUMBER], fields[ORIGIN], fields[DESTINATION]])
    return words


def pairs(rows):
    """Departures to one destination from JFK and from EWR, at most an hour apart: (destination, numbers of both)."""
    departures = defaultdict(list)
    for number, (line, at) in enumerate(rows):
        fields = line.split(",")
        departures[fields[ORIGIN], fields[DESTINATION]].append((number, at))
    found = Counter()
    for (origin, destination), ours in departures.items():
        if origin == "JFK":
            for number, at in ours:
                for other, when in departures.get(("EWR", destination), []):
                    if abs(at - when) <= HOUR_MS:
                        found[destination, f"{number}+{other}"] += 1
    return found


def suite(cluster, checks, options):
    rows = flights(options.records or 4000 + 500 * options.kills)
    name = f"streams-{uuid.uuid4()}"
    cluster.new_topics(f"{name}-flights", f"{name}-counts", f"{name}-pairs", partitions=PARTITIONS)
    applications = [
        cluster.java(f"application-{n}", "FlightStreams", cluster.bootstrap, name, cluster.folder / f"state-{n}")
        for n in range(2)
    ]
    feed = Feed(cluster, f"{name}-flights", PARTITIONS)
    killer = Killer(options.seed, [*cluster.agents, *applications])
    start = time.monotonic()
    written = 0
    for kill in range(options.kills + 1):
        until = len(rows) * (kill + 1) // (options.kills + 1)
        for number in range(written, until):
            feed.write(number, *rows[number])
        written = until
        feed.producer.poll(0)
        if kill < options.kills:
            killer.step()
    checks.check("every flight is acknowledged", feed.finish())
    print(f"     {len(rows)} flights, {killer.summary()}, {time.monotonic() - start:.0f} s", flush=True)
    counts, expected = Reader(cluster, f"{name}-counts"), word_count(rows)
    counts.read(sum(expected.values()), 60)
    found, joined = Reader(cluster, f"{name}-pairs"), pairs(rows)
    found.read(sum(joined.values()), 60)
    print(f"     all results after {time.monotonic() - start:.0f} s", flush=True)
    time.sleep(2)
    counts.poll(1.0), found.poll(1.0)
    checks.check("each word is counted 1, 2, 3 and so on to its number in the file", wrong_counts(counts, expected))
    checks.check("the join finds each pair of the batch computation once", wrong_pairs(found, joined))
    deaths = [line for a in applications for line in a.path.read_text().splitlines() if "thread died" in line]
    checks.check("no stream thread dies of an error it cannot handle", "\n".join(deaths[:5]))
    for reader in (counts, found):
        reader.close()


def wrong_counts(reader, expected):
    seen = defaultdict(list)
    for records in reader.records.values():
        for word, count in records:
            seen[word].append(int(count))
    wrong = {
        word: seen[word] for word in expected | dict(seen) if seen[word] != list(range(1, expected.get(word, 0) + 1))
    }
    some = [f"{word}: {len(c)} steps to {c[-1:]}, expected {expected.get(word, 0)}" for word, c in wrong.items()]
    return "\n".join([f"{len(wrong)} of {len(expected)} words are wrong", *some[:10]]) if wrong else None


def wrong_pairs(reader, expected):
    seen = Counter(record for records in reader.records.values() for record in records)
    if seen == expected:
        return None
    missing, extra = expected - seen, seen - expected
    return f"{len(missing)} of {len(expected)} are missing: {list(missing)[:5]}\n{len(extra)} are too many: {list(extra)[:5]}"


if __name__ == "__main__":
    main(suite, __doc__, kills=5)
