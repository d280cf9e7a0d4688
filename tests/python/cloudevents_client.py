"""Sends CloudEvents with the Python SDK, in each of its HTTP modes, to the job at the address given; prints what each event must be in the log."""

import datetime
import json
import sys
import urllib.request

from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.v1.event import CloudEvent as CoreEvent
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent

base = sys.argv[1]
now = datetime.datetime.now(datetime.timezone.utc).isoformat()


def send(path, headers, body):
    body = body if isinstance(body, bytes) else body.encode()
    request = urllib.request.Request(base + path, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202, answer.status
        return json.load(answer)


def event(number, data, **more):
    attributes = {"id": f"python-{number}", "source": "/python/sdk", "type": "com.example.reading", "time": now, **more}
    return CloudEvent(attributes, data)


expected = []
cases = [
    (to_structured, {"value": 1.5, "text": "é €"}, {"datacontenttype": "application/json"}, None),
    (to_binary, {"value": 2.5, "text": "é €"}, {"datacontenttype": "application/json"}, None),
    (to_structured, b"\x00\x01\x02", {"datacontenttype": "application/octet-stream"}, "AAEC"),
    (to_binary, b"\x00\x01\x02", {"datacontenttype": "application/octet-stream"}, "AAEC"),
    (to_binary, {"value": 3}, {"datacontenttype": "application/json", "subject": "room 7", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, None),
]
for number, (convert, data, more, encoded) in enumerate(cases):
    sent = event(number, data, **more)
    headers, body = convert(sent)
    # The second path has each event name its topic by its type.
    send("/topics/com.example.reading/events" if number % 2 else "/events", headers, body)
    attributes = dict(sent.get_attributes())
    expected.append({**attributes, **({"data_base64": encoded} if encoded else {"data": data})})

# The SDK's newer interface encodes what is no ASCII in headers.
attributes = {"id": "python-core", "source": "/python/sdk", "type": "com.example.reading", "specversion": "1.0", "subject": "Euro € 100%", "datacontenttype": "application/json"}
message = to_binary_event(CoreEvent(attributes={**attributes, "time": datetime.datetime.now(datetime.timezone.utc)}, data={"value": 4}))
send("/events", message.headers, message.body)
expected.append({**attributes, "data": {"value": 4}})

print(json.dumps(expected))
