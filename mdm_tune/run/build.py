"""Builds the objects of a run from its config: model, data set, metrics, evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, cast

from mdm_tune.benchmarks.benchmark import Benchmark, benchmark_metrics, load_benchmark
from mdm_tune.benchmarks.code_tasks import CodeTask
from mdm_tune.config.file import Config, LawDatasetConfig, TextDatasetConfig
from mdm_tune.config.plugins import METRICS
from mdm_tune.config.tasks import BenchmarkConfig
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.plugins import plugin_named
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.impossible import ImpossibleTokens
from mdm_tune.datasets.readers import read_examples
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import USES, Dataset, Use, law_dataset, text_dataset
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.loading import law_of, load_model, place_replicas
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import CodeFiller, PoolFiller
from mdm_tune.evaluation.own_answers import OwnAnswers
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.metrics import quality
from mdm_tune.metrics.answers import AnswerMetric, judges_by_model
from mdm_tune.metrics.reported import Mauve, text_metrics
from mdm_tune.run.folder import RunFolder
from mdm_tune.sampling.cluster import require_ray
from mdm_tune.sampling.devices import Devices, RayDevices, device_names
from mdm_tune.sampling.external import load_external
from mdm_tune.sampling.pieces import LocalPool
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.schedules.curves import Linear, parse_schedule

__all__ = ["Run", "build", "check_baselines", "open_run"]

LAW_TOKENS = 2**27  # most tokens that are drawn from a law: one GiB, and as much again for the hidden ones


@dataclass(frozen=True)
class Run:
    """The objects with which a command works.

    Attributes:
        config: The config.
        model: The loaded model.
        evaluator: Scores settings by the objective.
        reported: Metrics that are reported beside the objective, by name.
        code: Sixteen hex digits of the user's own sampler; None if mdm-tune samples.
        benchmark: The benchmark that the examples come from; None for other data.
        own: The model's own answers at one token per step; None if no metric needs them.
    """

    config: Config
    model: LoadedModel
    evaluator: Evaluator
    reported: Mapping[str, AnswerMetric | Mauve] = field(default_factory=dict)
    code: str | None = None
    benchmark: Benchmark | None = None
    own: OwnAnswers | None = None

    @property
    def dataset(self) -> Dataset | None:
        """The examples; None if the config has no data set."""
        return self.evaluator.dataset

    @property
    def priced_by_profile(self) -> bool:
        """Whether an information profile computes the objective.

        Trials, and finalists on the choose split, then need no denoiser calls except those of the profile.
        """
        return self.evaluator.metric.name == "nelbo"

    @property
    def own_cost(self) -> Cost:
        """The cost of the model's own answers so far."""
        own = self.own
        return Cost() if own is None else Cost(own.denoiser_rows, own.denoiser_tokens, own.seconds)

    def judged_by(self, own: OwnAnswers) -> Run:
        """The same run with these answers of the model, by which its metrics judge."""
        judges = judges_by_model(self.evaluator.metric)
        return replace(self, own=own, evaluator=replace(self.evaluator, own=own) if judges else self.evaluator)

    @property
    def programs(self) -> dict[str, dict[str, list[str]]]:
        """The protections that confine programs that the model wrote, for records; empty if none are run."""
        return {"generated_code": self.benchmark.protection.record} if isinstance(self.benchmark, CodeTask) else {}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Sixteen hex digits each for model, data, code, metric and task. Equal fingerprints promise equal numbers.

        The fingerprint of the user's own metric covers its file, not the modules that the file imports.
        """
        digits = {"model": self.model.fingerprint} | ({} if self.code is None else {"code": self.code})
        if (custom := self.config.metrics.custom) is not None:
            source = Path(custom.target.rpartition(":")[0]).read_bytes()
            digits["metric"] = short_digest(source, custom.target.rpartition(":")[2])
        for name in dict.fromkeys([self.config.objective.metric, *self.config.metrics.plugins]):
            if name not in METRICS and (plugin := plugin_named("metrics", name)) is not None:
                digits[f"metric {name}"] = plugin.fingerprint()
        digits |= {} if self.benchmark is None else {"task": self.benchmark.fingerprint}
        return digits if self.dataset is None else {**digits, "dataset": self.dataset.fingerprint}


@contextmanager
def open_run(
    config: Config,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Run]:
    """Build a run with one replica of the model per device. With a single device, the model runs in this process.

    Args:
        config: The config.
        devices: Names of the devices, or the replicas of a Ray cluster.
        allow: What the user allows.
        say: Receives a sentence if the command waits for room in a cluster.

    Yields:
        The run. Its replicas end with the block.

    Raises:
        InputError: If an exact law is to run on a GPU, if a user's own sampler is to run on several devices, and as
            ``build`` and ``Replicas``.
    """
    if config.sampler.target is not None:
        yield _with_own_sampler(config, config.sampler.target, devices, allow)
        return
    if isinstance(devices, RayDevices):
        replicated, free = None, None
    else:
        replicated, free = place_replicas(config.model, devices, allow)
    if replicated is not None and len(replicated) == 1:
        run = build(config, allow, replicated[0], free)
        _check_law(run, replicated)
        yield run
        return
    require_ray()  # a missing Ray is reported before the model is loaded
    run = build(config, allow)
    if replicated is not None:
        _check_law(run, replicated)
    make_denoiser = partial(_denoiser_on, config, run.evaluator.length, _closing(run.dataset), allow, free)
    on_cpus = law_of(run.model) is not None
    with Replicas(make_denoiser, devices if replicated is None else replicated, on_cpus=on_cpus, say=say) as replicas:
        filler = PoolFiller(replicas, shown_by=run.evaluator.denoiser)
        yield replace(run, evaluator=replace(run.evaluator, fill_with=filler))


def _check_law(run: Run, devices: Sequence[str]) -> None:
    """Raise InputError if the model is an exact law and a device is not the CPU."""
    if law_of(run.model) is not None and set(devices) != {"cpu"}:
        raise InputError(
            f"--devices: an exact law is computed on the CPU, got {', '.join(devices)} for model "
            f"{run.config.model.type}; give cpu or cpu:2"
        )


def _with_own_sampler(config: Config, target: str, devices: Devices, allow: Permissions) -> Run:
    """Build a run in which the user's own sampler fills the rows, in this process."""
    if isinstance(devices, RayDevices) or len(devices) > 1:
        raise InputError(
            "--devices: external code runs in this process and on one device, got "
            f"{', '.join(device_names(devices))}; give one"
        )
    run, options = build(config, allow, devices[0]), config.sampler.options
    denoiser = run.evaluator.denoiser
    code = load_external(target, denoiser, trust_code=allow.trust_code, options=options, device=devices[0])
    filler = CodeFiller(code, run.evaluator.pool)
    return replace(run, code=code.fingerprint, evaluator=replace(run.evaluator, fill_with=filler))


