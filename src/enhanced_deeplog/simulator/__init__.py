"""An order service that writes logs and has faults of known kinds. It knows nothing of those who read them.

Read `messages` (what can be logged), `releases` (what a deploy changes in that), `requests` (a request being served),
`parts` (the parts of the service, and how each of them fails), `scenario` (what the requests do), `service` (the
traffic, and the log of it).
The parts also misbehave harmlessly (a retry, a slow query, an old answer, a wrong password), so that no level
and no single retry tells an abnormal request from a normal one.
"""

from __future__ import annotations

from enhanced_deeplog.simulator.releases import N_CHANGES
from enhanced_deeplog.simulator.scenario import FAULT_KINDS
from enhanced_deeplog.simulator.service import Simulation, simulate, write_simulation

__all__ = ["FAULT_KINDS", "N_CHANGES", "Simulation", "simulate", "write_simulation"]
