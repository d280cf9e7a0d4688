"""What schemathesis is told that the document does not say, so that a test takes seconds and not hours."""

import schemathesis

# A poll may wait a minute, and a generator send 200,000 events a second: both are fine, and neither is to be tried a hundred times.
WAIT_MS_MAX = 20
RATE_MAX = 200


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def lines(ctx, value):
    """Lines are sent as the text that they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", errors="replace")


@schemathesis.hook
def map_body(ctx, body):
    """Keeps waits short and rates low; whatever is wrong with a body stays so."""
    if isinstance(body, dict):
        for name, most in (("wait_ms", WAIT_MS_MAX), ("rate", RATE_MAX)):
            number = body.get(name)
            if isinstance(number, (int, float)) and not isinstance(number, bool) and most < number <= 200_000:
                body[name] = most
    return body
