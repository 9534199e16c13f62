"""Everything that an error says, or would say if someone printed it."""

from __future__ import annotations

import traceback


def everything_said(error: BaseException) -> str:
    """Messages and arguments of the error, its causes and contexts (suppressed ones too), and its traceback."""
    said, seen, waiting = [], set(), [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        said += [str(each), repr(each), repr(each.args), *getattr(each, "__notes__", [])]
        said += traceback.format_exception(each)
        waiting += [linked for linked in (each.__cause__, each.__context__) if linked is not None]
    return "\n".join(said)
