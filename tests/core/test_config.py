"""Bad parameters are named before anything is trained; a setup is what its name says."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_core.config import BASES, CHOICES, Config, ConfigError
from icl_core.encodings import VARIANTS

UP_TO = "an integer ≥ 1 and ≤ "
RATE = "a number > 0 and ≤ 100"
TEXT = "this is a text, write it as a number"
BAD = [  # the parameters, the one that is to blame, what the message says is accepted
    ({"b": 0}, "b", UP_TO + "100"),
    ({"b": 101}, "b", UP_TO + "100"),
    ({"b": 2.5}, "b", UP_TO + "100"),
    ({"b": True}, "b", UP_TO + "100"),
    ({"b": None}, "b", UP_TO + "100"),
    ({"b": "5"}, "b", TEXT),
    ({"seed": -1}, "seed", "an integer ≥ 0 and ≤ 4294967295"),
    ({"seed": 2**32}, "seed", "an integer ≥ 0 and ≤ 4294967295"),
    ({"lr": math.nan}, "lr", RATE),
    ({"lr": math.inf}, "lr", RATE),
    ({"lr": 0.0}, "lr", RATE),
    ({"lr": 101}, "lr", RATE),
    ({"lr": True}, "lr", RATE),
    ({"lr": "5e-4"}, "lr", RATE),
    ({"lr": "5e-4"}, "lr", TEXT),
    ({"d": 0}, "d", UP_TO + "1000"),
    ({"n_examples": 0}, "n_examples", UP_TO + "10000"),
    ({"n_layers": 0}, "n_layers", UP_TO + "100"),
    ({"n_heads": 0}, "n_heads", UP_TO + "1000000"),
    ({"mlp_width": -4}, "mlp_width", UP_TO + "1000000"),
    ({"width": 0}, "width", "an integer ≥ 2 and ≤ 8192"),
    ({"width": 66}, "width", "a multiple of 2 · n_heads = 8"),
    ({"width": 63, "n_heads": 3}, "width", "a multiple of 2 · n_heads = 6"),
    ({"n_heads": True}, "n_heads", UP_TO + "1000000"),
    ({"batch_size": 0}, "batch_size", UP_TO + "1000000"),
    ({"steps": 0}, "steps", UP_TO + "10000000"),
    ({"log_every": 0}, "log_every", UP_TO + "1000000"),
    ({"probe_every": 0}, "probe_every", UP_TO + "1000000"),
    ({"final_norm": 1}, "final_norm", "a valid boolean"),
    ({"table_std": -0.02}, "table_std", "a number > 0"),
    ({"sinusoid_base": 0.0}, "sinusoid_base", "a number > 0"),
    ({"curve_prompts": 2000}, "evaluation_prompts", "at least curve_prompts = 2000"),
    ({"variant": "SPE+CM"}, "variant", "'SPE + CM'"),
    ({"variant": None}, "variant", "'SPE + CM'"),
    ({"objective": "all tokens"}, "objective", "'random k'"),
    ({"function_class": "trees"}, "function_class", "'tree'"),
    ({"gelu": "erf"}, "gelu", "'exact' or 'tanh'"),
    ({"injection": "last"}, "injection", "'every' or 'first'"),
    ({"init": "gpt-2"}, "init", "'pytorch' or 'gpt2'"),
    ({"random_numbers": "jax"}, "random_numbers", "'torch' or 'numpy'"),
    ({"device": "tpu"}, "device", "one of cpu"),
    ({"device": "cuda:99"}, "device", "one of cpu"),
    ({"device": 0}, "device", "a valid string"),
]


@pytest.mark.parametrize(("parameters", "name", "accepted"), BAD, ids=str)
def test_a_bad_parameter_is_named_with_its_value_and_the_accepted_range(parameters, name, accepted):
    with pytest.raises(ConfigError) as raised:
        Config(**parameters)
    message = str(raised.value)
    value = parameters.get(name, Config.model_fields[name].default)
    assert message.startswith("1 bad parameter, nothing was trained:\n")
    assert f"\n  {name} = {value!r}: must be " in message
    assert accepted in message.split(": must be ", 1)[1]


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError) as raised:
        Config(b=0, seed=-1, sed=3, lr=math.nan, width=7, n_heads=0, variant="X", gelu="erf")
    message = str(raised.value)
    assert message.startswith("8 bad parameters, nothing was trained:\n")
    for start in ("b = 0", "seed = -1", "sed", "lr = nan", "width = 7", "variant = 'X'"):
        assert f"\n  {start}: " in message


def test_a_misspelt_parameter_is_refused_with_the_names_there_are():
    """Ignored, ``sed = 3`` would train seed 42 and record it as what was asked for."""
    with pytest.raises(ConfigError, match="sed: no such parameter") as raised:
        Config(sed=3)
    assert all(name in str(raised.value) for name in Config.model_fields)


@pytest.mark.parametrize(
    "setup",
    [
        *("sauce", "", "Source", "source+d6", "source+", "d5", "+d5", "source +d5", None, 5),
        *("../../elsewhere", "source+../../elsewhere", ["source"]),
    ],
)
def test_an_unknown_setup_is_refused_with_the_names_there_are(setup):
    with pytest.raises(ConfigError) as raised:
        Config(setup=setup)
    message = str(raised.value)
    assert message.startswith(f"setup = {setup!r}: must be one of ")
    assert all(name in message for name in (*BASES, *CHOICES))


@pytest.mark.parametrize("setup", ["source", "source+d5"])
@pytest.mark.parametrize("kind", ["sparse", "network", "tree"])
def test_a_function_class_that_torch_s_random_numbers_do_not_have_is_refused(setup, kind):
    """The source's prompts are linear: trained on them, the record would be of another class."""
    with pytest.raises(ConfigError, match="random_numbers"):
        Config(setup=setup, function_class=kind)
    assert Config(setup=setup, function_class=kind, random_numbers="numpy").function_class == kind


