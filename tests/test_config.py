"""Bad parameters are named before anything is trained; good ones keep their identity."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_report.config import ABLATIONS, VARIANTS, Config, ConfigError, Variant, notebook_parameters

COUNT = "an integer ≥ 1"
UP_TO = "an integer ≥ 1 and ≤ "
NAMES = ABLATIONS["1_position_and_mask"]
BAD = [  # the parameters, the one that is to blame, what the message says is accepted
    ({"b": 0}, "b", UP_TO + "100"),
    ({"b": 101}, "b", UP_TO + "100"),
    ({"b": 2.5}, "b", UP_TO + "100"),
    ({"b": True}, "b", UP_TO + "100"),
    ({"b": "5"}, "b", UP_TO + "100"),
    ({"b": None}, "b", UP_TO + "100"),
    ({"seed": -1}, "seed", "an integer ≥ 0 and < 4294967296"),
    ({"seed": 2**32}, "seed", "an integer ≥ 0 and < 4294967296"),
    ({"lr": math.nan}, "lr", "a finite number > 0 and ≤ 100"),
    ({"lr": math.inf}, "lr", "a finite number > 0 and ≤ 100"),
    ({"lr": 0.0}, "lr", "a finite number > 0 and ≤ 100"),
    ({"lr": "5e-4"}, "lr", "a finite number > 0 and ≤ 100"),
    ({"lr": True}, "lr", "a finite number > 0 and ≤ 100"),
    ({"n_examples": 0}, "n_examples", UP_TO + "10000"),
    ({"d": 0}, "d", UP_TO + "1000"),
    ({"n_layers": 0}, "n_layers", UP_TO + "100"),
    ({"n_heads": 0}, "n_heads", COUNT),
    ({"mlp_width": -4}, "mlp_width", COUNT),
    ({"batch_size": 0}, "batch_size", COUNT),
    ({"width": 0}, "width", "an integer ≥ 2 and ≤ 8192"),
    ({"width": 66, "n_heads": 4}, "width", "a multiple of 2 · n_heads = 8"),
    ({"width": 63, "n_heads": 3}, "width", "a multiple of 2 · n_heads = 6"),
    ({"steps": 0}, "steps", UP_TO + "10000000"),
    ({"steps": 250, "log_every": 100}, "log_every", "a divisor of steps = 250"),
    ({"steps": 50, "log_every": 100}, "log_every", "a divisor of steps = 50"),
    ({"curve_prompts": 2000}, "evaluation_prompts", "at least curve_prompts = 2000"),
    ({"variants": ("CM", "ROPE")}, "variants", ", ".join(NAMES)),
    ({"variants": ("CM", "CM")}, "variants", "at most once"),
    ({"variants": ("sinusoidal",)}, "variants", ", ".join(NAMES)),
    ({"variants": 5}, "variants", "a list of names, each of SPE + CM"),
    ({"variants": None}, "variants", "a list of names, each of SPE + CM"),
    ({"ablation": "positions"}, "ablation", "1_position_and_mask"),
    ({"device": "tpu"}, "device", "cpu"),
    ({"device": "cuda:99"}, "device", "cpu"),
    ({"device": 0}, "device", "a valid string"),
]


@pytest.mark.parametrize(("parameters", "name", "accepted"), BAD, ids=str)
def test_a_bad_parameter_is_named_with_its_value_and_the_accepted_range(parameters, name, accepted):
    """A message that omits one of the three sends the reader to the source code."""
    with pytest.raises(ConfigError) as raised:
        Config(**parameters)
    message = str(raised.value)
    value = parameters.get(name, Config.model_fields[name].default)
    assert "1 bad parameter, nothing was trained" in message
    assert f"\n  {name} = {value!r}: must be " in message
    assert accepted in message.split(": must be ", 1)[1]


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    """Found out before the first step, with what there is; accepted where there is one."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"device = 'cuda': must be one of cpu\b"):
        Config(device="cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert Config(device="cuda").device == "cuda" and Config(device="cuda:0").device == "cuda:0"
    with pytest.raises(ConfigError, match="one of cpu, cuda:0,"):
        Config(device="cuda:1")


def test_a_misspelt_parameter_is_refused_with_the_names_there_are():
    """Ignored, ``sed = 3`` would train seed 0 and record it as what was asked for."""
    with pytest.raises(ConfigError) as raised:
        Config(sed=3)
    message = str(raised.value)
    assert "sed: no such parameter" in message
    assert all(name in message for name in Config.model_fields)


def test_all_problems_are_named_at_once():
    """One at a time would cost a start of the notebook each."""
    with pytest.raises(ConfigError) as raised:
        Config(b=0, seed=-1, sed=3, lr=math.nan, width=7, steps=55, log_every=10, variants=("X",))
    message = str(raised.value)
    assert message.startswith("7 bad parameters")
    for start in ("b = 0", "seed = -1", "sed", "lr = nan", "width = 7", "log_every = 10"):
        assert f"\n  {start}: " in message
    assert "\n  variants = ('X',): " in message


def test_a_config_cannot_be_changed_after_it_was_checked(tiny):
    """A frozen config is what its digest says, however long ago that was taken."""
    with pytest.raises(ValueError, match="frozen"):
        tiny().b = 0


def test_variants_are_the_six_of_the_experiment():
    """The names of the experiment's table, each an encoding × a mask, in its order."""
    assert Config().variants == ("SPE + CM", "LPE + CM", "CM", "SPE", "LPE", "none")
    assert Config().stack == (
        Variant("sinusoidal", "causal"),
        Variant("learned", "causal"),
        Variant("none", "causal"),
        Variant("sinusoidal", "none"),
        Variant("learned", "none"),
        Variant("none", "none"),
    )
    assert Config().n_tokens == 127
    assert all(variant.name == name for name, variant in VARIANTS.items())


@st.composite
def configs(draw):
    """Any valid parameters on a CPU, as keyword arguments."""
    n_heads, log_every = draw(st.integers(1, 9)), draw(st.integers(1, 500))
    curve_prompts = draw(st.integers(1, 600))
    return {
        "b": draw(st.integers(1, 100)),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "variants": draw(st.lists(st.sampled_from(NAMES), unique=True).map(tuple)),
        "n_layers": draw(st.integers(1, 100)),
        "n_heads": n_heads,
        "width": 2 * n_heads * draw(st.integers(1, 30)),
        "mlp_width": draw(st.integers(1, 5000)),
        "d": draw(st.integers(1, 1000)),
        "n_examples": draw(st.integers(1, 10_000)),
        "batch_size": draw(st.integers(1, 5000)),
        "lr": draw(st.floats(0, 100, exclude_min=True)),
        "steps": log_every * draw(st.integers(1, 100)),
        "log_every": log_every,
        "curve_prompts": curve_prompts,
        "evaluation_prompts": curve_prompts + draw(st.integers(0, 600)),
    }


@given(configs())
def test_any_valid_config_survives_json(parameters):
    """config.json is how a finished run is recognised: not a digit of lr may get lost."""
    config = Config(**parameters)
    for name, value in parameters.items():
        assert getattr(config, name) == (NAMES if value == () else value)
    again = Config(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.digest() == config.digest()


CHANGED = {
    "b": 2,
    "seed": 1,
    "variants": ("LPE", "CM"),  # the order counts: it is the order of the weights
    "n_layers": 3,
    "n_heads": 1,
    "width": 18,
    "mlp_width": 33,
    "d": 3,
    "function_class": "tree",
    "n_examples": 6,
    "batch_size": 9,
    "lr": math.nextafter(5e-4, 1),
    "steps": 50,
    "log_every": 20,
    "curve_prompts": 17,
    "evaluation_prompts": 33,
    "device": "cuda",
    "ablation": "another",
}


@pytest.mark.parametrize("name", Config.model_fields)
def test_the_digest_changes_with_every_field(tiny, name):
    """A field left out of the digest would let one run resume from another's checkpoint."""
    config = tiny()
    changed = config.model_copy(update={name: CHANGED[name]})
    assert changed.digest() != config.digest()
    same_place = name in ("b", "seed", "device")
    assert (changed.comparable() == config.comparable()) == same_place


def notebook(*cells, **namespace):
    """A running notebook's namespace: In starts with '' and ends with the running cell."""
    return {"In": ["", *cells, "Config(**notebook_parameters(globals()))"], **namespace}


def test_notebook_parameters_finds_a_misspelt_name_wherever_parameters_are_assigned():
    """Papermill injects a cell after the notebook's own; only warns about names it knows not."""
    own = 'b: int = 1  # loop iterations\nseed: int = 0\nlr = 5e-4\ndevice = "cpu"'
    values = {"b": 1, "seed": 0, "lr": 5e-4, "device": "cpu"}
    right = notebook("import torch", own, torch=None, **values)
    assert notebook_parameters(right) == values
    injected = notebook("import torch", own, "# Parameters\nsed = 3\nb = 5", **values, sed=3)
    assert notebook_parameters(injected) == values | {"sed": 3}
    typed = notebook("import torch", own + "\nsed = 3", **values, sed=3)
    assert notebook_parameters(typed) == values | {"sed": 3}
    with pytest.raises(ConfigError, match="sed: no such parameter"):
        Config(**notebook_parameters(injected))


def test_notebook_parameters_takes_the_values_of_the_namespace_not_of_the_text():
    """The injected cell runs after the notebook's own: the later value is the one that counts."""
    namespace = notebook("import torch", "b: int = 1", "b = 5", b=5)
    assert notebook_parameters(namespace) == {"b": 5}


def test_the_check_can_run_again_after_the_notebook_has():
    """What later cells computed are no parameters, even where a cell only assigns."""
    namespace = notebook("b = 5", "run = train(b)\nleft, right = run", b=5, run=1, left=2, right=3)
    assert notebook_parameters(namespace) == {"b": 5}


def test_papermills_nan_is_a_parameter():
    """papermill writes it as a call."""
    nan = float("nan")
    namespace = notebook("lr = 5e-4", "# Parameters\nlr = float('nan')\nsed = -1\n", lr=nan, sed=-1)
    assert notebook_parameters(namespace) == {"lr": nan, "sed": -1}


@pytest.mark.parametrize(
    "cell", ["import math\nhelper = 3", "helper = 3\nprint(helper)", "%matplotlib inline", ""]
)
def test_notebook_parameters_ignores_what_other_cells_assign(cell):
    """A cell that does more than assign is no parameters cell, nor is anything before it."""
    namespace = notebook("earlier = 1", cell, "b = 5", b=5, helper=3, earlier=1)
    assert notebook_parameters(namespace) == {"b": 5}
