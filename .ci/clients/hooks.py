"""What OpenAPI cannot say: `at` is not combined with `since` or `until`, and a watch does not end in the past."""

from datetime import datetime, timezone

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    query = set(case.query or {})
    if "at" in query and query & {"since", "until"}:
        return False
    until = case.body.get("until") if isinstance(case.body, dict) else None
    return not isinstance(until, str) or is_future(until)


def is_future(text):
    try:
        return datetime.fromisoformat(text) > datetime.now(timezone.utc)
    except (TypeError, ValueError):
        # No time at all is a case of its own.
        return True