def test_cuda_is_refused_where_there_is_no_gpu_and_accepted_where_there_is(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"device = 'cuda': must be one of cpu, which"):
        Config(device="cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert Config(device="cuda").device == "cuda" and Config(device="cuda:0").device == "cuda:0"
    with pytest.raises(ConfigError, match="one of cpu, cuda, cuda:0,"):
        Config(device="cuda:1")


def test_a_config_cannot_be_changed_after_it_was_checked():
    with pytest.raises(ValueError, match="frozen"):
        Config().b = 0


SOURCE = {  # EXPERIMENT.md, section 1
    **{"d": 8, "n_examples": 63, "width": 64, "n_layers": 2, "n_heads": 4, "mlp_width": 256},
    **{"attention_in_residual": False, "final_norm": False, "gelu": "exact", "init": "pytorch"},
    **{"injection": "every", "sinusoid_base": math.log(10_000), "table_std": 1.0},
    **{"scalar_read_out": False, "small_read_in": False, "objective": "all", "lr": 5e-4},
    **{"function_class": "linear", "steps": 7_500, "batch_size": 64, "random_numbers": "torch"},
    **{"log_every": 75, "probe_every": 1_500, "curve_prompts": 512, "evaluation_prompts": 1280},
    "loss_over_d": True,
}
GPT2 = SOURCE | {  # section 2
    **{"d": 5, "steps": 10_000, "attention_in_residual": True, "final_norm": True},
    **{"gelu": "tanh", "init": "gpt2", "sinusoid_base": 10_000.0, "table_std": 0.02},
    **{"scalar_read_out": True, "random_numbers": "numpy", "log_every": 100, "probe_every": 2_000},
    "loss_over_d": False,
}


@pytest.mark.parametrize(("setup", "expected"), [("source", SOURCE), ("gpt2", GPT2)])
def test_the_two_setups_are_those_of_the_experiment(setup, expected):
    others = {"setup": setup, "variant": "none", "b": 1, "seed": 42, "device": "cpu"}
    assert Config(setup=setup).model_dump() == expected | others
    assert Config(setup=setup).n_tokens == 127


EXCHANGED = [
    ("source+attention-in-residual", {"attention_in_residual": True}),
    ("source+final-norm", {"final_norm": True}),
    ("source+gpt2-init", {"init": "gpt2"}),
    ("source+d5", {"d": 5}),
    ("source+small-table", {"table_std": 0.02}),
    ("source+base-10000", {"sinusoid_base": 10_000.0}),
    ("gpt2+query", {"objective": "query"}),
    ("gpt2+random-k", {"objective": "random k"}),
    ("gpt2+all-random-k", {"objective": "all, random k"}),
    ("gpt2+hidden", {"objective": "hidden"}),
    ("gpt2+small-read-in", {"small_read_in": True}),
    ("gpt2+first-iteration", {"injection": "first"}),
    ("source+d5+query", {"d": 5, "objective": "query"}),
]


@pytest.mark.parametrize(("setup", "changes"), EXCHANGED)
def test_a_choice_exchanges_what_it_is_named_after_and_nothing_else(setup, changes):
    before = Config(setup=setup.split("+")[0]).model_dump()
    after = Config(setup=setup).model_dump()
    differing = {name: value for name, value in after.items() if before[name] != value}
    assert differing == {"setup": setup, **changes}


@pytest.mark.parametrize("kind", ["linear", "sparse", "network", "tree"])
def test_a_function_class_is_smaller_in_the_textbook_s_setup(kind):
    small, full = Config(setup=f"gpt2+{kind}"), Config(setup="gpt2")
    assert (small.function_class, small.d, small.n_examples) == (kind, 4, 20)
    assert (small.steps, small.lr, small.log_every) == (2_000, 1e-3, 50)
    same = {"gelu", "init", "final_norm", "random_numbers", "width", "batch_size", "objective"}
    assert all(getattr(small, name) == getattr(full, name) for name in same)


def test_what_is_given_wins_over_the_setup():
    config = Config(setup="gpt2+tree", d=7, steps=30, gelu="exact")
    assert (config.d, config.steps, config.gelu, config.n_examples) == (7, 30, "exact", 20)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("choice", [None, *CHOICES])
def test_every_base_with_every_choice_is_a_config_or_says_why_not(base, choice):
    setup = f"{base}+{choice}" if choice else base
    bent = choice in ("sparse", "network", "tree")
    try:
        config = Config(setup=setup)
    except ConfigError:
        assert bent and base != "gpt2"
    else:
        assert config.setup == setup and not (bent and config.random_numbers == "torch")


@pytest.mark.parametrize(
    ("variant", "folder", "encoding", "mask"),
    [
        ("none", "none", "", ""),
        ("CM", "cm", "", "CM"),
        ("PM", "pm", "", "PM"),
        ("SPE", "spe", "SPE", ""),
        ("SPE + CM", "spe_cm", "SPE", "CM"),
        ("LPE large + PM", "lpe_large_pm", "LPE large", "PM"),
        ("pair + TPE + CM", "pair_tpe_cm", "pair + TPE", "CM"),
        ("RoPE", "rope", "RoPE", ""),
    ],
)
def test_a_run_has_its_place(variant, folder, encoding, mask):
    config = Config(setup="source+d5", variant=variant, b=5, seed=7)
    assert config.place == f"source+d5/{folder}/b5-seed7"
    assert (config.encoding, config.mask) == (encoding, mask)


def test_no_two_variants_have_one_folder():
    """Nor on a disk that does not tell capitals; none leaves its setup's folder."""
    names = [Config(variant=variant).place.split("/")[1] for variant in VARIANTS]
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.replace("_", "").isalnum() for name in names)


