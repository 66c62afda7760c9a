"""From a config to live objects: model, data set, metric, evaluator, schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mdm_tune import metrics
from mdm_tune.benchmarks import Benchmark, benchmark_metrics, load_benchmark
from mdm_tune.config import Config, LawDatasetConfig, TextDatasetConfig
from mdm_tune.config_rules import OPTIMUM
from mdm_tune.config_tasks import BenchmarkConfig
from mdm_tune.datasets import USES, Dataset, Use, bundled, example_dataset, law_dataset, text_dataset
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.loaded import Loaded
from mdm_tune.drawing import Drawing
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Evaluator
from mdm_tune.external import load_external
from mdm_tune.models import law_of, load_model, placed
from mdm_tune.permissions import Permissions
from mdm_tune.proposals import SearchSettings
from mdm_tune.readers import read_examples
from mdm_tune.replicas import Replicas
from mdm_tune.reported import Mauve, text_metrics
from mdm_tune.results import load_schedule
from mdm_tune.schedules import Counts, Linear, Schedule, parse_schedule
from mdm_tune.settings import Sampler, Setting
from mdm_tune.text import Symbols
from mdm_tune.text_metrics import AnswerMetric

__all__ = ["Run", "build", "check_baselines", "is_file", "opened", "own_steps", "settings_of"]


@dataclass(frozen=True)
class Run:
    """Everything a command works with.

    reported: metrics that are shown beside the objective, by name. code: sixteen hex digits of the user's own generate
    code, where it fills the rows. benchmark: where the examples are those of one.
    """

    config: Config
    model: Loaded
    evaluator: Evaluator
    search: SearchSettings
    reported: Mapping[str, AnswerMetric | Mauve] = field(default_factory=dict)
    replicas: Replicas | None = None
    code: str | None = None
    benchmark: Benchmark | None = None

    @property
    def dataset(self) -> Dataset | None:
        return self.evaluator.dataset

    @property
    def fingerprints(self) -> dict[str, str]:
        """Sixteen hex digits each for model, data, code and task; equal means the same numbers can be expected."""
        found = {"model": self.model.fingerprint} | ({} if self.code is None else {"code": self.code})
        found |= {} if self.benchmark is None else {"task": self.benchmark.fingerprint}
        return found if self.dataset is None else {**found, "dataset": self.dataset.fingerprint}


@contextmanager
def opened(config: Config, devices: Sequence[str] = ("cpu",), allow: Permissions = Permissions()) -> Iterator[Run]:
    """A run whose rows are shared by one process per device; in this process alone where there is only the CPU.

    Raises InputError as ``build`` does, and for an exact law on a GPU.
    """
    if config.sampler.target is not None:
        yield _with_own_code(config, config.sampler.target, devices, allow)
        return
    replicated, free = placed(config.model, devices, allow)
    run = build(config, allow)
    if tuple(devices) == ("cpu",):
        yield run
        return
    if law_of(run.model) is not None and set(devices) != {"cpu"}:
        raise InputError(
            f"--devices: an exact law is computed on the CPU, got {', '.join(devices)} for model {config.model.type}; "
            "give cpu or cpu:2"
        )
    with Replicas(partial(_denoiser_on, config, run.evaluator.length, allow, free), replicated) as replicas:
        run.evaluator.unmask, run.evaluator.copies = replicas.unmask, len(replicated)
        yield replace(run, replicas=replicas)


def _with_own_code(config: Config, target: str, devices: Sequence[str], allow: Permissions) -> Run:
    """A run whose rows are filled by the user's own generate code, in this process."""
    if len(devices) > 1:
        raise InputError(
            f"--devices: external code runs in this process and on one device, got {', '.join(devices)}; give one, or "
            "start more workers with --workers"
        )
    run, options = build(config, allow, devices[0]), config.sampler.options
    denoiser = run.evaluator.denoiser
    code = load_external(target, denoiser, trust_code=allow.trust_code, options=options, device=devices[0])
    run.evaluator.unmask = code.unmask
    return replace(run, code=code.fingerprint)


def _denoiser_on(
    config: Config, length: int, allow: Permissions, free: Mapping[str, int] | None, device: str
) -> Denoiser:
    return _guided(load_model(config.model, device, allow, free).denoiser, config, length)


