#!/usr/bin/env python3
"""What must come of the events of the pipelines beside this file, computed without Caudal: `python3 tests/pipelines/expected.py` writes
FOLDER/expected/WINDOW.csv anew from FOLDER/events.ndjson. Exact fractions, rounded once; docs/semantics.md says what is computed."""

import csv
import json
import math
import re
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def lines(folder):
    for line in (HERE / folder / "events.ndjson").read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            pass  # no event at all


def once(events, key):
    seen = set()
    for event in events:
        if event[key] not in seen:
            seen.add(event[key])
            yield event


def exact(values):
    return [Fraction(value) for value in values if value is not None]


def total(values):
    values = exact(values)
    return float(sum(values)) if values else None


def mean(values):
    values = exact(values)
    return float(sum(values) / len(values)) if values else None


def spread(values):
    values = exact(values)
    if len(values) < 2:
        return None
    middle = sum(values) / len(values)
    variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
    with localcontext() as context:
        context.prec = 60
        return float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())


def greatest(values):
    return max((value for value in values if value is not None), default=None)


def least(values):
    return min((value for value in values if value is not None), default=None)


def quantile(values, share):
    """The value at the rank, exactly; Caudal is within 1/256 of it."""
    values = sorted(value for value in values if value is not None)
    return values[math.floor(Fraction(share) * (len(values) - 1))] if values else None


def tumbling(events, size):
    return hopping(events, size, size)


def hopping(events, size, every):
    """Window start → its events."""
    windows = defaultdict(list)
    for event in events:
        start = event["time"] // every * every
        while start > event["time"] - size:
            windows[start].append(event)
            start -= every
    return windows


def by(events, *keys):
    groups = defaultdict(list)
    for event in events:
        groups[tuple(event.get(key) for key in keys)].append(event)
    return groups


def sessions(events, gap):
    """Events in the order of their times, those less than `gap` apart together."""
    runs = []
    for event in sorted(events, key=lambda event: event["time"]):
        if runs and event["time"] - runs[-1][-1]["time"] < gap:
            runs[-1].append(event)
        else:
            runs.append([event])
    return runs


def shown(micros):
    moment = EPOCH + timedelta(microseconds=micros)
    digits = "" if micros % 1_000_000 == 0 else "milliseconds" if micros % 1000 == 0 else "microseconds"
    return moment.isoformat(timespec=digits or "seconds").replace("+00:00", "Z")


def cell(value):
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def order(group):
    return [(value is not None, value if value is not None else 0) for value in group]


def write(folder, window, header, rows):
    """Rows: (start, group, values, number of events)."""
    path = HERE / folder / "expected" / f"{window}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["window_start", *header, "event_count"])
        for start, group, values, count in sorted(rows, key=lambda row: (row[0], order(row[1]))):
            out.writerow([shown(start), *map(cell, group), *map(cell, values), count])


MINUTE = 60_000_000


def micros(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


def taxi():
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
    new_york = timezone(timedelta(hours=-5))
    read = lambda text: micros(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=new_york))
    good = (event for event in lines("taxi") if event["passengers"] >= 1 and stamp.fullmatch(event["dropped_off"]))
    events = list(once(good, "trip_id"))
    for event in events:
        event["time"] = read(event["dropped_off"])
        event["minutes"] = (event["time"] - read(event["picked_up"])) / 1e6 / 60
        tip = event.get("tip")
        event["tip_share"] = None if tip is None else tip / event["fare"]
        event["paid"] = event["fare"] + (tip or 0)
        event["per_km"] = event["fare"] / event["km"] if event["km"] else None
    rows = []
    for start, window in tumbling(events, 60 * MINUTE).items():
        for group, of in by(window, "from_zone").items():
            column = lambda name: [event[name] for event in of]
            values = [len(of), total(column("paid")), sum(column("passengers")), mean(column("tip_share"))]
            values += [column("paid_by").count("card"), mean(column("minutes")), greatest(column("per_km"))]
            rows.append((start, group, values, len(of)))
    metrics = ["trips", "revenue", "passengers", "tip_share", "by_card", "minutes", "fare_per_km"]
    write("taxi", "earnings", ["from_zone", *metrics], rows)
    rows = []
    for start, window in hopping(events, 60 * MINUTE, 30 * MINUTE).items():
        groups = by(window, "from_zone", "to_zone").items()
        for group, of in sorted(groups, key=lambda item: (-len(item[1]), item[0]))[:3]:
            rows.append((start, group, [len(of), total(event["km"] for event in of)], len(of)))
    write("taxi", "busiest", ["from_zone", "to_zone", "trips", "km"], rows)
    rows = []
    for group, of in by(events, "taxi").items():
        for run in sessions(of, 20 * MINUTE):
            values = [len(run), total(event["fare"] for event in run), run[0]["from_zone"], run[-1]["to_zone"]]
            if len(run) >= 3:
                rows.append((run[0]["time"], group, values, len(run)))
    write("taxi", "shifts", ["taxi", "trips", "revenue", "first_zone", "last_zone"], rows)


