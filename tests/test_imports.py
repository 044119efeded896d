"""The shape of the code: who may import whom, what may never be called, and what help may cost."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "introspect"
MODULES = sorted(SRC.rglob("*.py"))
MAX_LINES = 400
HEAVY = ("torch", "transformers", "sklearn", "pandas", "scipy", "trl", "peft", "h5py", "nnsight", "transformer_lens")

LEVELS = (
    {
        "errors",
        "experiment",
        "free_memory",
        "selection",
        "spec_file",
        "strict_yaml",
        "assets",
        "probe_folders",
        "atomic",
        "lock",
        "progress",
        "sections",
        "surroundings",
        "asked_spec",
        "cells",
        "lines",
    },
    {
        "store",
        "models",
        "backends",
        "stats",
        "thresholds",
        "spans",
        "tasks",
        "verdicts",
        "plan",
        "rollout",
        "readout",
        "sandbox",
        "hands",
    },
    {
        *("record", "rows", "doctor", "run_folder", "features", "metrics", "probes", "probing", "link", "steering"),
        *("concepts", "card_folder"),
        *(
            "training",
            "results",
            "analysis",
            "scoring",
            "judging",
            "behaviour",
            "chain",
            "awareness",
            "forced",
            "stage_file",
            "follow_ups",
            "probe_report",
            "manifest",
            "report",
            "tables",
        ),
    },
    {
        *(
            "studies",
            "folder_results",
            "cell_folder",
            "pilot",
            "prepare",
            "run",
            "turns",
            "cluster",
            "rescore",
            "refit",
            "bench",
            "compare",
            "transcripts",
            "notebook",
            "explore",
            "interchange",
            "remote_files",
            "saved_probes",
        ),
        *("transfer", "shift", "validation", "injection", "causal", "natural", "spec_kinds"),
    },
    {"cli", "__init__", "__main__"},
)
"""From the bottom up. A module imports from its own level and from those below."""

FORBIDDEN = {
    r"\bimport (pickle|cPickle|joblib|dill|cloudpickle|shelve|marshal)\b": "runs code from data",
    r"\bfrom (pickle|joblib|dill|cloudpickle|shelve|marshal)\b": "runs code from data",
    r"\btorch\.(load|save)\b": "reads or writes pickles; use safetensors",
    r"(?<![\w.])eval\(": "runs text as code",
    r"(?<![\w.])exec\(": "runs text as code",
    r"allow_pickle": "runs code from data",
    r"trust_remote_code\s*=\s*(?!False\b)": "runs code from a model hub",
    r"weights_only\s*=\s*False": "runs code from data",
    r"yaml\.(unsafe_load|full_load)\b": "builds objects from text",
    r"shell\s*=\s*True": "runs text as code",
}


PERMITTED = {("sandbox/child.py", r"(?<![\w.])exec\(")}
"""A model's program, once the kernel's filter is in force."""


def level(module: str) -> int | None:
    return next((i for i, names in enumerate(LEVELS) if module in names), None)


def room(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_rooms(path: Path, source: str) -> set[str]:
    """Every room of introspect that the file imports, at its top or inside a function."""
    package = ("introspect", *path.relative_to(SRC).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    inside = [name.split(".") for name in names if name.split(".")[0] == "introspect"]
    rooms = {parts[1] if len(parts) > 1 else "__init__" for parts in inside}
    on_disk = {room(module) for module in MODULES}
    return {each if each in on_disk or level(each) is not None else "__init__" for each in rooms}


def upward_imports(path: Path, source: str) -> list[str]:
    own = level(room(path))
    return sorted(each for each in imported_rooms(path, source) if level(each) is None or level(each) > own)


def test_every_room_has_a_level():
    assert [name for name in sorted({room(path) for path in MODULES}) if level(name) is None] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
class TestEveryModule:
    def test_imports_run_downwards_only(self, path):
        assert upward_imports(path, path.read_text(encoding="utf-8")) == []

    def test_says_what_it_is_for(self, path):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    def test_is_short_enough_to_read(self, path):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES

    def test_calls_nothing_that_runs_code_from_data(self, path):
        source = path.read_text(encoding="utf-8")
        found = {pattern: why for pattern, why in FORBIDDEN.items() if re.search(pattern, source)}
        assert {p: why for p, why in found.items() if (path.relative_to(SRC).as_posix(), p) not in PERMITTED} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from .cli import main",
        "from . import run",
        "from introspect.run import run_experiment",
        "import introspect.report.page",
        "from introspect import probe",
        "def later():\n    from .cli.main import app",
    ],
)
def test_an_upward_import_would_be_noticed(line):
    assert upward_imports(SRC / "errors.py", line)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import dump",
        "torch.load(path)",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "from_pretrained(name, trust_remote_code=True)",
        "from_pretrained(name, trust_remote_code=option)",
    ],
)
def test_forbidden_code_would_be_noticed(line):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN)


@pytest.mark.parametrize("line", ["model.eval()", "trust_remote_code=False", "safetensors.torch.load_file(path)"])
def test_permitted_code_is_not_mistaken_for_forbidden(line):
    assert not any(re.search(pattern, line) for pattern in FORBIDDEN)


def heavy_modules_after(code: str) -> list[str]:
    """Which of `HEAVY` a fresh interpreter has loaded after running the code."""
    tail = f"\nimport json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


HELP = """
from introspect.cli import main
try:
    main({})
except SystemExit as stop:
    assert not stop.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import introspect",
        "import introspect.experiment",
        HELP.format(["--help"]),
        HELP.format(["run", "--help"]),
    ],
)
def test_importing_and_asking_for_help_load_nothing_heavy(code):
    assert heavy_modules_after(code) == []


def test_loading_something_heavy_would_be_noticed():
    assert heavy_modules_after("import h5py") == ["h5py"]


IMPORT_NAMES = {"scikit-learn": "sklearn", "pyyaml": "yaml", "transformer-lens": "transformer_lens"}


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[;]", requirement)[0] for requirement in project["dependencies"]}
    allowed = (
        {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared}
        | set(sys.stdlib_module_names)
        | {"introspect"}
    )
    allowed.add("pydantic_core")  # pydantic's own other half
    rooms = {"explore": ("explore",), "cluster": ("ray",), "backends": ("vllm", "interp-engine")}
    extras = {
        each: {
            re.split(r"[<>=\[;]", requirement)[0].replace("-", "_")
            for extra in names
            for requirement in project["optional-dependencies"][extra]
        }
        for each, names in rooms.items()
    }
    undeclared = {}
    for path in MODULES:
        known = allowed | extras.get(room(path), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                if name.split(".")[0] not in known:
                    undeclared[name] = str(path.relative_to(SRC))
    assert undeclared == {}
