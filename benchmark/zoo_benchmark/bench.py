"""`zoo bench`: check everything, train every model under the same budget, compare."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

from zoo import registry
from zoo.data.dataset import Dataset, ImageSet, Split
from zoo.data.jpeg_blocks import block_note
from zoo.device import resolve_device
from zoo.errors import DataError, InputError, PluginError
from zoo.files import locked, name_text, remove_old_leftovers, write_text
from zoo.training.variety import UNVARIED
from zoo_benchmark.conditions import inputs_under
from zoo_benchmark.metrics import check_count
from zoo_benchmark.metrics.weights_files import MetricFiles, find_metric_files
from zoo_benchmark.plan import SHOWCASE_COUNT, PlannedCell, plan_cells
from zoo_benchmark.protocol import Protocol
from zoo_benchmark.report.progress import Display, Reporter, row_name
from zoo_benchmark.report.redraw import Comparison, redraw, where_time_went, write_tables
from zoo_benchmark.requests import parse_models
from zoo_benchmark.results.cell_folder import read_cell
from zoo_benchmark.results.checked import DamagedError
from zoo_benchmark.results.references import write_references
from zoo_benchmark.results.run_folder import FORMAT, SHARED_CELLS, open_run, refuse_links
from zoo_benchmark.run.executor import Executor, LocalExecutor, Task
from zoo_benchmark.run.pictures import write_pictures
from zoo_benchmark.run.trial import CONDITION_PICTURES, KEPT_IMAGES
from zoo_benchmark.run.trial_spec import (
    ATTEMPTS,
    CELLS,
    INPUTS,
    OK,
    REFERENCES,
    RUN,
    SHOWCASE_TRUTH,
    TRUTH,
    Spec,
    read_json,
)
from zoo_benchmark.self_check import check_pipeline
from zoo_benchmark.settings import (
    BenchSettings,
    CheckedModel,
    check_models,
    check_preparation,
    choose_folder,
    choose_protocol,
    default_timeout,
    make_folder,
    with_floors,
)
from zoo_benchmark.store import Store


@dataclass(frozen=True)
class Data:
    """The images of a comparison, and what is known about them."""

    dataset: Dataset
    splits: Mapping[str, ImageSet]
    manifests: Mapping[str, str]
    notes: Sequence[str]

    @property
    def test(self) -> ImageSet:
        """The images that are scored."""
        return self.splits["test"]


def run_bench(settings: BenchSettings, display: Display) -> Comparison:
    """Runs a comparison; `display` is told how far it is.

    Raises:
        ZooError: something is wrong with the request or the data; nothing has been trained.
    """
    start = time.monotonic()
    named, protocol = choose_protocol(settings)
    requests = with_floors(parse_models(settings.models, settings.settings), protocol)
    dataset = registry.open_dataset(protocol.dataset)
    check_preparation(protocol, dataset)
    timeout = settings.timeout or default_timeout(protocol.limit)
    out = choose_folder(settings.out)
    models = check_models(requests, protocol, settings)
    data = _load_data(dataset, protocol, display)
    check_count(protocol.metrics, len(data.test), f"the test split of {protocol.dataset}")
    device = resolve_device(settings.device)
    files = _find_files(settings, protocol, display)
    expected = protocol.expected or None
    check_pipeline(data.test, expected, device)
    executor, hardware_names = _open_executor(settings, protocol, device)

    make_folder(out)
    refuse_links(out)
    with _only_one(out, display):
        store = Store(out / CELLS if settings.out else out.parent / SHARED_CELLS)
        cells = plan_cells(models, protocol, settings, store, data.manifests, files, hardware_names)
        notes = _opening_notes(named, protocol, settings, data, models)
        manifest = _manifest(out, store, named, protocol, settings, data, cells, notes)
        _check_same_protocol(out, manifest)
        write_text(out / RUN, json.dumps(manifest, indent=1))
        write_pictures(out / TRUTH, data.test.spread(KEPT_IMAGES))
        showcase = dataset.showcase(SHOWCASE_COUNT, protocol.size)
        write_pictures(out / SHOWCASE_TRUTH, showcase)
        if protocol.conditions:
            write_pictures(
                out / INPUTS, inputs_under(protocol.conditions, showcase, CONDITION_PICTURES)
            )
        if not settings.collect_only and not all(store.path(cell.key).is_dir() for cell in cells):
            executor.prepare()
        spent: defaultdict[str, float] = defaultdict(float)
        bar = display.bar("references")
        began = time.monotonic()
        write_references(out / REFERENCES, data.test, protocol, files, device)
        spent["scoring"] += time.monotonic() - began
        bar("", 1, 1)
        interrupted = False
        try:
            if not settings.collect_only:
                _run_cells(cells, store, out, executor, timeout, display, spent)
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:
            done = sum(store.path(cell.key).is_dir() for cell in cells)
            raise DataError(
                f"cannot write to {out}: {error.strerror or error}; "
                f"{done} of {len(cells)} cells are finished and kept"
            ) from error
        manifest["finished"] = None if interrupted else _now()
        write_text(out / RUN, json.dumps(manifest, indent=1))
        comparison = redraw(out)
        # The stages of cells that run side by side add up to more than the whole.
        one_by_one = settings.jobs == 1 and settings.executor == "local"
        manifest["seconds"] = {"whole": time.monotonic() - start, **(spent if one_by_one else {})}
        write_text(out / RUN, json.dumps(manifest, indent=1))
    comparison.notes.append(where_time_went(manifest["seconds"]))
    comparison.interrupted = interrupted
    return comparison


# ---- the run's folder ------------------------------------------------------------------------


@contextmanager
def _only_one(out: Path, display: Display) -> Iterator[None]:
    """Keeps a second bench out of the same folder.

    Raises:
        InputError: one is at work in it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(out / ".lock", 0, display.say))
        except Timeout:
            raise InputError(f"another zoo bench is writing to --out {out}; name another") from None
        remove_old_leftovers(out)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (out / ".lock").unlink()


