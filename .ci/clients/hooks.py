"""What OpenAPI cannot say of parameters: `at` is not combined with `since` or `until`."""

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    query = set(case.query or {})
    return "at" not in query or not query & {"since", "until"}