def _denoiser_on(
    config: Config, length: int, closing: int, allow: Permissions, free: Mapping[str, int] | None, device: str
) -> Denoiser:
    return _guided(load_model(config.model, device, allow, free).denoiser, config, length, closing)


def _guided(denoiser: Denoiser, config: Config, length: int, closing: int) -> Denoiser:
    """The denoiser with the guidance of the config, if there is one.

    Args:
        denoiser: The denoiser.
        config: The config.
        length: Positions to fill; guidance hides the positions before them.
        closing: Positions after them that close the text and stay visible.
    """
    return Guided(denoiser, config.sampler.guidance, length, closing) if config.sampler.guidance else denoiser


def build(
    config: Config,
    allow: Permissions = Permissions(),
    device: str = "cpu",
    free: Mapping[str, int] | None = None,
) -> Run:
    """Load the model and the data of a config.

    Args:
        config: The config.
        allow: What the user allows.
        device: Name of the model's device.
        free: As for ``load_model``.

    Raises:
        InputError: If a part cannot be loaded, or if the parts do not fit together.
    """
    model = load_model(config.model, device, allow, free)
    if model.clock is not None and (moment := RunFolder(config.output).read_moment()) is not None:
        model.clock.now = moment  # a resumed run keeps its prompts, which may hold the time
    benchmark = None
    if isinstance(config.dataset, BenchmarkConfig):
        benchmark = load_benchmark(config.dataset, model.codec, config.seed, allow)
    dataset = build_dataset(config, model, benchmark, allow)
    length = model.length if dataset is None else dataset.length
    lengths = _block_lengths(config.sampler.block_length, length)
    sampler = Sampler(config.sampler, model.codec.end_tokens)
    metric, reported = build_metrics(config, model, dataset, benchmark, allow, lengths)
    check_data(config, metric, dataset)
    denoiser = _guided(model.denoiser, config, length, _closing(dataset))
    evaluator = Evaluator(
        denoiser=denoiser,
        length=length,
        sampler=sampler,
        metric=metric,
        dataset=dataset,
        block_lengths=lengths,
        fill_with=PoolFiller(LocalPool(denoiser, device)),
    )
    run = Run(config=config, model=model, evaluator=evaluator, reported=reported, benchmark=benchmark)
    if dataset is None or not any(map(judges_by_model, (metric, *reported.values()))):
        return run
    return run.judged_by(OwnAnswers(evaluator.one_by_one, dataset.splits))


