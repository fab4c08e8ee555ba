"""Which official tasks a word on the command line stands for."""

from collections.abc import Iterable

from embedkit.core.errors import DataError, did_you_mean
from embedkit.evaluation.registry import registry


def official_names(words: Iterable[str]) -> list[str]:
    """Names of tasks, each once, for names of tasks, of mteb's benchmarks and of suites, and files of suites.

    Of a benchmark, tasks that need more than text are left out; a task that is the mean of others stands for those.
    Of a suite, tasks on local data are left out. Raises `DataError` for a word that is none of these.
    """
    known = registry().tasks
    named = [name for word in words for name in _stands_for(word)]
    return list(
        dict.fromkeys(part for name in named for part in (known[name].parts if name in known else ()) or (name,))
    )


def _stands_for(word: str) -> list[str]:
    from embedkit.evaluation.suite import load_suite, shipped

    known, suites = registry(), shipped()
    if word in known.tasks:
        return [word]
    if word in known.benchmarks:
        return [chosen.name for chosen in known.text_tasks(word)]
    if word in suites or word.endswith((".yaml", ".yml")):
        if names := [task.name for task in load_suite(word).suite.official()]:
            return names
        raise DataError(f"{word}: this suite has no official tasks; there is nothing to mirror")
    hint = did_you_mean(word, [*known.tasks, *known.benchmarks, *suites])
    raise DataError(f"{word!r}: no task, benchmark or suite has this name, nor is it a suite's .yaml file{hint}")
