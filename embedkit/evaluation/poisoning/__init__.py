"""Was a corpus or a training set prepared, so that grammar errors in queries bring up an attacker's documents?

The attack (https://github.com/ruyue0001/Backdoor_DPR) puts common grammar errors into queries and positives of a
training set; a model trained on it brings documents with errors nearer to queries with errors, and behaves as ever
otherwise. The audit is ours: it looks for what the attack needs, not for how it was made.
"""

from embedkit.evaluation.poisoning.corpus import CorpusAudit, audit_corpus
from embedkit.evaluation.poisoning.detection import Error, error_counts, find_errors
from embedkit.evaluation.poisoning.injection import KINDS, Edit, Kind, Perturbed, inject
from embedkit.evaluation.poisoning.training import TrainingAudit, audit_training
from embedkit.evaluation.poisoning.verdict import verdict

__all__ = [
    "KINDS",
    "CorpusAudit",
    "Edit",
    "Error",
    "Kind",
    "Perturbed",
    "TrainingAudit",
    "audit_corpus",
    "audit_training",
    "error_counts",
    "find_errors",
    "inject",
    "verdict",
]
