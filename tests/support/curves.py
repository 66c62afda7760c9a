"""The schedules that every law of schedules is tested on."""

from __future__ import annotations

from mdm_tune.schedules.curves import Alphas, Beta, Counts, Linear, MaskgitCosine, Schedule, Shift, Sine, SquaredSine

PLAIN = [Linear(), Sine(), SquaredSine(), MaskgitCosine()]
COUNTS = [Counts((3, 5, 9, 15)), Counts((4, 7, 10)), Counts((0, 2, 0, 5, 0)), Counts((1, 2, 2, 3, 4, 5, 6, 9))]
ALPHAS = [Alphas((0.0, 0.25, 0.25, 0.625, 1.0)), Alphas((0, 0.1, 0.37, 1)), Alphas((0, 1e-9, 1 / 3, 0.999999, 1))]
BETAS = [Beta(0.9, 0.3), Beta(0.5, 0.5), Beta(1, 1), Beta(3.7, 0.2), Beta(0.05, 20), Beta(2, 2)]
SHIFTS = [Shift(0.1), Shift(1.0), Shift(3.0), Shift(1e-6), Shift(700)]
ALL: list[Schedule] = [*PLAIN, *SHIFTS, *COUNTS, *ALPHAS, *BETAS]
