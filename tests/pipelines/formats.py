#!/usr/bin/env python3
"""The events of the pipelines beside this file in other formats: `python3 tests/pipelines/formats.py` writes FOLDER/events.csv and FOLDER/events.parquet
anew from FOLDER/events.ndjson. It needs pyarrow. Lines that are no JSON have no other form and are left out, and of Parquet also events whose fields have
other types than the columns."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent

STRING, LONG, DOUBLE = pa.string(), pa.int64(), pa.float64()
TABLES = {
    "taxi": pa.schema(
        [
            ("trip_id", STRING),
            ("taxi", pa.dictionary(pa.int32(), STRING)),
            ("picked_up", STRING),
            ("dropped_off", STRING),
            ("from_zone", pa.int16()),
            ("to_zone", pa.uint32()),
            ("passengers", pa.int8()),
            ("km", DOUBLE),
            ("fare", DOUBLE),
            ("tip", DOUBLE),
            ("paid_by", STRING),
        ]
    ),
    "access_log": pa.schema(
        [
            ("ts", DOUBLE),
            ("ip", pa.large_string()),
            ("request", pa.struct([("method", STRING), ("uri", STRING)])),
            ("status", LONG),
            ("bytes", pa.uint64()),
            ("seconds", DOUBLE),
            ("headers", pa.struct([("user-agent", STRING)])),
        ]
    ),
    "sensors": pa.schema(
        [
            ("message", STRING),
            ("device", pa.struct([("name", STRING), ("battery", DOUBLE)])),
            ("at", pa.timestamp("ms", tz="UTC")),
            ("unit", STRING),
            ("temperature", DOUBLE),
            ("open", pa.bool_()),
            ("alarms", pa.list_(STRING)),
        ]
    ),
}
# Several row groups, some of them ending where a round may.
GROUP_ROWS = 40


def events(folder):
    for line in (HERE / folder / "events.ndjson").read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            pass


def flat(event, prefix=""):
    for name, value in event.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def cell(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def write_csv(folder):
    records = [dict(flat(event)) for event in events(folder)]
    names = list(dict.fromkeys(name for record in records for name in record))
    with open(HERE / folder / "events.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows([cell(record.get(name)) for name in names] for record in records)


def write_parquet(folder, schema):
    batches = []
    for event in events(folder):
        try:
            batches.append(pa.RecordBatch.from_pylist([event], schema=schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            print(f"{folder}: no row: {event}")
    table = pa.Table.from_batches(batches, schema=schema).unify_dictionaries()
    pq.write_table(table, HERE / folder / "events.parquet", row_group_size=GROUP_ROWS)


if __name__ == "__main__":
    for folder, schema in TABLES.items():
        write_csv(folder)
        write_parquet(folder, schema)