def _guided(denoiser: Denoiser, config: Config, length: int) -> Denoiser:
    """The denoiser under the config's guidance, which hides all but the last ``length`` positions of a row."""
    return Guided(denoiser, config.sampler.guidance, length) if config.sampler.guidance else denoiser


def build(config: Config, allow: Permissions = Permissions(), device: str = "cpu") -> Run:
    """Load the model, onto a device, and the data; raises InputError for whatever cannot be loaded or combined."""
    model = load_model(config.model, device, allow)
    benchmark = None
    if isinstance(config.dataset, BenchmarkConfig):
        benchmark = load_benchmark(config.dataset, model.codec, config.seed, allow)
    dataset = build_dataset(config, model, benchmark)
    length = model.length if dataset is None else dataset.length
    chosen = config.sampler
    sampler = Sampler(
        Drawing(end_tokens=model.codec.end_tokens, **chosen.drawing),
        chosen.reveal == "bernoulli",
        chosen.counts,
        chosen.batch,
        _block_length(chosen.block_length, length),
    )
    metric, reported = build_metrics(config, model, dataset, benchmark, allow)
    check_data(config, metric, dataset)
    evaluator = Evaluator(_guided(model.denoiser, config, length), length, sampler, metric, dataset)
    search = SearchSettings(
        config.search.strategy,
        config.search.trials,
        config.search.space.a,
        config.search.space.b,
        config.search.finalists,
        config.search.baselines,
        config.seed,
        config.search.racing,
        config.search.together,
        config.search.auto_stop,
        config.search.rows,
        config.search.diversity_loss,
        config.search.margin,
        config.search.timeout,
    )
    return Run(config, model, evaluator, search, reported, benchmark=benchmark)


def _block_length(size: int | None, length: int) -> int | None:
    """None for one block; raises InputError where blocks do not divide the length."""
    if size is not None and length % size:
        divisors = ", ".join(str(i) for i in range(1, length + 1) if length % i == 0)
        raise InputError(
            f"sampler.block_length must divide the {length} tokens of the model, got {size}; choose one of {divisors}"
        )
    return None if size == length else size


def build_dataset(config: Config, model: Loaded, benchmark: Benchmark | None) -> Dataset | None:
    """The three splits, or None where the config has no data set; benchmark: the one that the config names."""
    chosen = config.dataset
    if chosen is None:
        return None
    if isinstance(chosen, TextDatasetConfig | LawDatasetConfig):
        sizes: dict[Use, int] = {"tune": chosen.tune, "choose": chosen.choose, "report": chosen.report}
        if isinstance(chosen, TextDatasetConfig):
            assert isinstance(model.codec, Symbols)  # a config is refused where they do not go together
            return text_dataset(bundled(chosen.path), model.codec.symbols, model.length, sizes, config.seed)
        law = law_of(model)
        assert law is not None
        return law_dataset(law, sizes, config.seed)
    if isinstance(chosen, BenchmarkConfig):
        assert benchmark is not None
        examples, stops = {use: benchmark.examples(use) for use in USES}, benchmark.until
    else:
        examples, stops = read_examples(chosen, model.codec, config.seed), chosen.stop
    return example_dataset(
        examples,
        model.codec,
        model.denoiser.mask_id,
        config.seed,
        generation_length=chosen.generation_length,
        longest=model.length,
        stops=stops,
    )


def build_metrics(
    config: Config, model: Loaded, dataset: Dataset | None, benchmark: Benchmark | None, allow: Permissions
) -> tuple[metrics.ExactMetric | metrics.SampleMetric, Mapping[str, AnswerMetric | Mauve]]:
    """The objective, and what is reported beside it; raises InputError where one has no meaning for model or data."""
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
        assert dataset is not None  # a config is refused where its metric lacks the data or the law that it needs
        return metrics.Spelling(dataset), reported
    if name == "nelbo" or name == "path_nll":
        return metrics.PathLikelihood(name, config.sampler.order), reported
    law = law_of(model)
    assert law is not None
    if name == "order_kl":
        return metrics.order_kl(law, config.sampler.block_length), reported
    assert name in ("kl", "tv")
    return metrics.divergence(law, name, config.sampler.order, config.sampler.temperature), reported


