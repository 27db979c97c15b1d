"""The shape of the source tree and of the wheel."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = {
    "zoo": "zoo",
    "zoo_plugins": "plugins/zoo_plugins",
    "zoo_datasets": "datasets/zoo_datasets",
    "zoo_benchmark": "benchmark/zoo_benchmark",
}


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("folder", ["datasets", "plugins", "benchmark"])
def test_a_folder_around_a_package_is_no_package_itself(repository, folder):
    assert (repository / folder).is_dir()
    assert not (repository / folder / "__init__.py").exists()


@pytest.mark.parametrize(("package", "folder"), PACKAGES.items())
def test_the_packages_are_imported_from_where_they_lie_and_are_typed(repository, package, folder):
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert Path(spec.origin) == repository / folder / "__init__.py"
    assert (repository / folder / "py.typed").is_file()


@pytest.mark.parametrize("name", ["datasets", "plugins", "benchmark", "tests"])
def test_no_general_name_is_taken(repository, tmp_path, name):
    found = python(
        "-c",
        f"import importlib.util as u; s = u.find_spec({name!r}); "
        "print('\\n'.join([s.origin or '', *(s.submodule_search_locations or [])]) if s else '')",
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    environment = Path(sys.prefix).resolve()
    for line in filter(None, found.stdout.splitlines()):
        path = Path(line).resolve()
        # A virtual environment may lie in the source tree; what is installed there is not ours.
        assert path.is_relative_to(environment) or not path.is_relative_to(repository.resolve())


def test_imports_point_one_way(repository):
    pytest.importorskip("importlinter", reason="import-linter is in the lint extra")
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = python("-c", command, "--no-cache", "--config", "pyproject.toml", cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def sources(repository: Path) -> dict[str, Path]:
    """Every module of the four packages, by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in (repository / folder).rglob("*.py"):
            parts = path.relative_to(repository / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imports(node: ast.AST) -> Iterator[str]:
    """What a node imports, inside functions too, but for what only type checkers see."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where they lead"
        assert node.module is not None
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from imports(child)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports(child)


def graph(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of the modules each of them imports, out of their sources."""
    found = {}
    for module, source in modules.items():
        names = imports(ast.parse(source))
        # `from package import name` is an import of a module, or of what stands in one.
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        found[module] = targets & modules.keys()
    return found


def circle(modules: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter(graph(modules)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle(repository):
    modules = {name: path.read_text("utf-8") for name, path in sources(repository).items()}
    assert graph(modules)["zoo.registry"] > {"zoo.plugins", "zoo.colorizer", "zoo.weights.file"}
    assert circle(modules) == []


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ("import b", "def f():\n    from b import name", True),
        ("import b", "if TYPE_CHECKING:\n    import a", False),
        ("import b", "if TYPE_CHECKING:\n    pass\nelse:\n    import a", True),
        ("import b", "import c", False),
    ],
)
def test_a_circle_is_found_inside_functions_and_not_among_types(a, b, found):
    assert bool(circle({"a": a, "b": b})) is found


def test_every_module_of_the_core_has_its_floor(repository):
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]
    [floors] = [c["layers"] for c in settings["contracts"] if c["name"].startswith("Floors: ")]
    known = {module for floor in floors for module in floor.split(" : ")}
    # The entrance is a way through all of them.
    tops = {".".join(name.split(".")[:2]) for name in sources(repository)} - {"zoo.__main__"}
    assert {top for top in tops if top.startswith("zoo.")} <= known


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory) -> zipfile.ZipFile:
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    builder = builders.WheelBuilder(str(repository))
    [path] = builder.build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheels_top_level_names_are_ours_alone(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel, repository):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ignored = ("__pycache__",)
    expected = {
        f"{package}/{path.relative_to(repository / folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in (repository / folder).rglob("*")
        if path.is_file() and not any(part in ignored for part in path.parts)
    }
    assert inside == expected


def test_the_wheel_declares_the_projects_entry_points_and_license(wheel, repository):
    [info] = {n.split("/")[0] for n in wheel.namelist() if n.split("/")[0].endswith(".dist-info")}
    written = wheel.read(f"{info}/entry_points.txt").decode()
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert "zoo = zoo.__main__:program" in written
    for group, entries in project["entry-points"].items():
        assert f"[{group}]" in written
        for name, target in entries.items():
            assert f"{name} = {target}" in written
            module = target.split(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist()), target
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
