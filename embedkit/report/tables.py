"""Numbers as a reader sees them. Pure functions of values."""

import html
import math
from typing import Any

NOTHING = "–"
MINUS = "−"
_METRICS = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "precision": "Precision", "hit": "Hit rate"}
_NAMES = {"spearman": "Spearman", "pearson": "Pearson", "ap": "AP", "f1": "F1", "accuracy": "Accuracy"}
_WHOLE = {"v_measure": "V-measure", "main_score": "main score"}


def metric_name(metric: str) -> str:
    """`ndcg@10` as it is printed: nDCG@10; `cosine_spearman`: cosine Spearman."""
    stem, at, cut = metric.partition("@")
    if not at:
        return _WHOLE.get(stem) or " ".join(_NAMES.get(word, word) for word in stem.split("_"))
    return f"{_METRICS.get(stem, stem)}{at}{cut}"


def score(value: float | None, decimals: int = 3) -> str:
    """A score; four decimals where close ones decided something."""
    return NOTHING if value is None else f"{value:.{decimals}f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference with its sign, and as many decimals (three to five) as it takes not to read as zero."""
    for decimals in (3, 4, 5):
        text = f"{abs(value):.{decimals}f}"
        if float(text) or not value:
            break
    sign = "" if not float(text) else "+" if value > 0 else MINUS
    return f"{sign}{text}"


def number(value: Any) -> str:
    """A count with commas between thousands, another number with four digits, anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING if value is None else str(value)
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}".replace("-", MINUS)
    return f"{int(value):,}".replace("-", MINUS)


def seconds(value: float | None) -> str:
    """A duration: 0.4 s, 38 s, 4 min 05 s, 2 h 10 min."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(value: float | None) -> str:
    """Bytes in the unit that keeps them short: 812 MiB, 1.4 GiB."""
    if value is None:
        return NOTHING
    if not value:
        return "0 B"
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(value, 1024)), len(units) - 1)
    scaled = value / 1024**power
    return f"{scaled:.1f} {units[power]}" if power >= 3 else f"{scaled:.0f} {units[power]}"


def share(part: float, whole: float) -> str:
    """A share as a percentage."""
    return f"{100 * part / whole:.1f} %" if whole else NOTHING


def percent(value: float) -> str:
    """0.95 as 95 %."""
    return f"{100 * value:g} %"


def words(name: str) -> str:
    """A key of a stats file as words: `near_duplicates` is near duplicates."""
    return name.replace("_", " ")


def listed(names: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def line(text: object) -> str:
    """A text on one line of Markdown, markup in it shown as it is."""
    return html.escape(" ".join(str(text).split()), quote=False)


def cell(text: object) -> str:
    """A text in one cell of a Markdown table."""
    return line(text).replace("|", "\\|")