def check_data(config: Config, metric: metrics.ExactMetric | metrics.SampleMetric, dataset: Dataset | None) -> None:
    """Raise InputError where the data lack what metric or sampler need."""
    if dataset is None:
        return
    for split in dataset.splits.values():
        unknown = (split.hidden & (split.originals < 0)).any(1)
        if not isinstance(metric, metrics.ExactMetric) and metric.reference and bool(unknown.any()):
            lacking = split.ids[int(unknown.nonzero()[0, 0])]
            raise InputError(
                f"objective {metric.name} prices the reference of every position, and example {lacking} has none for "
                "some: give each an answer (dataset.answer) and, where answers are shorter than "
                "dataset.generation_length, the model end tokens (model.end_tokens)"
            )
        outside = split.hidden[:, : -dataset.length] if config.sampler.guidance else split.hidden[:, :0]
        if bool(outside.any()):
            raise InputError(
                "sampler.guidance: hides what stands before the positions to fill, which must be the last ones of each "
                f"example, and equally many; got others in the {split.use} split; leave guidance out"
            )


def settings_of(
    evaluator: Evaluator,
    names: Sequence[str],
    steps: Sequence[int],
    own: Sequence[str] = (),
    optimum: Callable[[int], Schedule] | None = None,
) -> Iterator[Setting]:
    """Every named schedule at every budget that it has; explicit counts and schedule files have only their own.

    own: schedule files that nobody named, so that they may have none of the budgets. optimum: what that name stands for
    at a number of steps.

    Raises InputError for a name that
    is neither a schedule nor a readable file, for one that fits no budget, and for a repeated budget.
    """
    if len(set(steps)) < len(steps):
        raise InputError(f"steps must not repeat, got {list(steps)}; give each budget once")
    for budget in steps:
        found = (_setting(evaluator, name, budget, optimum) for name in (*names, *own))
        yield from (setting for setting in found if setting is not None)
    for name in names:
        has = own_steps(name)
        if has is not None and not set(has) & set(steps):
            raise InputError(
                f"schedule {name} is for {', '.join(map(str, has))} steps, got {list(steps)}; give --steps {has[0]}, "
                "or a curve such as linear or beta:0.9,0.3"
            )


def own_steps(name: str) -> list[int] | None:
    """The budgets that a schedule brings along; None where it is a curve and takes any."""
    if is_file(name):
        return sorted(load_schedule(name).budgets)
    if name.strip() == OPTIMUM:
        return None
    schedule = parse_schedule(name)
    return [len(schedule.counts)] if isinstance(schedule, Counts) else None


def check_baselines(run: Run, budgets: Sequence[int]) -> None:
    """Raise InputError for a baseline that fits not every budget, before anything has been paid for."""
    for steps in budgets:
        run.evaluator.setting(Linear(), steps)  # what fits no curve is the fault of the steps
        for name in run.config.search.baselines:
            try:
                run.evaluator.setting(Linear() if name == OPTIMUM else parse_schedule(name), steps)
            except InputError as error:
                raise InputError(f"search.baselines: {error}") from None


def is_file(name: str) -> bool:
    """Whether the name of a schedule means a schedule file, or a run folder that holds one."""
    return name.endswith((".yaml", ".yml")) or (Path(name) / "schedule.yaml").is_file()


def _setting(evaluator: Evaluator, name: str, steps: int, optimum: Callable[[int], Schedule] | None) -> Setting | None:
    if not is_file(name):
        try:
            schedule = optimum(steps) if name.strip() == OPTIMUM and optimum is not None else parse_schedule(name)
        except InputError as error:
            also = " Or optimum, the best of all on the profile, or a file that ends in .yaml."
            hint = "" if ":" in name or name.strip() == OPTIMUM else also
            raise InputError(f"{error}{hint}") from None
        own = isinstance(schedule, Counts) and name.strip() != OPTIMUM and len(schedule.counts) != steps
        return None if own else evaluator.setting(schedule, steps, name)
    file = load_schedule(name)
    if steps not in file.budgets:
        return None
    budget = file.at(steps)
    if file.length != evaluator.length:
        raise InputError(f"{name} was tuned for {file.length} tokens, the model has {evaluator.length}; search again")
    if (budget.alphas is not None) != evaluator.sampler.bernoulli:
        kind = "fixed counts" if budget.alphas is None else "ancestral (bernoulli) reveal"
        raise InputError(f"{name} was tuned for {kind}; set sampler.reveal to match, or search again")
    return Setting(name, steps, file.length, budget.counts, budget.alphas).within(
        evaluator.sampler.block_length or file.length
    )