@st.composite
def parameters(draw):
    """Any valid parameters on a CPU, as keyword arguments."""
    n_heads, curve_prompts = draw(st.integers(1, 9)), draw(st.integers(1, 600))
    return {
        "setup": draw(st.sampled_from(["source", "gpt2", "smoke", "source+d5", "gpt2+tree"])),
        "variant": draw(st.sampled_from(list(VARIANTS))),
        "b": draw(st.integers(1, 100)),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "n_heads": n_heads,
        "width": 2 * n_heads * draw(st.integers(1, 30)),
        "lr": draw(st.floats(0, 100, exclude_min=True)),
        "table_std": draw(st.floats(0, 1e6, exclude_min=True)),
        "steps": draw(st.integers(1, 10_000_000)),
        "final_norm": draw(st.booleans()),
        "curve_prompts": curve_prompts,
        "evaluation_prompts": curve_prompts + draw(st.integers(0, 600)),
    }


@given(parameters())
def test_any_valid_config_survives_json(parameters):
    """config.json is how a recorded run is recognised: not a digit of lr may get lost."""
    config = Config(**parameters)
    assert all(getattr(config, name) == value for name, value in parameters.items())
    again = Config(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config and again.digest() == config.digest()


CHANGED = {
    **{"setup": "smoke+d5", "variant": "CM", "b": 2, "seed": 1, "d": 3, "n_examples": 6},
    **{"function_class": "tree", "objective": "query", "n_layers": 3, "n_heads": 1, "width": 12},
    **{"mlp_width": 33, "attention_in_residual": True, "final_norm": True, "gelu": "tanh"},
    **{"injection": "first", "sinusoid_base": 10_000.0, "scalar_read_out": True, "init": "gpt2"},
    **{"table_std": 0.02, "small_read_in": True, "batch_size": 9, "lr": math.nextafter(5e-4, 1)},
    **{"steps": 50, "random_numbers": "numpy", "log_every": 20, "probe_every": 7},
    **{"curve_prompts": 17, "evaluation_prompts": 33, "device": "cuda", "loss_over_d": False},
}


@pytest.mark.parametrize("name", Config.model_fields)
def test_the_digest_changes_with_every_field(name):
    """A field left out of it would let one run resume from another's checkpoint."""
    config = Config(setup="smoke")
    changed = config.model_copy(update={name: CHANGED[name]})
    assert changed.digest() != config.digest()
    same_experiment = name in ("b", "seed", "device")
    assert (changed.comparable() == config.comparable()) == same_experiment
