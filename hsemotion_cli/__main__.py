"""``python -m hsemotion_cli`` is ``hsemotion``."""

from .cli import main

main()
