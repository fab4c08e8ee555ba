"""Commands that are recipes of a few stages: built in memory, run like any other, and written out on request."""

from embedkit.oneshot.draft import Draft, in_options, write_recipe
from embedkit.oneshot.eval import eval_draft
from embedkit.oneshot.mine import mine_draft

__all__ = ["Draft", "eval_draft", "in_options", "mine_draft", "write_recipe"]