def _closing(dataset: Dataset | None) -> int:
    """The positions at the end of each row that close the text."""
    return 0 if dataset is None else dataset.closing


def _block_lengths(sizes: Sequence[int] | None, length: int) -> tuple[int, ...]:
    """The block lengths to compare; the whole length if the config gives none.

    Raises InputError if a block length does not divide the length.
    """
    for size in sizes or ():
        if length % size:
            divisors = ", ".join(str(i) for i in range(1, length + 1) if length % i == 0)
            raise InputError(
                f"sampler.block_length must divide the {length} tokens to fill, got {size}; choose one of {divisors}"
            )
    return tuple(sizes or (length,))


def build_dataset(
    config: Config, model: LoadedModel, benchmark: Benchmark | None, allow: Permissions
) -> Dataset | None:
    """Load the data set with its three splits.

    Args:
        config: The config.
        model: The loaded model.
        benchmark: The benchmark that the config names; None if it names none.
        allow: What the user allows; a plugin needs ``trust_code``.

    Returns:
        The data set; None if the config has none.

    Raises:
        InputError: If the data cannot be read, or if a law would have to draw too many tokens.
    """
    section = config.dataset
    if section is None:
        return None
    if isinstance(section, TextDatasetConfig | LawDatasetConfig):
        sizes: dict[Use, int] = {"tune": section.tune, "choose": section.choose, "report": section.report}
        if isinstance(section, TextDatasetConfig):
            assert isinstance(model.codec, Symbols)  # the config refuses this section with other models
            return text_dataset(bundled(section.path), model.codec.symbols, model.length, sizes, config.seed)
        law = law_of(model)
        assert law is not None
        if (tokens := sum(sizes.values()) * model.length) > LAW_TOKENS:
            raise InputError(
                f"dataset: tune, choose and report of law must have at most {LAW_TOKENS:,} tokens together, which are "
                f"drawn into memory, got {tokens:,} in rows of {model.length}; lower them"
            )
        return law_dataset(law, sizes, config.seed)
    notes, spare = list[str](), dict[Use, int]()
    if isinstance(section, BenchmarkConfig):
        assert benchmark is not None
        examples, stops = {use: benchmark.examples(use) for use in USES}, benchmark.until
        spare |= {"report": 0} if section.report == "all" else {}
    else:
        examples = read_examples(section, model.codec, config.seed, notes, spare, trust_code=allow.trust_code)
        stops = section.stop
    dataset = example_dataset(
        examples,
        model.codec,
        model.denoiser.mask_id,
        config.seed,
        generation_length=section.generation_length,
        longest=model.length,
        stops=stops,
    )
    splits = {use: replace(split, spare=spare.get(use)) for use, split in dataset.splits.items()}
    return replace(dataset, splits=splits, notes=tuple(notes))


