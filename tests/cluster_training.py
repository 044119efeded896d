"""A training of a worker, small enough for a test."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from introspect.cluster.training import TrainWork
from introspect.training.courses import COURSES


class SmallTraining(TrainWork):
    """A training whose organism is measured on few items."""

    def do(self, index: int, told: Any) -> dict[str, Any]:
        COURSES["risk"] = replace(COURSES["risk"], measured={"id": 2, "ood": 2})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().do(index, told)
