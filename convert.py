"""Turns the first edition's 27 runs, a stack of variants each, into 195 records, one a variant.

Writes data/gpt2*/, if there is none, then reads it again and compares; refuses any difference.
"""

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from icl_core import records
from icl_core.config import Config
from icl_core.model import LoopedTransformer
from icl_report.config import ENCODINGS, FULL_SIZE, MASKS, VARIANTS
from icl_report.config import Config as OldConfig
from icl_report.model import variant_weights

DATA = records.PROJECT / "data"
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
MEASURED = {"elsewhere.csv", "planted.csv", "prompt_errors.csv", "shares.csv"}
TABLES = {"curves.csv", "errors.csv", "leak.csv"} | MEASURED
# What a variant changed, in its old fields and at the end of its old name -> its setup.
CHANGES = {"query": "query", "random k": "random-k", "all, random k": "all-random-k"}
CHANGES |= {"hidden": "hidden", "small": "small-read-in", "first": "first-iteration"}
ENDS = {f"gpt2+{new}": f" ({old})" for old, new in CHANGES.items()}
ENDS |= {"gpt2+small-read-in": " (small read-in)", "gpt2+first-iteration": " (first iteration)"}


def must(be: bool, *what) -> None:
    if not be:
        raise SystemExit(f"REFUSED: {' '.join(map(str, what))}")


def old_runs() -> dict[str, tuple[Path, dict]]:
    """Name -> folder, config.json; each file there must be known, and as SHA256SUMS has it."""
    runs = {}
    for folder in sorted(path.parent for path in DATA.glob("[1-8]_*/b*-seed*/config.json")):
        sums = records.read_sums(folder)
        names = {path.name for path in folder.iterdir()} - {"notebook.ipynb", records.SUMS}
        must(names == sums.keys() <= {CONFIG, WEIGHTS} | TABLES, folder, "holds", names)
        must(all(records.sha256(folder / n) == s for n, s in sums.items()), folder, "is damaged")
        runs["/".join(folder.parts[-2:])] = folder, json.loads((folder / CONFIG).read_text())
    return runs


# First pass: from the old classes to the new ones.
def write() -> None:
    own, copies = {}, []
    for run, (folder, made) in old_runs().items():
        old, stacks = OldConfig(**made["config"]), load_file(folder / WEIGHTS)
        paths = [folder / name for name in sorted(TABLES) if (folder / name).exists()]
        tables = {p.name: pd.read_csv(p, dtype=str, keep_default_na=False) for p in paths}
        for i, variant in enumerate(old.variants):
            config = new_config(old, variant)
            weights = new_weights(variant_weights(stacks, old.stack, i), config)
            new = [new_table(n, t[t.variant == variant], config.b) for n, t in tables.items()]
            made_by = {
                **{"libraries": made["libraries"], "commit": made["commit"], "kernel": None},
                **{"slurm_job_id": made.get("slurm_job_id"), "wall_seconds": None},
                "steps_per_second": made["variant_steps_per_second"],
                "diverged": made["diverged"].get(variant),
                "converted_from": {"run": run, "wall_seconds_of_the_run": made["wall_seconds"]},
            }
            part = config, made_by, {n: t for n, t in new if len(t)}, {WEIGHTS: weights}
            if variant in made.get("taken_over", {}):
                copies.append(((made["taken_over"][variant], variant), part))
            else:
                own[run, variant] = part
    for key, (config, _, new, _) in copies:
        must(key in own and own[key][0] == config, key, "is not what a copy was taken from")
        own[key][2].update(new | own[key][2])  # what only the copy has; check() compares the rest
    must((len(own), len(copies)) == (195, 41), len(own), "records and", len(copies), "copies")
    places = {records.run_folder(".", config) for config, *_ in own.values()}
    must(len(places) == len(own), "two records would have one place")
    for part in own.values():
        records.write_run(".", *part)  # the tables' text stays as it is


