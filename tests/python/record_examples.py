"""Records the examples of the API's document from a job that this program starts, and writes src/web/openapi/examples.yaml.

    CAUDAL_BIN=target/release/caudal tests/python/record_examples.py

Run it with the Python of scripts/setup.sh's `python_tools` when an answer has changed. Lists of objects are cut to their first two, and the host's name is not told.
"""

import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
INTO = ROOT / "src/web/openapi/examples.yaml"
PATIENCE_S = 60
ITEMS_MAX = 2

SCHEMA = """{"type": "object", "required": ["order_id", "at", "country", "amount"], "properties": {
  "order_id": {"type": "string", "format": "uuid"}, "at": {"type": "string", "format": "date-time"},
  "country": {"type": "string", "enum": ["CL", "PE", "UY"]}, "customer": {"type": "string", "maxLength": 20},
  "amount": {"type": "number", "minimum": 0}}}
"""
SHOP = """pipeline: shop
topics:
  order.placed: {schema: order.json}
id: order_id
correlation: customer
time: {field: at, out_of_order: 1s, idle_after: 1s}
windows:
  by_country:
    every: 10s
    group: [country]
    late: {allow: 1m}
    metrics: {n: count(), revenue: sum(amount)}
views:
  customers: {key: customer, latest: [order_id, amount], history: true}
alerts:
  big: {on: by_country, when: revenue > 1000}
webhooks:
  ops: {on: [big], url: "${OPS_URL}", retry: 1s}
audit: full
"""
COUNTS = """pipeline: counts
topics:
  order.placed: {}
windows:
  all:
    every: 1m
    metrics: {n: count()}
"""


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def order(number, at, **more):
    event = {"order_id": f"00000000-0000-4000-8000-{number:012}", "at": at, "country": "CL", "customer": "ana", "amount": 19.9}
    return {**event, **more}


def cut(value):
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [cut(item) for item in value[:ITEMS_MAX]]
    if isinstance(value, dict):
        return {name: "node-1" if name == "host" else cut(item) for name, item in value.items()}
    return value


class Recorder:
    def __init__(self, base):
        self.base, self.examples = base, {}

    def ask(self, method, path, body=None, **more):
        return requests.request(method, self.base + path, json=body, timeout=PATIENCE_S, **more)

    def record(self, operation, method, path, body=None, status=200):
        """Asks, and keeps the request and its answer."""
        answer = self.ask(method, path, body)
        assert answer.status_code == status, (operation, answer.status_code, answer.text)
        of = self.examples.setdefault(operation, {})
        if body is not None:
            of.setdefault("request", cut(body))
        of[str(status)] = cut(answer.json())
        return answer.json()

    def until(self, what, path, good):
        begun = time.monotonic()
        while True:
            answer = self.ask("GET", path)
            if answer.ok and good(answer.json()):
                return answer.json()
            assert time.monotonic() - begun < PATIENCE_S, (what, answer.text)
            time.sleep(0.05)

    def settled(self):
        self.until("all is committed", "/ledger", lambda ledger: ledger["in_flight"] == 0)


