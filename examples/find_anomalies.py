"""Learn from logs without labels, and print what is abnormal in them: kinds first, then the lines that show it.

python examples/find_anomalies.py app.log [more.log ...]
"""

from __future__ import annotations

import sys
from collections import Counter

from enhanced_deeplog import EnhancedDeepLog, read_records


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit(__doc__)
    records = read_records(*paths)
    model = EnhancedDeepLog().fit(records)
    findings = model.classify(records)

    # Lines and names of files are a stranger's: repr keeps escapes in them from doing anything to a terminal.
    for name, n_sessions in Counter(finding.class_name for finding in findings).most_common():
        print(f"{n_sessions:6,} sessions: {name!r}")
    for finding in sorted(findings, key=lambda one: -one.score)[:10]:
        print(f"\nSession {finding.session_key!r}, {finding.severity}: {finding.advice!r}")
        for line in finding.evidence:
            print(f"  {line.source!r}, line {line.line}: {line.text!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
