"""What the command `calibrate` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from embedkit.evaluation.separation import told


def print_calibration(found: Sequence[Mapping[str, Any]]) -> None:
    """A table of all models and tasks, then each in words."""
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    if len(found) > 1:
        console.print(_table(found))
    for one in found:
        if len(found) > 1:
            console.print()
        pairs = one["pairs"]
        counts = f"{pairs['queries']:,} queries, {pairs['positives']:,} relevant and {pairs['negatives']:,} other pairs"
        console.print(f"{one['model']} on {one['task']}: {counts}", markup=False, soft_wrap=True)
        for line in told(one):
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("AUC of all", "95 %", "of each query", "ECE, first 10", "Brier skill", "best F1")
    table = Table("model", "task", *(Column(name, justify="right") for name in columns), box=None, pad_edge=False)
    for one in found:
        pooled, calibration = one["auc"]["pooled"], one["calibration"]
        table.add_row(
            escape(one["model"]),
            escape(one["task"]),
            f"{pooled['value']:.4f}",
            f"{pooled['low']:.4f}–{pooled['high']:.4f}",
            f"{one['auc']['per_query']['value']:.4f}",
            f"{calibration['ece']['first']['value']:.4f}" if calibration else "-",
            f"{calibration['brier']['skill']:.1%}" if calibration else "-",
            f"{one['thresholds']['f1']['f1']:.3f}",
        )
    return table