def new_config(old: OldConfig, name: str) -> Config:
    """The variant's run; every parameter of the old one and of its variant is the new one's."""
    theirs = VARIANTS[name]
    changes = [CHANGES[field] for field in theirs[2:] if field not in ("all", "default", "every")]
    changes += [] if old.ablation in FULL_SIZE else [old.function_class]
    must(len(changes) < 2, name, "changes", changes)
    parts = {"encoding": ENCODINGS[theirs.encoding], "mask": MASKS[theirs.mask]}
    own = {"variant": " + ".join(filter(None, parts.values())) or "none", "device": old.device}
    config = Config(setup="+".join(["gpt2", *changes]), b=old.b, seed=old.seed, **own)
    changed = {"objective": theirs.loss, "small_read_in": theirs.read_in == "small"}
    expected = old.model_dump(exclude={"ablation", "variants"}) | parts | changed
    for field, value in (expected | {"injection": theirs.injection}).items():
        must(getattr(config, field) == value, config.place, field, "is not", value)
    return config


def new_weights(single: dict, config: Config) -> dict:
    """A stack of one as the new model's parameters: (in, out) becomes (out, in), q|k|v one."""
    new = {}
    for name, tensor in single.items():
        if name.startswith("encodings."):
            both = name == "encodings.pairs and types.types"
            new[f"encoding.{'types' if both else 'rows'}.weight"] = tensor[0].contiguous()
        elif name.endswith("weight"):
            new[name] = tensor[0].t().contiguous()
        else:
            new[name.replace(".gain", ".weight")] = tensor.flatten()
    for name in [name for name in new if ".query." in name]:
        parts = [new.pop(name), new.pop(name.replace("query", "key_value"))]
        new[name.replace("query", "qkv")] = torch.cat(parts)
    shapes = {name: p.shape for name, p in LoopedTransformer(config).named_parameters()}
    must({name: w.shape for name, w in new.items()} == shapes, config.place, "other parameters")
    return new


def new_table(name: str, rows: pd.DataFrame, b: int) -> tuple[str, pd.DataFrame]:
    rows = rows.drop(columns="variant")
    if name == "curves.csv":  # the mean over one iteration is the last; over five it wasn't kept
        rows = rows.assign(mean_iteration_error=rows.target_error if b == 1 else "nan")
    if name == "leak.csv":
        rows = rows.rename(columns={"weight": "x_to_y"})
        rows.insert(4, "y_to_x", "nan")
    name = name.replace("leak", "attention")
    must(list(rows.columns) == records.COLUMNS.get(name, list(rows.columns)), name, *rows.columns)
    return name, rows


# Second pass: from the new files back to the old ones, with none of the above but old_runs.
def new_runs() -> dict[tuple[str, str], records.Run]:
    """(old run, old variant) -> the record made of it."""
    runs = [records.read_run(folder) for folder in sorted(DATA.glob("gpt2*/*/b*-seed*/"))]
    runs = [(run.provenance.get("converted_from"), run) for run in runs]
    return {(f["run"], r.config.variant + ENDS.get(r.config.setup, "")): r for f, r in runs if f}


