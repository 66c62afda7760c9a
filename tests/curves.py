"""The schedules that every law of schedules is tested on."""

from __future__ import annotations

from mdm_tune.schedules import Beta, Counts, Linear, MaskgitCosine, Schedule, Sine, SquaredSine

PLAIN = [Linear(), Sine(), SquaredSine(), MaskgitCosine()]
COUNTS = [Counts((3, 5, 9, 15)), Counts((4, 7, 10)), Counts((0, 2, 0, 5, 0)), Counts((1, 2, 2, 3, 4, 5, 6, 9))]
BETAS = [Beta(0.9, 0.3), Beta(0.5, 0.5), Beta(1, 1), Beta(3.7, 0.2), Beta(0.05, 20), Beta(2, 2)]
ALL: list[Schedule] = [*PLAIN, *COUNTS, *BETAS]
