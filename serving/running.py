"""The running batch of one model: what the whiteboard shows between two graph runs, without threads, queues or clocks."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.decoding.beam import SearchBatch
from serving.decoding.constraints import Constraint
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.request import Finished, Progress
from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors
from serving.decoding.tensors import joined
from serving.memory import MemoryPool
from serving.spent import NOTHING


@dataclass(frozen=True)
class Admission:
    """A request that joins: its id, and how to search for its answer; `source_length` 0 is as long as its memory."""

    request: int
    options: DecodingOptions
    constraint: Constraint | None
    source_length: int = 0


class RunningBatch:
    """The requests one model is working on: their searches, their memory, and the states of their rows.

    Attributes:
        step_count: graph runs since it was made.
        spent: what they and the work between them took, added to by who has a clock.
    """

    def __init__(self, model: Model, special: SpecialTokens) -> None:
        self._model = model
        self._search = SearchBatch(special)
        self._memory = MemoryPool()
        self._states: list[Tensors] = []  # what the last step left, then what has joined since
        self.step_count = 0
        self.spent = NOTHING
        self._slots: dict[int, int] = {}  # request -> its source's slot

    @property
    def row_count(self) -> int:
        """Return how many rows the next step takes on."""
        return self._search.row_count

    @property
    def request_count(self) -> int:
        """Return how many requests are in the batch."""
        return self._search.request_count

    def admit(self, admissions: Sequence[Admission], encoded: Encoded) -> None:
        """Let requests take part from the next step on; `encoded` holds their sources in the same order."""
        slots, lengths = self._memory.add(encoded.memory)
        self._states.append(encoded.state)
        for admission, slot, length in zip(admissions, slots, lengths, strict=True):
            self._slots[admission.request] = slot
            source_length = admission.source_length or length
            self._search.add(admission.request, slot, admission.options, admission.constraint, source_length)

    def step(self) -> list[Finished]:
        """Run the graph once and take every request one token on; return those that are over, already evicted."""
        return self.select(self.run(self.prepare()))

    def prepare(self) -> StepInputs:
        """Return what the next graph run is to do: the first third of `step`."""
        return self._search.inputs()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Run the graph on what `prepare` gave."""
        outputs, state = self._model.step(
            inputs, self._memory.tensors, self._joined_states(), attention=self._search.wants_attention
        )
        self._states = [state]
        self.step_count += 1
        return outputs

    def select(self, outputs: StepOutputs) -> list[Finished]:
        """Take every request one token on by what `run` gave; return those that are over, already evicted."""
        finished = self._search.select(outputs)
        for over in finished:
            self._memory.release(self._slots.pop(over.request))
        return finished

    def remove(self, request: int) -> None:
        """Evict a request before its end; its rows take no further part."""
        if request in self._slots:
            self._search.remove(request)
            self._memory.release(self._slots.pop(request))

    def stop(self, request: int) -> Finished:
        """Evict a request before its end, with the best it has found so far; see `SearchBatch.stop`."""
        finished = self._search.stop(request)
        self._memory.release(self._slots.pop(request))
        return finished

    def progress(self, request: int) -> Progress:
        """Return how far a request has come."""
        return self._search.progress(request)

    def _joined_states(self) -> Tensors:
        """Return all states in one set of tensors; copies only when somebody has joined."""
        if len(self._states) == 1:
            return self._states[0]
        return {name: joined([state[name] for state in self._states]) for name in self._states[0]}