def check() -> None:
    new, counts, apart = new_runs(), Counter(), defaultdict(float)
    lines = defaultdict(lambda: defaultdict(dict))  # record -> file -> old run -> its lines
    for name, (folder, old) in old_runs().items():
        variants, taken = old["config"]["variants"], old.get("taken_over", {})
        keys = {variant: (taken.get(variant, name), variant) for variant in variants}
        must(new.keys() >= set(keys.values()), name, "was not converted")
        stacks, users, elements = load_file(folder / WEIGHTS), Counter(), 0
        for i, variant in enumerate(variants):
            weights = load_file(new[keys[variant]].folder / WEIGHTS)
            encoding = f"encodings.{VARIANTS[variant].encoding}."
            for tensor, stack in stacks.items():
                if tensor.startswith(encoding) or not tensor.startswith("encodings."):
                    theirs = stack[users[encoding] if tensor.startswith(encoding) else i]
                    must(torch.equal(back(weights, tensor, theirs.shape), theirs), name, tensor)
            users[encoding] += 1
            size = sum(w.numel() for w in weights.values())
            elements += size
            if variant not in taken:
                check_config(new[name, variant], old)
                counts.update(records=1, tensors=len(weights), elements=size)
            counts["copies"] += variant in taken
        must(elements == sum(s.numel() for s in stacks.values()), name, "has more or fewer numbers")
        for file in TABLES & {path.name for path in folder.iterdir()}:
            with open(folder / file, newline="") as text:
                (_, *head), *rows = csv.reader(text)
            head += ["mean_iteration_error"] if file == "curves.csv" else []
            head = [*head[:-1], "y_to_x", "x_to_y"] if file == "leak.csv" else head
            for variant, *row in rows:
                if file == "curves.csv":
                    row.append(row[-1] if old["config"]["b"] == 1 else "nan")
                if file == "leak.csv":
                    row.insert(4, "nan")
                own = lines[keys[variant]][file.replace("leak", "attention")]
                own.setdefault(name, [head]).append(row)
    must(lines.keys() == new.keys(), "there are other records")
    for key, run in new.items():
        there = {path.name for path in run.folder.iterdir()}
        must(there == {CONFIG, WEIGHTS, records.SUMS, *lines[key]}, run.folder, "holds", *there)
        for file, versions in lines[key].items():
            rows = versions.get(key[0]) or next(iter(versions.values()))
            text = "".join(",".join(row) + "\n" for row in rows)
            must((run.folder / file).read_text() == text, run.folder / file, "differs")
            counts.update({f"rows of {file}": len(rows) - 1, "tables of copies": len(versions) - 1})
            for other in versions.values():
                must(other == rows or file in MEASURED, key, file, "differs between copies")
                cells = [zip(*pair, strict=True) for pair in zip(rows, other, strict=True)]
                pairs = [(float(a), float(b)) for row in cells for a, b in row if a != b]
                apart[file] = max(apart[file], 0.0, *(abs(b / a - 1) for a, b in pairs))
    print(*(f"{count:10,} {name}" for name, count in counts.items()), sep="\n")
    print("largest relative difference between an original and a copy:", dict(apart))


def back(weights: dict, name: str, shape: torch.Size) -> torch.Tensor:
    """The old tensor of that name, from the new ones."""
    place, _, kind = name.rpartition(".")
    if place.startswith("encodings."):
        both = (place, kind) == ("encodings.pairs and types", "types")
        return weights["encoding.types.weight" if both else "encoding.rows.weight"]
    new = weights[re.sub("query|key_value", "qkv", place) + "." + kind.replace("gain", "weight")]
    parts = {"query": new[: len(new) // 3], "key_value": new[len(new) // 3 :]}
    new = parts.get(place.rpartition(".")[2], new)
    return new.T if kind == "weight" else new.reshape(shape)


def check_config(run: records.Run, old: dict) -> None:
    new = json.loads((run.folder / CONFIG).read_text())
    settings = {k: v for k, v in old["config"].items() if k not in ("ablation", "variants")}
    must(settings.items() <= new["config"].items(), run.folder, "was trained with", settings)
    of_class = new["config"]["setup"] == f"gpt2+{new['config']['function_class']}"
    must(of_class == old["config"]["ablation"].startswith("6"), run.folder, "is in another setup")
    ours = new | {"wall_seconds": new["converted_from"]["wall_seconds_of_the_run"]}
    ours |= {"variant_steps_per_second": new["steps_per_second"], "config": old["config"]}
    theirs = {"slurm_job_id": None} | old | {"diverged": old["diverged"] or None}
    for name in theirs.keys() - {"taken_over"}:
        must(ours[name] == theirs[name], run.folder, name)


if __name__ == "__main__":
    if not any(DATA.glob("gpt2*")):
        write()
    check()
