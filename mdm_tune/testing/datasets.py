"""The conformance suite of data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from mdm_tune.config.data import JsonlDatasetConfig
from mdm_tune.core.text import Codec, Symbols
from mdm_tune.core.types import Use
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.plugin_records import sources_of
from mdm_tune.datasets.readers import examples_of
from mdm_tune.testing.checks import require

__all__ = ["DatasetConformance"]


class DatasetConformance:
    """What a data set must do. Inherit it in a class of tests and override ``build`` and ``section``.

    Attributes:
        options: The keyword arguments of the function, as ``dataset.options``.
    """

    options: Mapping[str, Any] = {}

    def build(self) -> Callable[..., object]:
        """Return the function: what the entry point names."""
        raise NotImplementedError("override build: it returns the function of the data set")

    def section(self) -> Mapping[str, Any]:
        """Return the other keys of the section: tune, choose, report, and prompt, text or template."""
        raise NotImplementedError("override section: it returns tune, choose, report and prompt, for example")

    def codec(self) -> Codec:
        """Return the codec of a model, for data sets that need its chat template."""
        return Symbols("abcdefghijklmnopqrstuvwxyz ")

    def test_records_are_mappings(self) -> None:
        """From names of fields to values: a list of them, or one for each use."""
        sources_of(self._returned(), "the data set", "the data set")

    def test_equal_calls_give_equal_records(self) -> None:
        """Also after a caller has changed the records that it got."""
        first = self._records()
        expected = deepcopy(first)
        for records in first:
            for record in records:
                record.clear()
        require(self._records() == expected, "equal calls must give equal records, also after the first were changed")

    def test_the_options_are_not_changed(self) -> None:
        """They are the same after a call."""
        options = deepcopy(dict(self.options))
        self.build()(**options)
        require(options == dict(self.options), "a call must not change its options", options)

    def test_splits_share_no_example_and_no_group(self) -> None:
        """Each use has as many examples as the section says."""
        splits = self._splits(0)
        section = self.section()
        for use, examples in splits.items():
            wanted = section[use]
            require(wanted == "all" or len(examples) == wanted, f"{use} must have {wanted} examples", len(examples))
        contents = [{(example.pieces, example.record_json) for example in examples} for examples in splits.values()]
        groups = [{example.group for example in examples} - {""} for examples in splits.values()]
        for sets, what in ((contents, "example"), (groups, "group")):
            require(len(set().union(*sets)) == sum(map(len, sets)), f"the splits must share no {what}")

    def test_splits_are_reproducible(self) -> None:
        """Equal seeds give equal splits, with a name for each example that no other has."""
        first, again = self._splits(0), self._splits(0)
        require(first == again, "equal seeds must give equal splits")
        names = [example.id for examples in first.values() for example in examples]
        require(len(set(names)) == len(names), "the names of examples must not repeat")

    def _returned(self) -> object:
        return self.build()(**deepcopy(dict(self.options)))

    def _records(self) -> list[list[dict[str, Any]]]:
        returned: Any = self._returned()
        parts = returned.values() if isinstance(returned, Mapping) else [returned]
        return [list(part) for part in parts]

    def _splits(self, seed: int) -> dict[Use, tuple[Example, ...]]:
        given = {"type": "jsonl", "path": "records", **self.section()}
        sources = sources_of(self._returned(), "the data set", "the data set")
        return examples_of(JsonlDatasetConfig.model_validate(given), sources, self.codec(), seed)