def _check_same_protocol(out: Path, manifest: Mapping[str, Any]) -> None:
    before = read_json(out / RUN)
    if before is None:
        return
    for name in ("protocol", "data"):
        old_rules, new_rules = (_without_conditions(each.get(name)) for each in (before, manifest))
        if old_rules != new_rules:
            old, new = (f"{each.get('title', 'unknown')!r}" for each in (before, manifest))
            raise InputError(
                f"--out {out} holds a run of other rules or images ({old}, now {new}); name another"
            )


def _without_conditions(rules: Any) -> Any:
    """A run's rules or data without what leaves its cells as they are: more can be added later."""
    if not isinstance(rules, dict):
        return rules
    return {k: v for k, v in rules.items() if k != "conditions"}


def _manifest(
    out: Path,
    store: Store,
    named: Protocol,
    protocol: Protocol,
    settings: BenchSettings,
    data: Data,
    cells: Sequence[PlannedCell],
    notes: Sequence[str],
) -> dict[str, Any]:
    directions = {}
    for name in protocol.metrics:
        with contextlib.suppress(PluginError):
            directions[name] = registry.metric_class(name).info.direction
    splits = {
        split: {"count": len(images), "manifest": data.manifests[split], "grey": len(images.grey)}
        for split, images in data.splits.items()
    }
    return {
        "format": FORMAT,
        "command": list(settings.command),
        "started": _now(),
        "finished": None,
        "title": name_text(_title(protocol, data.test)),
        "notes": [name_text(note) for note in notes],
        "protocol": protocol.content(),
        "departures": named.departures(protocol),
        "floors": list(dict.fromkeys(cell.spec.label for cell in cells if cell.floor)),
        "metrics": dict(protocol.metrics),
        "conditions": dict(protocol.conditions),
        "directions": directions,
        "data": {"dataset": protocol.dataset, "size": protocol.size, "splits": splits},
        "store": str(Path(*([".."] * (settings.out is None)), store.folder.name)),
        "cells": [cell.to_dict() for cell in cells],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _opening_notes(
    named: Protocol,
    protocol: Protocol,
    settings: BenchSettings,
    data: Data,
    models: Sequence[CheckedModel],
) -> list[str]:
    notes = [f"{protocol.dataset}: {protocol.note}."] if protocol.note else []
    if protocol.trains and protocol.variety != UNVARIED:
        notes.append(f"trained on {protocol.variety.description(protocol.size)}.")
    if departures := named.departures(protocol):
        notes.append(f"departs from {named.id} in {', '.join(departures)}.")
    if settings.settings:
        notes.append(f"options set: {', '.join(settings.settings)}.")
    rows = {model.request.name for model in models if not model.given}
    installed = registry.list_colorizers()
    if absent := [name for name in protocol.floors if name in installed and name not in rows]:
        notes.append(f"left out, as nothing is trained: {', '.join(absent)}.")
    if protocol.timed and settings.jobs > 1:
        notes.append(
            f"{settings.jobs} models trained side by side: a second of each was worth less."
        )
    return notes + list(data.notes)


def _title(protocol: Protocol, test: ImageSet) -> str:
    rules = (
        f"{protocol.preset} presets, {protocol.budget} per model, "
        f"{protocol.seeds} seed{'s' * (protocol.seeds > 1)}"
        if protocol.trains
        else "nothing trained"
    )
    images = f"{len(test)} test images"
    return f"{protocol.id}: {protocol.dataset} at {protocol.size}², {rules}, {images}"


# ---- data and weights ------------------------------------------------------------------------


def _load_data(dataset: Dataset, protocol: Protocol, display: Display) -> Data:
    """Loads the splits, so that trials find them decoded, and counts what was left out.

    Raises:
        DataError: there are no images, or not those of the protocol.
    """
    notes: list[str] = []
    splits: dict[str, ImageSet] = {}
    manifests: dict[str, str] = {}
    wanted: tuple[Split, ...] = ("train", "test") if protocol.trains else ("test",)
    for split in wanted:
        bar = display.bar(f"{protocol.dataset} {split}")
        images = dataset.open(split, protocol.side(split), bar)
        bar(f"{len(images)} images", 1, 1)
        splits[split], manifests[split] = images, images.manifest_hash()
        notes += [f"{split}: {note}" for note in images.left_out()]
        if split == "train" and len(images) and (note := block_note(images)):
            notes.append(f"{split}: {note}")
    for split in wanted:
        images = splits[split]
        if len(images) == 0:
            raise DataError(f"{protocol.dataset} has no usable {split} images")
        if split == "test" and protocol.count and len(images) != protocol.count:
            raise DataError(
                f"{protocol.id} wants {protocol.count:,} test images ({protocol.files}), "
                f"{protocol.dataset} has {len(images):,}"
            )
        pinned = protocol.manifests.get(split)
        if pinned and pinned != manifests[split]:
            raise DataError(
                f"the {split} images of {protocol.dataset} are not those of {protocol.id}: "
                f"manifest {manifests[split][:12]}…, expected {pinned[:12]}…; "
                "reinstall the dataset, or name another --protocol"
            )
    return Data(dataset, splits, manifests, notes)


def _find_files(settings: BenchSettings, protocol: Protocol, display: Display) -> MetricFiles:
    bar = display.bar("metrics")
    found = find_metric_files(list(protocol.metrics), settings.weights_files, progress=bar)
    bar("; ".join([*found.missing.values(), *found.statuses]), 1, 1)
    return found


def _open_executor(
    settings: BenchSettings, protocol: Protocol, device: torch.device
) -> tuple[Executor, tuple[str, str]]:
    """The executor of the cells, and the hardware that they are trained and timed on.

    Raises:
        InputError: there is no such cluster, or its machines cannot be treated alike.
    """
    name, _, address = settings.executor.partition("=")
    executor: Executor
    if name == "ray":
        from zoo_benchmark.run.ray_executor import RayExecutor

        executor = RayExecutor(address, settings.device, settings.jobs)
    else:
        executor = LocalExecutor(device, settings.jobs)
    trained, timed = executor.hardware()
    if len(trained) > 1 and protocol.timed:
        raise InputError(
            f"{protocol.budget} are worth unlike amounts of work on {' and '.join(trained)}; "
            "give a --budget in steps, images or GFLOP"
        )
    return executor, (" | ".join(trained), " | ".join(timed))


# ---- the cells -------------------------------------------------------------------------------


def _run_cells(
    cells: Sequence[PlannedCell],
    store: Store,
    out: Path,
    executor: Executor,
    timeout: float,
    display: Display,
    spent: defaultdict[str, float],
) -> None:
    """Makes what is not in the store: trials, then conditions, then the timings, one at a time.

    What their stages took is added to `spent`, in seconds.
    """
    attempts = out / ATTEMPTS
    reporter = Reporter(display)
    forced = {cell.key for cell in cells if cell.forced}
    forced |= {cell.timing[1] for cell in cells if cell.forced and cell.timing}
    forced |= {k for cell in cells if cell.forced for _, k in cell.conditions.values()}

    def run(tasks: Sequence[Task], *, alone: bool) -> Iterator[None]:
        for task, result in executor.run(tasks, timeout, reporter.progress, alone=alone):
            for stage, seconds in result.get("seconds", {}).items():
                spent[stage] += seconds
            if is_complete(result):
                if task.key in forced:
                    store.set_aside(task.key, attempts)
                store.commit(task.folder, task.key)
            reporter.done(task, result)
            yield

    overall, finished = display.bar("all"), 0
    overall("", finished, len(cells))
    tasks = []
    for cell in cells:
        if _is_wanted(cell.key, cell.forced, store, attempts, display):
            tasks.append(Task(cell.spec, attempts / cell.key, cell.key))
        else:
            finished += 1
            overall("", finished, len(cells))
            display.say(f"{row_name(cell.spec)}: finished before, taken from {store.folder}")
    for _ in run(tasks, alone=False):
        finished += 1
        overall("", finished, len(cells))
        write_tables(open_run(out))

    def later(specs: Callable[[PlannedCell], Iterable[tuple[Spec, str]]]) -> list[Task]:
        return [
            Task(spec, attempts / key, key)
            for cell in cells
            if store.path(cell.key).is_dir()
            for spec, key in specs(cell)
            if _is_wanted(key, cell.forced, store, attempts, display)
        ]

    for _ in run(later(lambda cell: cell.conditions.values()), alone=False):
        pass
    for _ in run(later(lambda cell: [cell.timing] if cell.timing else []), alone=True):
        pass


def is_complete(result: Mapping[str, Any]) -> bool:
    """Whether a result may be taken for good: it succeeded, and no metric failed on it."""
    return result.get("status") == OK and not result.get("metrics_broken")


def _is_wanted(key: str, forced: bool, store: Store, attempts: Path, display: Display) -> bool:
    if forced:
        return True
    if flaw := store.flaw(key):
        display.say(f"the stored cell {key} is damaged ({flaw}); it is made again")
        store.set_aside(key, attempts)
        return True
    if store.path(key).is_dir():
        return False
    # A cell's result is the last that it writes: its bench was killed before it was put away.
    try:
        found = read_cell(attempts / key, sealed=False)
    except DamagedError:
        return True
    if found is None or not is_complete(found.result):
        return True
    store.commit(attempts / key, key)
    return False
