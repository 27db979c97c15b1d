"""The settings of `zoo bench`, and all that can be wrong with them, checked before any work."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import plugins, registry
from zoo.colorizer import Colorizer
from zoo.data.dataset import Dataset
from zoo.errors import (
    DeviceError,
    InputError,
    OptionError,
    OutputError,
    PluginError,
    UnknownNameError,
    WeightsError,
)
from zoo.files import check_writable
from zoo.training.budget import Budget
from zoo.weights.download import file_sha256
from zoo.weights.file import find_weights
from zoo.weights.published import published
from zoo_benchmark.conditions import CLEAN, changed, check_condition, condition_names
from zoo_benchmark.protocol import DEFAULT, NO_BUDGET, Protocol, ProtocolError, find_protocol
from zoo_benchmark.requests import ModelRequest
from zoo_benchmark.results.checked import DamagedError, anything, read_object, table_of
from zoo_benchmark.results.references import check_ceilings
from zoo_benchmark.run.given import GivenWeights
from zoo_benchmark.run.scoring import metric_names
from zoo_benchmark.run.trial_spec import RUN

# Loading, scoring and timing may take this long beside a training budget in seconds.
_ALLOWANCE_SECONDS = 1800.0
_LONGEST_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class BenchSettings:
    """The request for a comparison; what needs neither protocol nor model to check is checked.

    `None` means what the protocol says. `timeout` is in seconds, after which a trial counts as
    hanging; `force` names rows, or models, whose finished cells are made again; `command` is what
    was typed, for the record.

    Raises:
        InputError: an impossible number of jobs or seconds, or one GPU of a cluster.
        UnknownNameError: an executor that does not exist.
    """

    models: str
    protocol: str = DEFAULT
    dataset: str | None = None
    budget: str | None = None
    size: int | None = None
    preset: str | None = None
    seeds: int | None = None
    seed: int | None = None
    learning_rate: str | None = None
    input_variety: bool | None = None
    crop_scale: tuple[float, ...] | None = None
    stored_size: int | None = None
    references: bool = True
    device: str = "auto"
    precision: str = "auto"
    out: Path | None = None
    settings: Sequence[str] = ()
    metrics: str | None = None
    conditions: str | None = None
    weights_files: Mapping[str, Path] = field(default_factory=dict)
    timeout: float | None = None
    throughput: bool = True
    jobs: int = 1
    executor: str = "local"
    force: Sequence[str] = ()
    collect_only: bool = False
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.timeout is not None and not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise InputError(
                f"--timeout must be a positive number of seconds, got {self.timeout:g}"
            )
        if self.jobs < 1:
            raise InputError(f"--jobs must be at least 1, got {self.jobs}")
        name, equals, address = self.executor.partition("=")
        if name not in ("local", "ray") or (equals and not (name == "ray" and address)):
            raise UnknownNameError("executor", self.executor, ("local", "ray", "ray=ADDRESS"))
        if name == "ray" and self.device.startswith("cuda:"):
            raise InputError(
                f"--device {self.device} names one GPU, and Ray gives each task one of its own; "
                "type --device cuda"
            )


@dataclass(frozen=True)
class CheckedModel:
    """A requested row whose model was constructed once.

    Attributes:
        request: name, options and label.
        floor: whether it is a reference to be beaten.
        colorizer: the model, or None where its plugin is broken: its row will say how.
        given: the weights that it is scored with as it is; None where it is trained.
        option_files: SHA-256 of the files that options name, by the option.
    """

    request: ModelRequest
    floor: bool
    colorizer: Colorizer | None
    given: GivenWeights | None = None
    option_files: Mapping[str, str] = field(default_factory=dict)


def choose_protocol(settings: BenchSettings) -> tuple[Protocol, Protocol]:
    """The protocol that was named, and the same with what was asked for in its place.

    Raises:
        UnknownNameError: no protocol has that name, a metric is not installed, or there is no
            such condition.
        ProtocolError: it cannot be read, or this zoo cannot keep it.
        InputError: a dataset is missing; a size or a number of seeds that cannot be; a metric
            that conditions cannot be measured with.
    """
    named = find_protocol(settings.protocol)
    varied = ("input_variety", "crop_scale", "stored_size")
    usual = ("dataset", "budget", "size", "preset", "seeds", "seed", "learning_rate")
    fields = (*usual, *varied)
    asked: dict[str, Any] = {
        name: getattr(settings, name) for name in fields if getattr(settings, name) is not None
    }
    if settings.dataset is not None:
        asked["dataset"] = named.complete(settings.dataset)
    elif "," in named.dataset:
        source = named.dataset.partition(",")[0]
        argument = registry.dataset_class(source).info.argument
        raise InputError(
            f"the protocol {named.id} needs {named.files}: type --dataset {source}:{argument}"
        )
    if not settings.references:
        asked |= {"floors": (), "ceilings": ()}
    asked["metrics"] = _metric_versions(settings.metrics, named)
    asked["conditions"] = _condition_versions(settings.conditions, named, asked["metrics"])
    dataset = asked.get("dataset", named.dataset)
    if dataset != named.dataset and not named.leaves_open(dataset):
        # Other images: what the protocol says of its own does not hold for them.
        info = registry.dataset_class(dataset.partition(":")[0]).info
        if "," in dataset:  # options may say how photographs become squares
            info = registry.open_dataset(dataset).facts
        asked |= {"crop": info.crop, "resize": info.resize, "note": ""}
        asked |= {"grey_chroma": info.grey_chroma, "files": "", "count": 0}
        asked |= {"size": asked.get("size", info.native_size), "manifests": {}, "expected": {}}
    if named.stored_size is not None:
        # Crops of another size are taken from images that are larger by as much.
        asked.setdefault(
            "stored_size", named.stored_size * asked.get("size", named.size) // named.size
        )
    in_force = dataclasses.replace(named, **asked)
    for name in () if in_force.trains else varied:
        if getattr(settings, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is of a training, and --budget {NO_BUDGET} has none; "
                "leave one of them out"
            )
    if in_force.size != named.size:
        in_force = dataclasses.replace(in_force, manifests={}, expected={})
    return named, in_force


def check_preparation(protocol: Protocol, dataset: Dataset) -> None:
    """Checks that the dataset makes squares of photographs as the protocol says.

    Raises:
        ProtocolError: it crops, resizes or filters otherwise.
    """
    facts = {
        "crop": (protocol.crop, dataset.facts.crop),
        "resize": (protocol.resize, dataset.facts.resize),
        "grey_chroma": (protocol.grey_chroma, dataset.facts.grey_chroma),
    }
    for name, (wanted, found) in facts.items():
        if wanted != found:
            raise ProtocolError(
                f"the protocol {protocol.id} wants {name} = {wanted!r}, but dataset "
                f"{dataset.info.name!r} of this zoo has {found!r}; name another --protocol"
            )


def _metric_versions(text: str | None, protocol: Protocol) -> dict[str, int]:
    """The metrics named in `text`, or the protocol's and a stranger's usual ones.

    Raises:
        UnknownNameError: a metric that is not installed.
        ProtocolError: one whose version is not the protocol's.
    """
    known = plugins.names(plugins.METRICS)
    if text is not None:
        chosen = metric_names(text)
    else:
        chosen = [*protocol.metrics, *(n for n in known if n not in protocol.metrics)]
    versions = {}
    for name in chosen:
        if name not in known:
            raise UnknownNameError("metric", name, known)
        try:
            info = registry.metric_class(name).info
        except PluginError:
            versions[name] = 0  # its column will say why it is empty
            continue
        if text is None and name not in protocol.metrics and not info.default:
            continue
        if protocol.metrics.get(name, info.version) != info.version:
            raise ProtocolError(
                f"the protocol {protocol.id} wants version {protocol.metrics[name]} of the "
                f"metric {name!r}, this zoo has {info.version}; name a newer --protocol"
            )
        versions[name] = info.version
    return versions


def _condition_versions(
    text: str | None, protocol: Protocol, metrics: Mapping[str, int]
) -> dict[str, int]:
    """The conditions named in `text`, or the protocol's; none where nothing is changed.

    Raises:
        UnknownNameError: there is no such condition.
        ProtocolError: one whose version is not the protocol's.
        InputError: one of the metrics cannot be measured under them.
    """
    names = condition_names(",".join(protocol.conditions) or CLEAN if text is None else text)
    if not changed(names):
        return {}
    for name in names:
        ours = check_condition(name).version
        if protocol.conditions.get(name, ours) != ours:
            raise ProtocolError(
                f"the protocol {protocol.id} wants version {protocol.conditions[name]} of the "
                f"condition {name!r}, this zoo has {ours}; name a newer --protocol"
            )
    check_metrics_under_conditions(metrics)
    return {name: check_condition(name).version for name in names}


def check_metrics_under_conditions(names: Iterable[str]) -> None:
    """Checks that metrics can be measured where the input was changed.

    Raises:
        InputError: one of them cannot.
    """
    wanted: list[str] = list(names)
    unable: list[str] = []
    for name in wanted:
        with contextlib.suppress(PluginError):  # its column will say why it is empty
            if not registry.metric_class(name).info.conditions:
                unable.append(name)
    if unable:
        able = [name for name in wanted if name not in unable]
        rest = f", or --metrics {','.join(able)}" if able else ""
        raise InputError(
            f"the metric {unable[0]!r} cannot be measured where the input was changed; "
            f"type --conditions {CLEAN}{rest}"
        )


def with_floors(requests: Sequence[ModelRequest], protocol: Protocol) -> list[ModelRequest]:
    """The requested rows and those reference rows of the protocol that are not among them.

    Raises:
        UnknownNameError: a floor that is not installed, or a ceiling that does not exist.
    """
    requested = {request.name for request in requests if not request.weights}
    installed = registry.list_colorizers()
    for name in protocol.floors:
        if name not in installed:
            raise UnknownNameError("floor", name, installed)
    check_ceilings(protocol.ceilings)
    floors = [name for name in protocol.floors if name not in requested]
    return [*requests, *(ModelRequest(name, label=name, asked=False) for name in floors)]


def check_models(
    requests: Sequence[ModelRequest], protocol: Protocol, settings: BenchSettings
) -> list[CheckedModel]:
    """Constructs every model once, so that a wrong option is an error before any work.

    Raises:
        OptionError: an option or size that a model cannot have, or the same row twice.
        UnknownNameError: an option that does not exist.
        DeviceError: a device that is not there.
        WeightsError: given weights are missing or do not fit.
        InputError: a model that would have to be trained, where nothing is.
    """
    checked = []
    rows: dict[tuple[Any, ...], str] = {}
    untrained = []
    for request in requests:
        given = None
        try:
            # What a plugin prints when it is imported is no part of this command's output.
            with contextlib.redirect_stdout(sys.stderr):
                cls = registry.colorizer_class(request.name)
                how = {"device": settings.device, "precision": settings.precision}
                if request.weights:
                    stored = find_weights(request.weights, cls, download=False)
                    colorizer = registry.restored(cls, stored, **how, **request.changes)
                    given = GivenWeights.of(stored)
                else:
                    colorizer = cls(cls.preset(protocol.preset), **how, **request.changes)
        except (OptionError, UnknownNameError, DeviceError):
            raise
        except Exception as error:
            if request.weights and isinstance(error, WeightsError):
                raise
            checked.append(CheckedModel(request, False, None))
            continue
        if not (protocol.trains or given) and cls.info.learns:
            if request.asked:
                untrained.append(request)
            continue
        digest = given.sha256 if given else ""
        options = dataclasses.asdict(colorizer.options)
        files = _option_files(options)
        row = (request.name, *(options | files).values(), digest)
        twin = rows.setdefault(row, request.label)
        if twin != request.label:
            raise OptionError(
                f"{twin!r} and {request.label!r} are the same row; name it once or change an option"
            )
        # A size that nobody asked for stops the one model that it does not suit. Crops of a
        # training have it; what is only predicted is padded.
        if not given and settings.size is not None and protocol.size % colorizer.multiple:
            raise OptionError(
                f"--size {protocol.size} does not suit {request.label}: "
                f"its sides must be multiples of {colorizer.multiple}"
            )
        floor = cls.info.floor and not given
        checked.append(CheckedModel(request, floor, colorizer, given, files))
    if untrained:
        first = untrained[0]
        more = f" (and {len(untrained) - 1} more)" if len(untrained) > 1 else ""
        example = next((each.name for each in published(first.name)), "FILE")
        raise InputError(
            f"{first.label}{more} would have to be trained, and the budget is {NO_BUDGET}; "
            f"give it weights, as {first.name}@{example}, or name a --budget"
        )
    known = {name for each in requests for name in (each.name, each.label)}
    for name in settings.force:
        if name not in known:
            raise UnknownNameError("row in --force", name, known)
    return checked


def _option_files(options: Mapping[str, object]) -> dict[str, str]:
    """SHA-256 of the files that options name: their content counts, not their name."""
    found = {}
    for name, value in options.items():
        if isinstance(value, str) and value:
            # Most texts are no path at all, and some cannot even be one.
            with contextlib.suppress(OSError, ValueError):
                found[name] = file_sha256(Path(value))
    return found


def default_timeout(budget: Budget | None) -> float:
    """Seconds after which a trial counts as hanging, where nothing else is said."""
    if budget is not None and budget.unit == "seconds":
        return 1.5 * budget.amount + _ALLOWANCE_SECONDS
    return _LONGEST_SECONDS


def choose_folder(wanted: Path | None) -> Path:
    """The folder where the results can go; nothing is made yet.

    Raises:
        InputError: it holds something else than a run, or cannot be written to.
    """
    out = wanted or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    if out.exists() and not (out / RUN).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"--out {out} is there already and neither an empty folder nor a run; name another"
        )
    if (out / RUN).is_file():
        try:
            read_object(out / RUN, table_of(anything))
        except DamagedError as error:
            raise InputError(
                f"--out {out} is a damaged run ({error}); name another, or delete {out / RUN} to "
                "begin anew with the cells that are finished"
            ) from error
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"cannot write to --out {out}: {above} is a file; name another")
    try:
        check_writable([out.absolute() / RUN], "--out")
    except OutputError as error:
        raise InputError(f"cannot write to --out {out}: {error}") from error
    return out


def make_folder(folder: Path) -> None:
    """Makes the folder of the results.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to --out {folder}: {error.strerror}") from error