def build_metrics(
    config: Config,
    model: LoadedModel,
    dataset: Dataset | None,
    benchmark: Benchmark | None,
    allow: Permissions,
    block_lengths: Sequence[int],
) -> tuple[quality.ExactMetric | quality.SampleMetric, Mapping[str, AnswerMetric | Mauve]]:
    """Build the objective and the metrics that are reported beside it.

    Args:
        config: The config.
        model: The loaded model.
        dataset: The data set; None if the config has none.
        benchmark: The benchmark; None for other data.
        allow: What the user allows; a user's own metric needs ``trust_code``.
        block_lengths: The block lengths that are compared.

    Returns:
        The objective; the reported metrics, by name.

    Raises:
        InputError: If a metric has no meaning for the model or the data.
    """
    name = config.objective.metric
    reported: dict[str, AnswerMetric | Mauve] = {}
    if dataset is not None:
        reported = text_metrics(config.metrics, name, dataset, allow.trust_code)
        reported |= {} if benchmark is None else benchmark_metrics(benchmark, dataset)
    if name in reported:
        objective = reported.pop(name)
        assert isinstance(objective, AnswerMetric)  # MAUVE is no objective: it has one value for all examples
        return objective, reported
    if name == "spelling":
        assert dataset is not None  # the config refuses a metric without the data set or the law that it needs
        return quality.Spelling(dataset), reported
    if name == "nelbo" or name == "path_nll":
        impossible, own = ImpossibleTokens(model.denoiser, model.codec), config.objective.answers == "model"
        for split in dataset.splits.values() if dataset is not None and not own else ():
            impossible.refuse(split, f"objective {name}")
        return quality.PathLikelihood(
            cast(Literal["nelbo", "path_nll"], name), config.sampler.order, why=impossible.describe, of_model=own
        ), reported
    law = law_of(model)
    assert law is not None
    if name == "order_kl":
        return quality.order_kl_metric(law, block_lengths), reported
    assert name in ("kl", "tv")
    return quality.divergence(
        law, cast(Literal["kl", "tv"], name), config.sampler.order, config.sampler.temperature
    ), reported


def check_data(config: Config, metric: quality.ExactMetric | quality.SampleMetric, dataset: Dataset | None) -> None:
    """Raise InputError if the data lack what the metric or the sampler needs."""
    if dataset is None:
        return
    if config.sampler.block_length is not None and not dataset.uniform:
        sizes = [int(size) for split in dataset.splits.values() for size in split.hidden.sum(1)]
        raise InputError(
            f"sampler.block_length: blocks need equally many tokens to fill in every example, got {min(sizes)} to "
            f"{max(sizes)}; set dataset.generation_length, or leave block_length out"
        )
    for split in dataset.splits.values():
        unknown = (split.hidden & (split.originals < 0)).any(1)
        priced = isinstance(metric, quality.PathLikelihood) and not metric.of_model
        if priced and bool(unknown.any()):
            lacking = split.named(int(unknown.nonzero()[0, 0]))
            raise InputError(
                f"objective {metric.name} prices the reference of every position, and {lacking} has none for "
                "some: give each an answer (dataset.answer) and, where answers are shorter than "
                "dataset.generation_length, the model end tokens (model.end_tokens)"
            )
        first = split.hidden.shape[1] - dataset.length - dataset.closing
        outside = split.hidden[:, : max(first, 0) if config.sampler.guidance else 0]
        if bool(outside.any()):
            raise InputError(
                "sampler.guidance: hides what stands before the positions to fill, which must be the last ones of each "
                f"example, and equally many; got others in the {split.use} split; leave guidance out"
            )


def check_baselines(run: Run, budgets: Sequence[int]) -> None:
    """Raise InputError if a baseline does not fit every budget, before any denoiser call."""
    for steps, size in product(budgets, run.evaluator.block_lengths):
        evaluator = run.evaluator.in_blocks(size)
        evaluator.setting(Linear(), steps)  # a budget that no curve fits is not reported as a wrong baseline
        for name in run.config.search.baselines:
            try:
                evaluator.setting(Linear() if name == OPTIMUM else parse_schedule(name), steps)
            except InputError as error:
                raise InputError(f"search.baselines: {error}") from None
