"""`python -m enhanced_deeplog.cli` is the same command."""

from enhanced_deeplog.cli import main

main()
