"""Judge a log record by record, as a service would that gets them one after the other.

enhanced-deeplog fit old.log --bundle app.bundle
python examples/judge_as_it_comes.py app.bundle new.log

Findings are printed as JSON lines as soon as a session is found abnormal; a later line about the same id holds. What
people have said about kinds (`enhanced-deeplog classes`) is taken into account: what they expect isn't printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from enhanced_deeplog import Finding, StreamingClassifier, load_bundle, read_records
from enhanced_deeplog.knowledge import Knowledge, knowledge_path
from enhanced_deeplog.output import finding_line


def main(paths: list[str]) -> None:
    if len(paths) < 2:
        sys.exit(__doc__)
    bundle = Path(paths[0])
    model = load_bundle(bundle)
    stream = StreamingClassifier(model)
    as_people_see = Knowledge.read(knowledge_path(bundle)).viewer(model.classes)
    told: set[str] = set()

    def tell(findings: Iterable[Finding]) -> None:
        for finding in map(as_people_see, findings):
            if not finding.expected or finding.id in told:  # what was told is taken back, too
                told.add(finding.id)
                print(finding_line(finding))

    # As the bundle was learnt: a session key may be a secret, which later is no longer in the lines.
    for batch in read_records(*paths[1:], session_key=model.session_rules.key, batch_size=512):
        tell(stream.process_many(batch).findings)
    tell(stream.finish().findings)


if __name__ == "__main__":
    main(sys.argv[1:])
