"""What a training is to run on."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_s2s.training.cluster import read_cluster
from keras_s2s.utils.errors import InputError

STRATEGIES = ("none", "mirrored", "multiworker")
PATIENCE = 600.0


class DistributionConfig(NamedTuple):
    """What a training runs on; a matter of the machine, which may be another when it goes on.

    Attributes:
        strategy: `none` for one device; `mirrored` for all GPUs of the machine; `multiworker` for
            the processes that `TF_CONFIG` names, one on each machine.
        devices: with `mirrored`, how many; without a GPU the processor counts as so many.
        wait: with `multiworker`, seconds to wait for the other workers at the beginning.
    """

    strategy: str = "none"
    devices: int | None = None
    wait: float = PATIENCE

    def check(self) -> None:
        """Makes sure that the values make sense.

        Raises:
            InputError: one does not.
        """
        if self.strategy not in STRATEGIES:
            raise InputError(f"strategy is {self.strategy!r}; give one of {', '.join(STRATEGIES)}")
        if self.devices is not None and self.strategy != "mirrored":
            raise InputError("devices needs strategy mirrored; give that too, or leave it out")
        if self.devices is not None and self.devices < 1:
            raise InputError(f"devices is {self.devices}; give 1 or more")
        if not self.wait > 0:
            raise InputError(f"wait is {self.wait}; give a number of seconds above 0")

    def is_chief(self) -> bool:
        """Whether this process is the one that writes the run directory."""
        return self.strategy != "multiworker" or read_cluster(os.environ).is_chief

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "DistributionConfig":
        """What a run has run on so far, from its `run.json`."""
        known = record.get("devices")
        if not isinstance(known, dict):  # an older version wrote it
            return cls()
        return cls(**{name: known[name] for name in cls._fields if name in known})
