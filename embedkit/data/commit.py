"""What pins something on a hub: a full commit, never a branch or a tag."""

import re
from typing import Annotated

from pydantic import AfterValidator


def check_commit(revision: str | None) -> str:
    """`revision`, if it is a full commit; else a `ValueError`: a branch or tag may mean something else tomorrow."""
    if revision is None or not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError(f"revision is {revision!r}; expected a commit of 40 hex digits: a branch or a tag may move")
    return revision


Commit = Annotated[str, AfterValidator(check_commit)]
