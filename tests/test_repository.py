"""What the repository promises of itself: sizes, names, imports, layout."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "medseg").rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "a file has at most 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < 200, f"class {node.name} has at most 200 lines"
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 50, f"function {node.name} has at most 50 lines below its docstring"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_print_no_todo(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*print\(", text, re.M)
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def test_no_folder_without_a_noun():
    forbidden = {"utils", "helpers", "common", "core", "misc"}
    names = {p.stem for p in MODULES} | {p.parent.name for p in MODULES}
    assert not names & forbidden


def test_tracked_files_name_no_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    machine_path = re.compile("/" + "(work|farm|root|tmp/bash_jobs)/")
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".yaml", ".yml", ".json", ".toml", ".txt", ".j2", ""}
            and path.is_file()
        ):
            found = machine_path.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert found is None, f"{name} names a machine's path"


def test_bundles_hold_no_code_and_stay_small():
    for bundle in sorted((ROOT / "bundles").iterdir()):
        if not bundle.is_dir():
            continue
        assert not list(bundle.rglob("*.py")), f"{bundle.name} holds Python"
        weights = sum(p.stat().st_size for p in bundle.glob("models/*"))
        assert weights <= 20 * 2**20, f"{bundle.name} has more than 20 MiB of weights"


@pytest.mark.parametrize(
    "code",
    [
        "import medseg",
        "import medseg.spatial, medseg.io, medseg.instances, medseg.report, medseg.engine",
        "import medseg.measure.measure",
        "from medseg.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from medseg.cli.main import main\nmain(['bundle', 'list'])",
    ],
)
def test_light_imports_bring_no_network_library(code):
    script = code + "\nimport sys\nassert not {'torch', 'monai'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_the_documented_ones():
    import medseg

    for name in medseg.__all__:
        assert getattr(medseg, name) is not None
    assert medseg.__all__ == sorted(medseg.__all__, key=str.casefold)
    assert set(dir(medseg)) >= set(medseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        medseg.nothing  # noqa: B018


def test_error_tree_is_drawn_whole():
    from medseg import errors

    drawn = errors.__doc__
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.MedsegError)
    ]
    assert len(classes) >= 17
    for cls in classes:
        assert cls.__name__ in drawn
        assert cls.exit_code in range(1, 7)
