"""One training update: the loss of a batch and its gradient, eager, compiled or as a CUDA graph."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.latent_model import Model
from isthmus.objective import Objective
from isthmus.random_streams import Recorder, Replay, current_stream, draw_now, drawing_from, is_ours, seeded
from isthmus.train.cuda_graph import CudaGraphStep
from isthmus.train.device_data import DeviceDataset
from isthmus.train.optimizer import FlatOptimizer
from isthmus.train.recorded_step import CannotRecord, RecordedStep, calls_others, home_of

MAX_REASON_LENGTH = 160
"""Characters of a compiler's message that an error repeats."""


class Step(nn.Module):
    """The forward pass of an update as one module, which can be traced and compiled."""

    def __init__(self, model: Model, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    @property
    def names(self) -> list[str]:
        """Names of the recorded values: the loss, each term, and the critics' loss if there is one."""
        return ["loss", *self.objective.names, *(["critic_loss"] if self.objective.has_aside else [])]

    @property
    def critic_parameters(self) -> list[nn.Parameter]:
        """Parameters of the second player: those of the critics that the model does not have."""
        models = {id(parameter) for parameter in self.model.parameters()}
        return [p for critic in self.objective.critics for p in critic.parameters() if id(p) not in models]

    @property
    def is_ours(self) -> bool:
        """Whether no network and no term is a user's own, which might draw from torch's global generators."""
        functions = [function for term in self.objective.terms for function in term.functions]
        return is_ours(self) and all(home_of(function).startswith("isthmus.") for function in functions)

    def forward(self, batch: Batch, progress: Tensor, train: bool = True) -> tuple[Tensor, list[Tensor]]:
        """The loss to minimise, and the values to record in the order of `names`, on the device.

        One backward pass serves both players: the loss is the objective plus the asides, in each of which the other
        player is held fixed. The recorded "loss" leaves out asides and terms with a critic.

        Args:
            batch: the rows.
            progress: training progress, 0-dimensional, from 0 to 1.
            train: False on validation rows, where asides are not computed.
        """
        out = self.model(batch, self.objective.draws, train=train)
        total, values = self.objective(self.model, batch, out, progress)
        selection = self.objective.selection_loss(values, progress) if self.objective.critics else total
        aside = self.objective.asides(self.model, batch, out) if train else None
        if aside is None:
            return total, [selection, *values]
        return total + aside, [selection, *values, aside]


class FunctionalStep:
    """A step and its gradient as a pure function of flat buffers: compiled, it builds no autograd graph.

    Args:
        step: the step.
        names: the parameters that lie end to end in the buffers, which are one, or several of different dtypes.
        shapes: their shapes.
    """

    def __init__(self, step: Step, names: Sequence[str], shapes: Sequence[torch.Size]):
        self.step, self.names, self.shapes = step, names, shapes
        self.sizes = [shape.numel() for shape in shapes]

    def pieces(self, flats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Views of the buffers as parameters by name."""
        sizes, views = iter(self.sizes), []
        for flat in flats:
            here, left = [], flat.numel()
            while left:
                here.append(next(sizes))
                left -= here[-1]
            views += flat.split(here)
        return {name: view.view(shape) for name, view, shape in zip(self.names, views, self.shapes, strict=True)}

    def __call__(
        self,
        flats: Sequence[Tensor],
        buffers: dict[str, Tensor],
        batch: Batch,
        progress: Tensor,
        noise: Sequence[Tensor] = (),
    ) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """The gradients with respect to `flats`, the recorded values, and the buffers after the step.

        Args:
            flats: the parameters end to end.
            buffers: of the step, by name.
            batch, progress: as for the step.
            noise: the random numbers that the step draws, in its order: no graph can draw from a generator of ours.
        """

        def loss_of(flats: list[Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, tuple[Any, dict[str, Tensor]]]:
            with drawing_from(Replay(noise)):
                loss, values = torch.func.functional_call(self.step, (self.pieces(flats), buffers), (batch, progress))
            return loss, ([v.detach() for v in values], {k: b.detach() for k, b in buffers.items()})

        # A trace would lose what is written to buffers in place: clones are written to, and returned.
        clones = {name: buffer.clone() for name, buffer in buffers.items()}
        grads, (values, updated) = torch.func.grad(loss_of, has_aux=True)(list(flats), clones)
        return grads, values, updated

    @torch.no_grad()
    def graph(
        self,
        flats: Sequence[Tensor],
        buffers: dict[str, Tensor],
        batch: Batch,
        progress: Tensor,
        noise: Sequence[Tensor],
    ) -> tuple[GraphModule, list[Any]]:
        """The same for inputs of these shapes as a graph without modules, and the inputs that it takes.

        Returns:
            The graph, from tensors one after the other to a list of the results, and these inputs as it takes them:
            `flats`, buffers, progress, what there is of the batch, and noise.
        """
        from torch.fx.experimental.proxy_tensor import make_fx  # the compiler takes a second to import

        def of_tensors(*tensors: Tensor) -> list[Tensor]:
            remaining = iter(tensors)
            weights = [next(remaining) for _ in flats]
            named = {name: next(remaining) for name in buffers}
            at = next(remaining)
            rows = Batch._make(None if part is None else next(remaining) for part in batch)
            grads, values, updated = self(weights, named, rows, at, list(remaining))
            return [*grads, *values, *updated.values()]

        inputs = [*flats, *buffers.values(), progress, *(part for part in batch if part is not None), *noise]
        return make_fx(of_tensors)(*inputs), inputs

    def compiled(
        self, flats: Sequence[Tensor], buffers: dict[str, Tensor], *others: Any
    ) -> Callable[[Batch, Sequence[Tensor]], tuple[list[Tensor], list[Tensor], list[Tensor]]]:
        """The same for inputs of these shapes as machine code: a function of a batch and noise.

        The checks of `torch.compile` and its calls from Python take a third of a small step's time.

        Args:
            flats, buffers, others: the inputs of `graph`.
        """
        from torch._inductor import standalone_compile

        graph, inputs = self.graph(flats, buffers, *others)
        # Random numbers as in the eager step, those of torch's global generator too: both give the same weights.
        options = {"fallback_random": True, "cpp_wrapper": flats[0].device.type == "cpu"}
        with torch.no_grad():
            code = standalone_compile(graph, inputs, options={"config_patches": options})
        fixed = inputs[: len(flats) + len(buffers) + 1]
        ends = len(flats), len(flats) + len(self.step.names)

        def call(batch: Batch, noise: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
            results = code(*fixed, *(part for part in batch if part is not None), *noise)
            return results[: ends[0]], results[ends[0] : ends[1]], results[ends[1] :]

        return call


class Update:
    """One update of the weights from the indices of a batch. Everything that it reads lies in tensors that stay.

    Args:
        step: model and objective.
        optimizer: the optimizer over the step's parameters.
        rows: the training rows.
        batch_size: rows per update.
    """

    def __init__(self, step: Step, optimizer: FlatOptimizer, rows: DeviceDataset, batch_size: int):
        self.step, self.optimizer, self.rows, self.batch_size = step, optimizer, rows, batch_size
        # 0-dimensional tensors: a Python number would be a constant of the graph.
        self.progress = torch.zeros((), dtype=rows.dtype, device=rows.device)
        self.rate = torch.zeros((), dtype=torch.float32, device=rows.device)
        self.sums = [torch.zeros((), dtype=rows.dtype, device=rows.device) for _ in step.names]  # of recorded values
        self.run: Callable[[Tensor], None] = self._eager

    def __call__(self, index: Tensor, progress: float, rate: float) -> None:
        """Update the weights by the rows `index` (B,) and add the recorded values to `sums`."""
        self.progress.fill_(progress)
        self.rate.fill_(rate)
        self.run(index)

    def buffers(self) -> dict[str, Tensor]:
        """Buffers of the model and the objective by name."""
        return {f"buffer/{name}": buffer for name, buffer in self.step.named_buffers()}

    def _eager(self, index: Tensor) -> None:
        loss, values = self.step(self.rows.batch(index), self.progress)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.read_grad()
        self.optimizer.step(self.rate)
        torch._foreach_add_(self.sums, [v.detach() for v in values])

    def _recorded(self) -> Callable[[Tensor], None]:
        step, rows, optimizer, sums, rate = self.step, self.rows, self.optimizer, self.sums, self.rate
        first = torch.arange(self.batch_size, device=rows.device)
        others, state = len(rows) - 1 - first, list(self.buffers().values())  # no update is applied

        def run(batch: Batch) -> tuple[Tensor, list[Tensor]]:
            return step(batch, self.progress)

        with self._unchanged(state):
            recorded = RecordedStep(run, optimizer.parameters, rows.batch(first))
        # What depends on anything else than the tensors shows in other rows, at another time.
        self.progress.fill_(0.5)
        with self._unchanged(state):
            loss, values = run(rows.batch(others))
            grads = torch.autograd.grad(loss, optimizer.parameters, allow_unused=True)
            expected = [*grads, *values, *(buffer.clone() for buffer in state)]
        with self._unchanged(state):
            replayed = [*recorded(rows.batch(others)), *recorded.values, *state]
            if not all(map(_same, replayed, expected)):
                raise CannotRecord("replayed on other rows, it gives other numbers than the step")

        @torch.no_grad()
        def update(index: Tensor) -> None:
            optimizer.read_grad(recorded(rows.batch(index)))
            optimizer.step(rate)
            torch._foreach_add_(sums, recorded.values)

        return update

    def _compiled(self) -> Callable[[Tensor], None]:
        shapes = [p.shape for p in self.optimizer.parameters]
        buffers = dict(self.step.named_buffers())
        example = self.rows.batch(torch.arange(self.batch_size, device=self.rows.device))
        recorder = Recorder()
        with drawing_from(recorder):
            self.step(example, self.progress)
        functional = FunctionalStep(self.step, self.optimizer.names, shapes)
        noise = [draw.empty() for draw in recorder.draws]
        flats = self.optimizer.computed_with()
        call = functional.compiled(flats, buffers, example, self.progress, noise)

        @torch.no_grad()
        def run(index: Tensor) -> None:
            batch, noise = self.rows.batch(index), [draw_now(draw) for draw in recorder.draws]
            grads, values, updated = call(batch, noise)
            self.optimizer.set_grad(grads)
            if buffers:
                torch._foreach_copy_(list(buffers.values()), updated)
            self.optimizer.step(self.rate)
            torch._foreach_add_(self.sums, values)

        return run

    def prepare(self, compile: bool, required: bool = True) -> None:
        """Compile or record the update; the state stays as it is.

        On a GPU the update is recorded as a CUDA graph, on a CPU as a list of operations, wherever that can be done.

        Args:
            compile: whether to compile.
            required: whether a step that cannot be compiled is an error; else training goes on without, with a warning.

        Raises:
            InputError: if the step cannot be compiled but must be, or the two players are not held apart.
        """
        if self.step.objective.critics:
            self.check_players()
        index = torch.arange(self.batch_size, device=self.rows.device)
        state = self._state()
        if compile:
            try:
                with self._unchanged(state):
                    self.run = self._compiled()
                    self.run(index)
            except Exception as error:  # compilers raise errors of many types, in many lines
                reason = f"The step could not be compiled ({_one_line(error)})"
                if required:
                    raise InputError(f"{reason}. Pass compile=False.") from error
                warnings.warn(f"{reason}; training goes on uncompiled, which is slower.", UserWarning, stacklevel=2)
                self.run = self._eager
        if self.rows.device.type == "cuda":
            try:
                self.run = CudaGraphStep(self.run, index, state)
            except RuntimeError as error:  # a user's network may synchronise with the GPU, which no graph can record
                warnings.warn(f"Training without a CUDA graph, which is slower: {_one_line(error)}", stacklevel=2)
        elif self.rows.device.type == "cpu" and self.run == self._eager and self._can_be_recorded():
            with contextlib.suppress(Exception):  # what is wrong with the step itself shows when it is run
                self.run = self._recorded()

    def _can_be_recorded(self) -> bool:
        """Whether an update consists of operations of torch alone, without code of others in between."""
        return self.step.is_ours and not calls_others(self.step)

    def _state(self) -> list[Tensor]:
        """Every tensor that an update writes to."""
        state = [*self.optimizer.state().values(), self.optimizer.nonfinite, *self.buffers().values(), *self.sums]
        return state if self.optimizer.copies is None else [*state, self.optimizer.copies.low]

    @contextlib.contextmanager
    def _unchanged(self, state: list[Tensor]) -> Iterator[None]:
        """Restore the state and the random generators at the end of the context."""
        backup, stream = [tensor.clone() for tensor in state], current_stream()
        generators = stream.state(self.rows.device)
        try:
            yield
        finally:
            _restore(state, backup)
            stream.restore(generators, self.rows.device)

    def check_players(self) -> None:
        """Check on one batch that no player's loss passes a gradient to the other player.

        Raises:
            InputError: if a term trains its critic, or its aside trains the model.
        """
        critic = [p for p in self.step.critic_parameters if p.requires_grad]
        in_critic = {id(p) for p in critic}
        model = [p for p in self.step.parameters() if p.requires_grad and id(p) not in in_critic]
        buffers = list(self.buffers().values())
        backup = [buffer.clone() for buffer in buffers]
        objective = self.step.objective
        with seeded(0):
            batch = self.rows.batch(torch.arange(self.batch_size, device=self.rows.device))
            out = self.step.model(batch, objective.draws, train=True)
            for term in objective.terms:
                if _passes_gradient(term(self.step.model, batch, out), critic):
                    raise InputError(
                        f"term {term.name!r} must hold the critic fixed, got a gradient with respect to its "
                        "parameters. Call it as frozen(critic)."
                    )
                if term.critic is None or term.aside is None:
                    continue
                if _passes_gradient(term.aside(self.step.model, batch, out).mean(), model):
                    raise InputError(
                        f"the aside of term {term.name!r} must hold the model fixed, got a gradient with respect to "
                        "its parameters. Detach the tensors of the pass that it reads."
                    )
        _restore(buffers, backup)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether both are None, or equal to the last bit."""
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _passes_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> bool:
    if not loss.requires_grad or not parameters:
        return False
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(grad is not None and bool(grad.any()) for grad in grads)


@torch.no_grad()
def _restore(tensors: list[Tensor], backup: list[Tensor]) -> None:
    for tensor, value in zip(tensors, backup):
        tensor.copy_(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:MAX_REASON_LENGTH]
