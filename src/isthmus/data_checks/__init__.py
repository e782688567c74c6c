"""What data are, what would be chosen for them and why, and what is wrong with them: before anything is trained."""

from __future__ import annotations

from isthmus.data_checks.report import Report, check
from isthmus.finding import Finding

__all__ = ["Finding", "Report", "check"]
