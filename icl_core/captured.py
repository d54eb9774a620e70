"""The step on a GPU: batches drawn ahead by a thread, kernels captured once and then replayed.

On a CPU it is not used, and would give the same bits. ICL_CAPTURE=0 leaves out the capture alone.
"""

import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from icl_core import objectives
from icl_core.config import Config
from icl_core.sampler import Draws, Prompts

logger = logging.getLogger(__name__)
BLOCK = 50  # steps whose batches are drawn, and sent to the device, together
WARM_UP = 3  # steps before the capture, in which libraries and the allocator set themselves up


def for_device(draws: Draws, update: Callable, descend: Callable) -> tuple:
    """The draws and the function of a step that suit the run's device: on a CPU these two."""
    if draws.config.device == "cpu":
        return draws, update
    torch.set_float32_matmul_precision("highest")  # no TF32: a GPU's losses are a CPU's
    torch.backends.cudnn.allow_tf32 = False
    return Ahead(draws), Step(descend)


class Ahead:
    """A run's draws; while the device is at work, a thread draws the batches that come next.

    Never past a check, which is drawn from the same random numbers, in between.
    """

    def __init__(self, draws: Draws):
        self.draws, self.config = draws, draws.config
        self.steps, self.step = range(0), 0  # those that are on the device; the next one
        self.batches, self.states = None, []
        self.coming: Future | None = None  # their batches on the host, and random states
        # A thread of its own counts its threads anew: one, as elsewhere in a run.
        self.thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        sys.setswitchinterval(1e-4)  # drawing is Python: else the GPU waits for it 5 ms at a time

    @property
    def generator(self) -> torch.Generator:
        """The random numbers as the steps taken left them, whatever is drawn ahead."""
        if self.step in self.steps:
            return torch.Generator().set_state(self.states[self.step - self.steps.start])
        if self.coming:
            return torch.Generator().set_state(self.coming.result()[1][0])
        return self.draws.generator

    def check(self) -> Prompts:
        """As Draws.check; nothing is drawn ahead then."""
        return self.draws.check()

    def batch(self, step: int) -> Prompts:
        """As Draws.batch, on the device."""
        if step not in self.steps:
            (tokens, answers), self.states = (self.coming or self._begin(step)).result()
            self.steps = range(step, step + len(self.states))
            device = self.config.device
            self.batches = [own.to(device, non_blocking=True) for own in (tokens, answers)]
            last, every = self.steps.stop, self.config.probe_every
            self.coming = self._begin(last) if last % every and last < self.config.steps else None
        self.step = step + 1
        return Prompts(*(own[step - self.steps.start] for own in self.batches))

    def _begin(self, first: int) -> Future:
        """Starts the drawing of a block, which ends with the steps or where a check is due."""
        config, every = self.config, self.config.probe_every
        n_steps = min(first + BLOCK, first // every * every + every, config.steps) - first
        pinned = torch.device(config.device).type == "cuda"  # copied while the GPU goes on
        shapes = (config.n_tokens, config.d), (config.n_examples + 1,)
        size = n_steps, config.batch_size
        block = [torch.empty(*size, *shape, pin_memory=pinned) for shape in shapes]
        return self.thread.submit(self._draw, first, block)

    def _draw(self, first: int, block: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        states = []
        for step, own in enumerate(zip(*block), start=first):
            states.append(self.draws.generator.get_state())
            for there, drawn in zip(own, self.draws.batch(step)):
                there.copy_(drawn)
        return block, states


class Step:
    """training.update with its batch in buffers that stay, so that a graph can read it there.

    A graph serves steps that ask alike: shapes, a slice of rows, the very same change of scores.
    After others it is captured anew; where every step asks for something else there is none.
    """

    def __init__(self, descend: Callable):
        self.descend, self.asked, self.graph, self.taken, self.loss = descend, None, None, 0, None

    def __call__(self, config: Config, model, optimiser, draws, step: int) -> Tensor:
        asked = objectives.asked(draws.batch(step), config, step)
        if self.asked is None or not _alike(asked, self.asked):
            self.graph, self.taken = None, 0  # the graph goes first: its buffers are let go
            self.asked = asked._replace(tokens=asked.tokens.clone(), answers=asked.answers.clone())
        else:
            self.asked.tokens.copy_(asked.tokens)
            self.asked.answers.copy_(asked.answers)

        def body():
            self.loss = self.descend(config, model, optimiser, self.asked)

        if self.taken == WARM_UP:
            self.graph = capture(body, config)
        self.taken += 1
        self.graph.replay() if self.graph else body()
        return self.loss


def _alike(ours: objectives.Asked, theirs: objectives.Asked) -> bool:
    return (
        isinstance(ours.rows, slice)
        and ours.rows == theirs.rows
        and ours.change is theirs.change
        and ours.tokens.shape == theirs.tokens.shape
        and ours.answers.shape == theirs.answers.shape
    )


def capture(body: Callable[[], None], config: Config) -> torch.cuda.CUDAGraph | None:
    """The graph of what body does, which is not done; None on a CPU, or where it can't be had."""
    if torch.device(config.device).type != "cuda" or os.environ.get("ICL_CAPTURE") == "0":
        return None
    graph = torch.cuda.CUDAGraph()
    try:
        # The first goes back to the stream that was, even if the second, beside a thread, fails to.
        stay, alone = torch.cuda.stream(torch.cuda.current_stream()), "thread_local"
        with stay, torch.cuda.graph(graph, capture_error_mode=alone):
            body()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        logger.warning("%s: not captured, each kernel is launched anew: %s", config.place, reason)
        return None
    return graph
