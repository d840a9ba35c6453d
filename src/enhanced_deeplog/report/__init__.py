"""Pages that open from disk: the parts of which they are made, and the report on findings."""
