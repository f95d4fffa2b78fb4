"""What OpenAPI cannot say: `at` is not combined with `since` or `until`, a watch does not end in the past, and a time that is
reconciled begins before it ends."""

from datetime import datetime, timezone

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    query = set(case.query or {})
    if "at" in query and query & {"since", "until"}:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    until, since = body.get("until"), body.get("since")
    if isinstance(since, str):
        return not isinstance(until, str) and not is_future(since)
    return not isinstance(until, str) or is_future(until)


def is_future(text):
    try:
        return datetime.fromisoformat(text) > datetime.now(timezone.utc)
    except (TypeError, ValueError):
        # No time at all is a case of its own.
        return True