def access_log():
    events = [event for event in lines("access_log") if "request" in event and event["request"]["method"] != "HEAD"]
    for event in events:
        event["time"] = int(Decimal(str(event["ts"])) * 1_000_000)
        event["class"] = str(event["status"])[0] + "xx"
        event["page"] = event["request"]["uri"].partition("?")[0]
        event["robot"] = "bot/" in event.get("headers", {}).get("user-agent", "").lower()
    rows = []
    for start, window in tumbling(events, MINUTE).items():
        for group, of in by(window, "class").items():
            seconds = [event["seconds"] for event in of]
            values = [len(of), sum(event["bytes"] for event in of), mean(seconds), quantile(seconds, "0.95")]
            values += [max(seconds), len({event["ip"] for event in of})]
            rows.append((start, group, values, len(of)))
    write("access_log", "by_minute", ["class", "requests", "bytes", "mean", "p95", "slowest", "clients"], rows)
    rows = []
    for start, window in hopping(events, 5 * MINUTE, MINUTE).items():
        table = []
        for group, of in by(window, "page").items():
            robots = sum(event["robot"] for event in of)
            table.append((len(of) - robots, group, robots, sum(event["bytes"] for event in of), len(of)))
        table = [row for row in table if not row[1][0].startswith("/static/")]
        for people, group, robots, size, count in sorted(table, key=lambda row: (-row[0], row[1]))[:2]:
            rows.append((start, group, [people, robots, size], count))
    write("access_log", "pages", ["page", "requests", "robots", "bytes"], rows)
    rows = []
    for group, of in by(events, "ip").items():
        for run in sessions(of, 45_000_000):
            values = [len(run), run[0]["page"], run[-1]["page"], len({event["page"] for event in run})]
            rows.append((run[0]["time"], group, values + [sum(event["status"] >= 500 for event in run)], len(run)))
    write("access_log", "visits", ["ip", "requests", "entered", "left", "pages", "failed"], rows)


def sensors():
    good = (event for event in lines("sensors") if not isinstance(event["temperature"], str))
    events = list(once(good, "message"))
    for event in events:
        event["time"] = event["at"] * 1000
        event["name"] = event["device"]["name"]
        read = event["temperature"]
        event["celsius"] = (read - 32) * 5 / 9 if read is not None and event["unit"] == "F" else read
        event["frost"] = "frost" in event["alarms"][:2]
    rows = []
    for start, window in hopping(events, 10 * MINUTE, 5 * MINUTE).items():
        for group, of in by(window, "name").items():
            celsius = [event["celsius"] for event in of]
            values = [len(of), mean(celsius), spread(celsius), least(celsius), greatest(celsius)]
            values += [quantile(celsius, "0.5"), sum(event["frost"] for event in of)]
            rows.append((start, group, values, len(of)))
    metrics = ["readings", "mean", "spread", "coldest", "warmest", "median", "frosts"]
    write("sensors", "climate", ["name", *metrics], rows)
    rows = []
    for start, window in tumbling(events, 5 * MINUTE).items():
        for group, of in by(window, "open").items():
            rows.append((start, group, [len(of), len({event["name"] for event in of})], len(of)))
    write("sensors", "doors", ["open", "readings", "devices"], rows)
    rows = []
    for group, of in by(events, "name").items():
        for run in sessions(of, 2 * MINUTE):
            values = [len(run), run[-1]["device"]["battery"], run[0]["unit"]]
            rows.append((run[0]["time"], group, values, len(run)))
    write("sensors", "uptime", ["name", "readings", "battery", "unit"], rows)


if __name__ == "__main__":
    taxi()
    access_log()
    sensors()
