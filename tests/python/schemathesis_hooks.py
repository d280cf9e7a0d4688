"""What schemathesis is told that the document does not say, so that a test takes seconds and not hours."""

import itertools

import schemathesis

# A poll may wait a minute, and a generator send 200,000 events a second: both are fine, and neither is to be tried a hundred times.
WAIT_MS_MAX = 20
RATE_MAX = 200
KEY_CHARACTERS_MAX = 255
keys = itertools.count()


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def lines(ctx, value):
    """Lines are sent as the text that they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", errors="replace")


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Each request is another one, with a key of its own; and bodies are sent as they are, whatever encoding was drawn for them."""
    # Where a header is left out on purpose, the others stay as they are: it would be put back with them.
    if getattr(case.meta and case.meta.phase.data, "parameter", None) == "Authorization":
        return
    headers = case.headers
    for name in list(headers or {}):
        value = headers[name]
        if name.lower() == "idempotency-key" and isinstance(value, str) and 0 < len(value) <= KEY_CHARACTERS_MAX:
            headers[name] = f"key-{next(keys)}"
        elif name.lower() == "content-encoding" and value in ("gzip", "zstd"):
            del headers[name]


@schemathesis.hook
def map_body(ctx, body):
    """Keeps waits short and rates low; whatever is wrong with a body stays so."""
    if isinstance(body, dict):
        for name, most in (("wait_ms", WAIT_MS_MAX), ("rate", RATE_MAX)):
            number = body.get(name)
            if isinstance(number, (int, float)) and not isinstance(number, bool) and most < number <= 200_000:
                body[name] = most
    return body
