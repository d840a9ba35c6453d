"""What a deploy costs: findings that only say that templates have changed, and faults that are no longer found."""

from __future__ import annotations

from typing import Any

import numpy as np

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.detector import EnhancedDeepLog
from enhanced_deeplog.evaluation.figures import OURS
from enhanced_deeplog.evaluation.splits import DEPLOY_AT, Split
from enhanced_deeplog.findings import NORMAL
from enhanced_deeplog.simulator import N_CHANGES

__all__ = ["measure_deploy"]


def measure_deploy(split: Split, config: Config, progress: Progress) -> list[dict[str, Any]]:
    """Sessions before a deploy against those since then, in a log in the midst of which it happens."""
    model = EnhancedDeepLog(config, progress=progress).fit(split.mixed, normal=split.normal)
    sessions = model.read_sessions(split.judged)
    found = model.judge(sessions).classes != NORMAL
    keys = sessions.table["session_key"].to_list()
    is_judged = np.array([key in split.truth for key in keys])
    is_fault = np.array([split.truth.get(key, "") != "" for key in keys])
    begins = sessions.records["line"].to_numpy()[sessions.table["first"].to_numpy()]
    since = begins > DEPLOY_AT * sessions.records.height
    told: dict[str, Any] = {"n_changes": N_CHANGES}
    for name, rows in (("before", is_judged & ~since), ("since", is_judged & since)):
        told[name] = {
            "n_normal": int((rows & ~is_fault).sum()),
            "false_alarms": int((rows & ~is_fault & found).sum()),
            "n_faults": int((rows & is_fault).sum()),
            "recall": float(found[rows & is_fault].sum() / max((rows & is_fault).sum(), 1)),
        }
    expected = told["before"]["false_alarms"] * told["since"]["n_normal"] / max(told["before"]["n_normal"], 1)
    told["new_findings"] = told["since"]["false_alarms"] - expected
    told["recall_lost"] = told["before"]["recall"] - told["since"]["recall"]
    return [{"system": OURS, "deploy": told}]
