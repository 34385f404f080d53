"""Data -> a config: what the studies of a manifest are like, and the training run that fits them and this machine.

`look_at` reads a fingerprint, `make_plan` decides from it by fixed rules, and every value of the plan says why it is
what it is. The rules are those of nnU-Net where it has one (Isensee et al. 2021, "nnU-Net", Nature Methods 18).
"""

from medfuse.planning.device import Device, this_device
from medfuse.planning.fingerprint import Fingerprint
from medfuse.planning.look import look_at
from medfuse.planning.plan import Budget, Plan, make_plan

__all__ = ["Budget", "Device", "Fingerprint", "Plan", "look_at", "make_plan", "this_device"]
