"""A notebook with its parameters: python -m icl_report.execute NOTEBOOK TARGET --b 5 --seed 451

Executes notebooks/NOTEBOOK.py and writes it, executed, to TARGET. The parameters are those of the
cell tagged "parameters"; a value that is the notebook's own is not put into it.
"""

import argparse
import ast
import os
import signal
import sys
import tempfile
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from traitlets.config import Config

from icl_core.config import ConfigError
from icl_core.records import PROJECT

NOTEBOOKS = PROJECT / "notebooks"


def parameters_of(notebook: NotebookNode) -> dict[str, int | float | str]:
    """Name -> default of each assignment in the notebook's cell tagged "parameters"."""
    cells = [c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    nodes = [node for cell in cells for node in ast.parse(cell).body]
    return {name: ast.literal_eval(node.value) for node in nodes for name in _assigned(node)}


def _assigned(code: ast.AST) -> list[str]:
    names = [node for node in ast.walk(code) if isinstance(node, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def refuse_unknown(history: list[str], known: list[str]) -> None:
    """Raises ConfigError if papermill was given names that the running notebook does not know.

    Papermill itself only warns. history is IPython's In, in which its cell stands.
    """
    injected = [ast.parse(source) for source in history if source.startswith("# Parameters\n")]
    if unknown := [name for code in injected for name in _assigned(code) if name not in known]:
        raise ConfigError(
            f"{', '.join(unknown)}: no such parameter, nothing was trained; "
            f"the parameters are {', '.join(known)}"
        )


def interrupt(*_) -> None:
    """Ends papermill in order: as it leaves, it interrupts the kernel and waits for it.

    Left to itself, it dies without a word to the kernel, which ends abruptly a second later.
    """
    print("SIGTERM: the run ends; the same command goes on from its checkpoint", file=sys.stderr)
    raise KeyboardInterrupt


def execute(notebook: NotebookNode, target: Path, parameters: dict) -> None:
    """Executes the notebook into target; ends the program with the reason if a cell fails.

    The kernel's sockets are files in a folder of its own: ports are chosen before they are taken,
    so that two kernels that start at the same time may choose the same one.
    """
    import papermill  # takes seconds, and a notebook imports this module for refuse_unknown
    from nbconvert.filters import strip_ansi

    target.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(PROJECT), os.environ.get("PYTHONPATH")]  # this checkout before any other
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    options = dict(kernel_name="python3", cwd=NOTEBOOKS, progress_bar=False, stderr_file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="icl-") as folder:  # a short path, as sockets want it
        sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        try:
            papermill.execute_notebook(notebook, target, parameters, config=sockets, **options)
        except papermill.PapermillExecutionError as error:
            traceback = strip_ansi("\n".join(error.traceback))
            sys.exit(f"{traceback}\n\n{target}: {error.ename}: {error.evalue}")


def main() -> None:
    """Executes a notebook of notebooks/; its parameters stand in its cell of parameters."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")
    parser = argparse.ArgumentParser(
        prog="python -m icl_report.execute", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("notebook", help="its name, without .py; comes first")
    parser.add_argument("target", type=Path, help="where the executed notebook is written")
    given, _ = parser.parse_known_args()
    source = NOTEBOOKS / f"{given.notebook}.py"
    if not source.is_file():
        names = ", ".join(sorted(path.stem for path in NOTEBOOKS.glob("*.py")))
        parser.error(f"no notebook {given.notebook!r}; there are {names}")
    notebook = jupytext.read(source)
    if "kernelspec" not in notebook.metadata:
        parser.error(f"{source} lacks jupytext's header: copy the first 12 lines of a chapter")
    defaults = parameters_of(notebook)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    values = vars(parser.parse_args())
    signal.signal(signal.SIGTERM, interrupt)
    changed = {name: values[name] for name, own in defaults.items() if values[name] != own}
    execute(notebook, given.target, changed)


if __name__ == "__main__":
    main()
