"""Why trials end, in a sentence and back, and what a comparison shows."""

from __future__ import annotations

import pytest

from mdm_tune.search.gains import Gain, outcome_of
from mdm_tune.search.outcomes import Ended, Ending, Outcome

SENTENCES = {
    Ending.NOTHING_TO_TUNE: "nothing to tune: all schedules of the box have the same counts",
    Ending.EXHAUSTED: "every count vector that a scan of the box finds was scored",
    Ending.ALL_EQUAL: "every example scores 0.25 with all 5 schedules that were tried; look at a; and at b",
    Ending.SETTLED: "what more trials could gain is less than the noise",
    Ending.TIME: "the time for trials is used up",
    Ending.ROWS: "the 12,345 denoiser rows for trials are used up",
    Ending.BY_BLOCKS: "trials in blocks of 32: the time for trials is used up; trials in blocks of 64: nothing to "
    "tune: all schedules of the box have the same counts",
    Ending.BY_KIND: "trials of counts: the time for trials is used up; trials of quota in blocks of 64: what more "
    "trials could gain is less than the noise",
}


@pytest.mark.parametrize("ending", Ending)
def test_a_sentence_says_which_ending_it_is(ending: Ending) -> None:
    found = Ended.from_json(SENTENCES[ending])
    assert found.ending is ending and found.to_json() == SENTENCES[ending]
    assert ending.early == (ending is not Ending.NOTHING_TO_TUNE)


def test_numbers_are_put_into_the_sentence() -> None:
    assert Ended.of(Ending.ROWS, rows=12345).text == SENTENCES[Ending.ROWS]
    assert (
        Ended.of(Ending.ALL_EQUAL, value=0.25, schedules=5, remedy="look at a; and at b").text
        == (SENTENCES[Ending.ALL_EQUAL])
    )


@pytest.mark.parametrize("text", ["", "time", "the time for trials is used up.", None, 3])
def test_another_sentence_is_no_ending(text: object) -> None:
    with pytest.raises(ValueError, match="is no reason for the end of trials"):
        Ended.from_json(text)


def gain(
    ci: tuple[float, float] | None, familywise: tuple[float, float] | None, *, shown: bool, differing: int | None = 60
) -> Gain:
    return Gain(value=0.03, ci=ci, familywise=familywise, differing=differing, shown=shown, fewest=32)


ABOVE, AROUND = (0.01, 0.05), (-0.01, 0.07)
SHOWN = gain(ABOVE, ABOVE, shown=True)


@pytest.mark.parametrize(
    ("found", "lost", "blocked", "outcome"),
    [
        (SHOWN, False, False, Outcome.BETTER),
        (SHOWN, False, True, Outcome.LESS_DIVERSE),
        (gain(AROUND, AROUND, shown=False), True, False, Outcome.WORSE),
        (gain(ABOVE, AROUND, shown=False), False, False, Outcome.UNCORRECTED),
        (gain(ABOVE, ABOVE, shown=False), False, True, Outcome.TOO_FEW_DIFFER),
        (gain(AROUND, AROUND, shown=False), False, True, Outcome.NO_GAIN),
        (gain((0.0, 0.0), (0.0, 0.0), shown=False), False, False, Outcome.NO_GAIN),
        (gain(None, None, shown=False), False, False, Outcome.UNTESTED),
        (gain(None, None, shown=False), True, False, Outcome.UNTESTED),
        (gain(None, None, shown=True, differing=None), False, False, Outcome.BETTER),
        (gain(None, None, shown=False, differing=None), False, False, Outcome.NO_GAIN),
        (gain(None, None, shown=False, differing=None), True, False, Outcome.WORSE),
    ],
)
def test_the_outcome_follows_from_intervals_diversity_and_a_loss(
    found: Gain, lost: bool, blocked: bool, outcome: Outcome
) -> None:
    """Values without intervals are exact where no example is counted, and untested otherwise."""
    assert outcome_of(found, lost=lost, blocked=blocked) is outcome
