# The grid as a DAG: a run is a notebook in one setup at one (b, seed), which reads what data/ holds.
# make report, make grid: --configfile grids/….yaml; --config out=… replaces a value of the grid.
# Rules' outputs lie in build/ only, made whenever asked for: file times mean nothing in a clone.
import os
import shlex
import sys
from itertools import product
from pathlib import Path

if "notebooks" not in config:
    configfile: "grids/full.yaml"
OUT = Path(config.get("out") or sys.exit("out has no value: the project's own is .")).expanduser()
AXES = ("setups", "b", "seeds")
RUN = "build/runs/{notebook}/{setup}-b{b}-seed{seed}"
RUNS = {  # notebook -> its runs in the grid's order
    name: [dict(setup=s, b=b, seed=e) for s, b, e in product(*(own.get(x, []) for x in AXES))]
    for name, own in config["notebooks"].items()
}
ALL = [OUT / f"{RUN}.ipynb".format(notebook=n, **run) for n, runs in RUNS.items() for run in runs]

# One thread a run, and idle ones must not spin; a step's memory is kept for the next.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
os.environ.update(MALLOC_MMAP_THRESHOLD_=str(2**30), MALLOC_TRIM_THRESHOLD_=str(2**33))


def command(module, *words):
    """The command that runs a module of icl_report."""
    return shlex.join([sys.executable, "-m", f"icl_report.{module}", *map(str, words)])


def execute(target, notebook, **run):
    """The command that executes a notebook for a run."""
    run |= {key: config[key] for key in ("out", "device") if key in config}
    return command("execute", notebook, target, *(f"--{key}={run[key]}" for key in run))


def earlier(w):
    """The same run in the notebook before: they share variants, so one waits for the other."""
    same = [path for path in ALL if path.name == f"{w.setup}-b{w.b}-seed{w.seed}.ipynb"]
    return same[: [path.parent.name for path in same].index(w.notebook)][-1:]


def pages(wildcards):
    """The commands that execute each notebook at its first run, store it and build the pages."""
    commands, stored = [], {n: OUT / f"notebooks/{n}.ipynb" for n in RUNS}
    for notebook, runs in RUNS.items():
        executed = OUT / f"build/{notebook}.ipynb"
        commands.append(execute(executed, notebook, **(runs or [{}])[0]))
        commands.append(command("stored", executed, stored[notebook], OUT / "figures"))
    shown = [f"{config['notebooks'][n].get('page', 'appendix')}={stored[n]}" for n in RUNS]
    commands.append(command("pages", OUT / "report", *shown))
    if (OUT / "README.md").exists():
        commands.append(command("readme", OUT, *sorted(stored.values())))
    return "\n".join(commands)


rule report:
    input: ALL
    params: commands=pages
    log: OUT / "build/report.log"
    message: f"the report, in {OUT}/report: it takes some minutes, its log is {OUT}/build/report.log"
    shell: "( {params.commands}\n) > {log:q} 2>&1"


use rule report as recorded with:
    input: []


rule grid:
    input: ALL


rule run:
    input: earlier
    output: OUT / f"{RUN}.ipynb"
    params: command=lambda wildcards, output: execute(output, **wildcards)
    log: OUT / f"{RUN}.log"
    wildcard_constraints: b=r"\d+", seed=r"\d+"
    message: "{wildcards.notebook}, {wildcards.setup}, b = {wildcards.b}, seed = {wildcards.seed}; its log is {log}"
    shell: "{params.command} > {log:q} 2>&1"
