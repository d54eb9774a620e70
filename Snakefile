# The grid as a DAG: each (ablation, b, seed) that is not recorded yet is a run of the ablation's
# notebook; once all are in, the notebook is executed once more and becomes the report.
#
#   snakemake --cores 2 --configfile grids/quick.yaml             the grid, then its pages
#   snakemake --cores 2 --configfile grids/full.yaml grid         the missing runs alone
#   snakemake --cores 2 --configfile grids/full.yaml recorded     the pages of what is recorded
#   … --config out=build/elsewhere parameters='{device: cuda}'    a value of the grid, replaced
#
# profiles/default holds the options of every call. With --profile profiles/slurm each run is a
# SLURM job, which reads this file anew on its node.
#
# A run is done when its executed notebook lies beside its record in data/, whatever the file times
# say: a clone's mean nothing. Snakemake creates the folders of outputs early and deletes what a
# failed job leaves, so data/, notebooks/, figures/ and report/ are no outputs of a rule: it only
# knows files in build/. What a removed record may have left there does not count, because the
# default profile forces every run that is asked for.

import os
import shlex
import sys
from itertools import product
from pathlib import Path

import yaml

if "ablations" not in config:

    configfile: "grids/full.yaml"


OUT = Path(config["out"])
RUNS = {  # ablation -> the (b, seed) that the grid asks for, in its order
    ablation: list(product(runs["b"], runs["seeds"]))
    for ablation, runs in config["ablations"].items()
}
FIRST = "1_position_and_mask"
FIRST_RUNS = set(RUNS.get(FIRST, ()))
NOTEBOOK_DEFAULTS = {"out": ".", "b": 1, "seed": 0}
PYTHON = shlex.quote(sys.executable)

# One thread a run and --cores runs at a time beat any other split; idle threads must not spin. The
# memory of a step is kept for the next: to give it back and fault it in anew takes a tenth longer.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", TQDM_DISABLE="1")
os.environ.update(MALLOC_MMAP_THRESHOLD_=str(2**30), MALLOC_TRIM_THRESHOLD_=str(2**33))


def executed(ablation, b, seed):
    """The notebook of a run that Snakemake sees."""
    return OUT / f"build/runs/{ablation}/b{b}-seed{seed}.ipynb"


def kept(ablation, b, seed):
    """The same, cleaned, beside the run's record."""
    return OUT / f"data/{ablation}/b{b}-seed{seed}/notebook.ipynb"


def runs_with(name, ablation):
    """The (b, seed) of which data/ holds the file of that name, in order."""
    run = OUT / "data" / ablation / r"b{b,\d+}-seed{seed,\d+}" / name
    found = glob_wildcards(str(run))
    return sorted((int(b), int(seed)) for b, seed in zip(found.b, found.seed))


def recorded_runs(ablation):
    """The (b, seed) that a report can be made from; the fourth notebook measures the first's."""
    measures = ablation == "4_lengths_and_loops"
    return runs_with("config.json", FIRST if measures else ablation)


def missing(wildcards):
    """What the grid asks for and data/ lacks."""
    return [
        executed(ablation, *run)
        for ablation, runs in RUNS.items()
        for run in runs
        if not kept(ablation, *run).exists()
    ]


def earlier(wildcards):
    """The first ablation's run of the same b and seed, if missing: the others take from it."""
    first = FIRST, int(wildcards.b), int(wildcards.seed)
    asked = wildcards.ablation != FIRST and first[1:] in FIRST_RUNS
    return [executed(*first)] if asked and not kept(*first).exists() else []


def execute(ablation, b, seed, target):
    """The command that executes a notebook for one run.

    Parameters at the notebook's defaults are not passed, so that the recorded report is the
    notebook as it stands, without a cell of injected parameters.
    """
    own = config["ablations"].get(ablation, {}).get("parameters", {})
    parameters = {"out": str(OUT), "b": b, "seed": seed, **config["parameters"], **own}
    changed = {k: v for k, v in parameters.items() if v != NOTEBOOK_DEFAULTS.get(k)}
    return (
        f"{PYTHON} -m jupytext --quiet --to ipynb --output - notebooks/{ablation}.py | "
        f"{PYTHON} -m icl_report.execute - {target} --parameters_yaml "
        f"{shlex.quote(yaml.dump(changed))}"
        " --kernel python3 --cwd notebooks --stderr-file /dev/stderr --no-progress-bar"
    )


def write_report(runs_of):
    """The commands that write the final notebooks, close-ups of their first run, and the pages."""
    commands, notebooks = [f"mkdir -p {OUT}/notebooks"], []
    for ablation in RUNS:
        runs = runs_of(ablation)
        if not runs:
            continue
        last, final = OUT / f"build/{ablation}.ipynb", OUT / f"notebooks/{ablation}.ipynb"
        commands.append(execute(ablation, *runs[0], last))
        commands.append(f"{PYTHON} -m icl_report.pages clean {last} {final}")
        notebooks.append(str(final))
    if not notebooks:
        sys.exit(
            f"no recorded runs in {OUT / 'data'}/; "
            "`make report GRID=quick` trains a small grid first"
        )
    last, summary = OUT / "build/0_summary.ipynb", OUT / "notebooks/0_summary.ipynb"
    commands.append(execute("0_summary", 1, 0, last))  # it reads the verdicts of the others
    commands.append(f"{PYTHON} -m icl_report.pages clean {last} {summary}")
    commands.append(f"{PYTHON} -m icl_report.pages build {OUT} {summary} {' '.join(notebooks)}")
    if OUT == Path("."):  # README tells of the recorded runs, not of a small grid
        for readme, language in (("README.md", "en"), ("README.ru.md", "ru")):
            headline = f"{PYTHON} -m icl_report.pages headline {summary} {readme} {language}"
            commands.append(headline)
    return "\n".join(commands)


rule report:
    input:
        missing,
    params:
        commands=lambda wildcards: write_report(RUNS.get),
    log:
        OUT / "build/report.log",
    message:
        "the report over the grid's runs"
    shell:
        "( {params.commands}\n) > {log} 2>&1; ls {OUT}/report/report.*.html"


use rule report as recorded with:
    input:
        [],
    params:
        commands=lambda wildcards: write_report(recorded_runs),
    message:
        "the report over the recorded runs"


rule grid:
    input:
        missing,
    message:
        "all of the grid's runs are recorded"


rule run:
    input:
        earlier,
    output:
        OUT / "build/runs/{ablation}/b{b}-seed{seed}.ipynb",
    params:
        command=lambda wildcards, output: execute(
            wildcards.ablation, int(wildcards.b), int(wildcards.seed), output
        ),
        kept=lambda wildcards: kept(**wildcards),
    log:
        OUT / "build/runs/{ablation}/b{b}-seed{seed}.log",
    wildcard_constraints:
        b=r"\d+",
        seed=r"\d+",
    message:
        "the run {wildcards.ablation}, b = {wildcards.b}, seed = {wildcards.seed}; its log is {log}"
    shell:
        "( {params.command} && {PYTHON} -m icl_report.pages clean {output} {params.kept} ) "
        "> {log} 2>&1"
