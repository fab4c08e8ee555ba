"""What a mined set looks like, and how many false negatives it probably holds. Reads files only, some rows at a time.

from embedkit.mining.audit import audit
found = audit(Path("runs/quickstart/mined"))
"""

from embedkit.mining.audit.describe import audit, describe, mining_rules
from embedkit.mining.audit.hidden import Rules
from embedkit.mining.audit.judged import write_sample
from embedkit.mining.audit.overlap import Held
from embedkit.mining.audit.tally import histograms

__all__ = ["Held", "Rules", "audit", "describe", "histograms", "mining_rules", "write_sample"]
