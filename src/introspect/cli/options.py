"""Options that mean the same to every verb that has them."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def _ask_no_hub(offline: bool) -> bool:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return offline


Offline = Annotated[
    bool,
    typer.Option("--offline", callback=_ask_no_hub, help="Ask no model hub: use what is on this machine."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
