"""The runs of a list are trained in its order; what is recorded or held by another is left out."""

import logging
import sys

import pytest
import yaml

from icl_core import fill, records, training
from icl_core.config import Config, ConfigError

BLOCKS = [
    {"setups": ["smoke"], "variants": ["SPE", "CM"], "b": [1], "seeds": [3, 4]},
    {"setups": ["smoke"], "variants": ["none"], "b": [1], "seeds": [0]},
]


@pytest.fixture
def start(tmp_path, monkeypatch, few_prompts):
    """start(blocks) -> the places trained, in order."""

    def start(blocks=BLOCKS):
        path, trained = tmp_path / "list.yaml", []
        path.write_text(yaml.safe_dump({"blocks": blocks}))
        run = training.run

        def watched(config, out):
            made = run(config, out)
            trained.append(config.place)
            return made

        with monkeypatch.context() as patch:
            patch.setattr(training, "run", watched)
            patch.setattr(sys, "argv", ["fill", str(path), "--out", str(tmp_path)])
            fill.main()
        return trained

    return start


PLACES = ["spe/b1-seed3", "cm/b1-seed3", "spe/b1-seed4", "cm/b1-seed4", "none/b1-seed0"]
EXPECTED = [f"smoke/{place}" for place in PLACES]


def test_a_block_has_every_seed_then_every_b_setup_and_variant(tmp_path):
    block = {"setups": ["smoke", "smoke+d5"], "variants": ["SPE", "CM"], "b": [2, 1]}
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"blocks": [block | {"seeds": [4, 3]}]}))
    assert [config.place for config in fill.listed(tmp_path / "list.yaml")] == [
        f"{setup}/{variant}/b{b}-seed{seed}"
        for seed in (4, 3)
        for b in (2, 1)
        for setup in ("smoke", "smoke+d5")
        for variant in ("spe", "cm")
    ]


def test_runs_are_trained_block_by_block_and_seed_by_seed_and_once(tmp_path, start):
    assert start() == EXPECTED
    assert all((tmp_path / "data" / place / "SHA256SUMS").is_file() for place in EXPECTED)
    assert start() == []


def test_what_is_recorded_or_trained_by_another_is_left_out(tmp_path, start, caplog):
    out = str(tmp_path)
    held = Config(setup="smoke", variant="CM", b=1, seed=3)
    training.run(Config(setup="smoke", variant="SPE", b=1, seed=3), out)
    lock = records.work_folder(out, held).with_suffix(".lock")
    with caplog.at_level(logging.INFO), records.held(lock):
        assert start() == EXPECTED[2:]
    assert "smoke/cm/b1-seed3: another process trains it" in caplog.text
    assert start() == [EXPECTED[1]]


@pytest.mark.parametrize("bad", [{"variants": ["SPE+CM"]}, {"b": [0]}, {"setups": ["sauce"]}])
def test_a_list_with_a_mistake_trains_nothing(tmp_path, start, bad):
    """Found at the end of a night, it would have cost the night."""
    with pytest.raises(ConfigError):
        start([*BLOCKS, BLOCKS[1] | bad])
    assert not (tmp_path / "data").exists()


def test_the_project_s_list_begins_with_the_source_s_runs():
    """All 36: b = 1 of every seed first."""
    configs = list(fill.listed(records.PROJECT / "grids" / "records.yaml"))
    assert len({config.place for config in configs}) == len(configs)
    source = [(config.b, config.seed, config.variant) for config in configs[:36]]
    assert {config.setup for config in configs[:36]} == {"source"}
    assert [own[:2] for own in source] == [
        (b, seed) for b in (1, 5) for seed in (42, 451, 1984) for _ in range(6)
    ]
    six = {"none", "CM", "SPE", "LPE", "SPE + CM", "LPE + CM"}
    assert all({own[2] for own in source[i : i + 6]} == six for i in range(0, 36, 6))