def calls(r):
    now = datetime.datetime.now(datetime.timezone.utc)
    at = lambda seconds: (now + datetime.timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    r.record("live", "GET", "/healthz")
    r.record("ready", "GET", "/readyz")
    r.record("listTopics", "GET", "/topics")
    r.record("sendEvents", "POST", "/topics/order.placed/events", order(1, at(-1)), 202)
    r.examples["sendEvents"].pop("request")
    r.record("sendEvents", "POST", "/topics/order.placed/events?ack=applied", [order(2, at(-1)), order(3, at(-1), amount=-1)])
    mixed = {"source": "order.placed", **order(4, at(-1), country="PE", amount=1200)}
    r.record("sendMixedEvents", "POST", "/events", mixed, 202)
    r.record("sendMixedEvents", "POST", "/events?ack=applied", {"source": "order.placed", **order(5, at(-1))})
    r.settled()
    r.record("readTopic", "GET", "/topics/order.placed/events?limit=2")
    r.record("newestEvents", "GET", "/events?limit=2")
    r.record("findEvent", "GET", "/events/" + order(1, 0)["order_id"])

    group = "/topics/order.placed/groups/mailers"
    polled = r.record("poll", "POST", group + "/poll", {"member": "mailer-1", "max": 2, "wait_ms": 1000})
    r.record("showGroup", "GET", group)
    r.record("commit", "POST", group + "/commit", {"member": "mailer-1", "offset": polled["last"]})
    r.record("listGroups", "GET", "/topics/order.placed/groups")
    r.record("forgetGroup", "DELETE", group)

    r.until("a window has closed", "/windows?closed=true", lambda rows: len(rows["windows"]) >= 2)
    rows = r.record("listRows", "GET", "/windows?pipeline=shop&window=by_country&limit=2")
    r.record("newestRows", "GET", "/data")
    row = rows["windows"][0]["metric_id"]
    r.record("showRow", "GET", f"/windows/{row}")
    r.record("eventsOfRow", "GET", f"/windows/{row}/events?limit=2")
    r.record("listViews", "GET", "/views")
    r.record("listEntries", "GET", "/views/customers")
    r.record("showEntry", "GET", "/views/customers/ana")
    r.record("showHistory", "GET", "/views/customers/ana/history?limit=2")
    r.record("listAlerts", "GET", "/alerts?pipeline=shop&active=true")

    r.ask("POST", "/topics/order.placed/events", [order(7, at(0), country="XX"), order(8, at(0), amount="x"), order(9, at(0), amount="y")])
    r.settled()
    letters = r.record("listDeadLetters", "GET", "/dead-letters?reason=schema&limit=2")["dead_letters"]
    offsets = [letter["offset"] for letter in r.ask("GET", "/dead-letters").json()["dead_letters"]]
    r.record("showDeadLetter", "GET", f"/dead-letters/{offsets[0]}")
    r.record("discardDeadLetter", "DELETE", f"/dead-letters/{offsets[0]}", status=202)
    r.record("discardDeadLetter", "DELETE", f"/dead-letters/{offsets[1]}?ack=applied")
    r.record("retryDeadLetter", "POST", f"/dead-letters/{offsets[2]}/retry", order(7, at(0)), 202)
    r.record("retryDeadLetter", "POST", f"/dead-letters/{offsets[3]}/retry?ack=applied", order(3, at(0), amount=1))
    r.ask("POST", "/topics/order.placed/events", [order(10, at(0), amount="x"), order(11, at(0), amount="y")])
    r.settled()
    r.record("retryDeadLetters", "POST", "/dead-letters/retry?reason=schema", status=202)
    r.settled()
    r.record("retryDeadLetters", "POST", "/dead-letters/retry?reason=schema&ack=applied")

    given_up = "/webhooks?state=given_up"
    r.until("a delivery is given up", given_up, lambda it: it["deliveries"])
    delivery = r.record("listDeliveries", "GET", given_up)["deliveries"][0]["delivery_id"]
    r.record("retryDelivery", "POST", f"/webhooks/{delivery}/retry")
    r.until("it is given up again", given_up, lambda it: it["deliveries"])
    r.record("discardDelivery", "DELETE", f"/webhooks/{delivery}")

    r.record("listPipelines", "GET", "/pipelines")
    r.record("showPipeline", "GET", "/pipelines/shop")
    r.record("checkPipeline", "POST", "/pipelines/check", {"file": COUNTS.replace("every: 1m", "every: 1x")})
    r.record("putPipeline", "PUT", "/pipelines/counts", {"file": COUNTS}, 201)
    r.settled()
    r.record("putPipeline", "PUT", "/pipelines/counts", {"file": COUNTS.replace("every: 1m", "every: 1m\n    emit: 5s")})
    r.settled()
    r.record("deletePipeline", "DELETE", "/pipelines/counts")
    r.settled()
    again = {"file": COUNTS.replace("counts", "past").replace("1m", "2m")}
    r.record("putPipeline", "PUT", "/pipelines/past?from=beginning", again, 202)
    r.record("deletePipeline", "DELETE", "/pipelines/past", status=202)

    r.record("ledger", "GET", "/ledger")
    r.record("cluster", "GET", "/cluster")
    r.record("startGenerator", "POST", "/generator", {"rate": 20, "duplicates": 0.05, "invalid": 0.01})
    r.until("it has sent some", "/generator", lambda it: it["sent"] > 0)
    r.record("showGenerator", "GET", "/generator")
    r.record("restartGenerator", "POST", "/generator/restart", {"rate": 50, "seed": 7})
    r.record("stopGenerator", "DELETE", "/generator")
    r.record("logOfGenerator", "GET", "/generator/log?limit=2")


def write(examples):
    lines = ["# By operation, what was sent and answered. Recorded from a running job by tests/python/record_examples.py."]
    for operation, of in sorted(examples.items()):
        lines.append(f"{operation}:")
        # JSON is YAML.
        lines += [f"  '{name}': {json.dumps(value, ensure_ascii=False)}" for name, value in sorted(of.items(), reverse=True)]
    INTO.write_text("\n".join(lines) + "\n")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "shop.yaml").write_text(SHOP)
        (folder / "order.json").write_text(SCHEMA)
        port = free_port()
        more = {"PIPELINES": str(folder / "shop.yaml"), "DATA_DIR": str(folder / "data"), "HTTP_PORT": str(port)}
        # Nobody listens there, so that deliveries fail.
        more["OPS_URL"] = f"http://127.0.0.1:{free_port()}/alerts"
        more["WEBHOOKS_PRIVATE"] = "allow"
        with open(folder / "output.txt", "w+") as output:
            job = subprocess.Popen(["bash", str(ROOT / "run_mpi.sh"), "-n", "2"], env={**os.environ, **more}, stdout=output, stderr=output, cwd=folder)
            try:
                r = Recorder(f"http://127.0.0.1:{port}")
                begun = time.monotonic()
                while True:
                    try:
                        if r.ask("GET", "/readyz").ok:
                            break
                    except requests.ConnectionError:
                        pass
                    assert time.monotonic() - begun < PATIENCE_S and job.poll() is None, (output.seek(0), output.read())
                    time.sleep(0.05)
                calls(r)
                write(r.examples)
            finally:
                job.send_signal(signal.SIGTERM)
                job.wait(PATIENCE_S)


main()
