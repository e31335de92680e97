"""Beside CTranslate2: a converted Transformer-Tiny of Multi30k, offline, one sentence at a time, and as a server.

Both sides search with a beam of 5, each with the length penalty that its model is used with. The peer's folder (`--peer`) holds
`spm8k.model` and `ct2_tv_int8`; `python -m benchmarks.peers.make_ctranslate2` makes one. Its settings are the best of a trial
before anything counts.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sacremoses import MosesTokenizer

from beamstep.bench.prepared import Prepared
from benchmarks.peers.apart.files import INT8, PIECES
from benchmarks.peers.asked import BEAM_SIZE, translations
from benchmarks.peers.environments import environment
from benchmarks.peers.load import MANY, Loads, loads
from benchmarks.peers.other_process import ROOT, Other, other
from benchmarks.peers.sentences import Sentences, sentences
from benchmarks.peers.sides import ALONE_SHARE, OURS, RATE, ours
from benchmarks.peers.sides import P50 as ONE_P50
from benchmarks.peers.table import Effort, Figures, Group, Measure, NotMeasuredError, Ratio, Sides, Table
from benchmarks.serving_process import ServingProcess, running
from export.evaluation.translation_metrics import lower_moses_tokens

BUNDLE: Final = "translation-en-de/1"
ENVIRONMENT: Final = "ctranslate2"
BATCHES: Final = (8, 16, 32)
"""Of which the peer has the best."""
SINGLE: Final = 200
"""Sentences asked one at a time, in every repeat other ones."""
TRIAL_SHARE: Final = 0.5
"""Of a load's seconds, for a trial."""

PEER: Final = "CTranslate2, int8"
PEER_RAW: Final = "CTranslate2, int8, and Moses' rules"
TWICE: Final = f"{OURS}, 2 processes"

SPEED: Final = "sentences/s"
BATCH: Final = "batch of at most"
P50: Final = "p50, ms"
P95: Final = "p95, ms"
MANY_P99: Final = f"p99 of {MANY} clients, ms"
ONE_P95: Final = "p95 of one client, ms"


def peer_folder(effort: Effort) -> tuple[Path, Path]:
    """Return the peer's model and its sentencepiece model. NotMeasuredError where there is none."""
    hint = "python -m benchmarks.peers.make_ctranslate2 makes one"
    if effort.peer is None:
        raise NotMeasuredError(f"no --peer FOLDER was given; {hint}")
    model, pieces = effort.peer / INT8, effort.peer / PIECES
    for path in (model, pieces):
        if not path.exists():
            raise NotMeasuredError(f"--peer: {path} is not there; {hint}")
    return model.absolute(), pieces.absolute()


# ---- offline


@contextmanager
def offline(effort: Effort) -> Iterator[Sides]:
    """Load both, give both all sentences."""
    model, pieces = peer_folder(effort)
    text = sentences(effort.data)
    with ExitStack() as stack:
        peer = stack.enter_context(translator(model, pieces, 2))
        own = stack.enter_context(own_engine(effort))
        pair = [stack.enter_context(own_engine(effort, "--threads", "1")) for _ in range(2)]
        peer.ask("give", texts=text.texts)
        own.ask("give", texts=text.texts, beam_size=BEAM_SIZE)
        for place, half in enumerate(pair):
            half.ask("give", texts=text.texts[place::2], beam_size=BEAM_SIZE)
        batch = min(BATCHES, key=lambda size: peer.ask("all", batch=size, beam_size=BEAM_SIZE))
        measures: dict[str, Measure] = {
            PEER: lambda: _peer_offline(peer, batch, text),
            OURS: lambda: _own_offline(own, text),
            TWICE: lambda: _own_pair(pair, text),
        }
        yield Sides(measures, (peer.pid, own.pid, *(half.pid for half in pair)))


def _peer_offline(peer: Other, batch: int, text: Sentences) -> Figures:
    seconds = peer.ask("all", batch=batch, beam_size=BEAM_SIZE)
    return {SPEED: len(text.texts) / seconds, **text.bleu(peer.ask("texts")), BATCH: batch}


def _own_offline(own: Other, text: Sentences) -> Figures:
    seconds = own.ask("all")
    return {SPEED: len(text.texts) / seconds, **text.bleu(own.ask("texts"))}


def _own_pair(pair: Sequence[Other], text: Sentences) -> Figures:
    """Have two processes translate every second sentence each; the slower one's time counts."""
    for half in pair:
        half.begin("all")
    seconds = max(half.end() for half in pair)
    answers = [""] * len(text.texts)
    for place, half in enumerate(pair):
        answers[place::2] = half.ask("texts")
    return {SPEED: len(text.texts) / seconds, **text.bleu(answers)}


def quality(found: Mapping[str, Figures]) -> Iterable[str]:
    """Yield what is to be said of the two models' quality beside their speed."""
    own, theirs = found[OURS].get("BLEU"), found[PEER].get("BLEU")
    if own is None or theirs is None:
        yield "No references, since no --data was given: nothing is said of quality"
        return
    better = "equal or better" if own >= theirs else "**worse**"
    yield f"Quality: ours is {better}, BLEU {own:.2f} beside {theirs:.2f}; another architecture, and other training"


# ---- one sentence at a time


@contextmanager
def singly(effort: Effort) -> Iterator[Sides]:
    """Load both, and ask them the same sentences, other ones in every repeat."""
    model, pieces = peer_folder(effort)
    texts = sentences(effort.data).texts
    with ExitStack() as stack:
        peer = stack.enter_context(translator(model, pieces, 1))
        own = stack.enter_context(own_engine(effort))
        peer.ask("give", texts=texts)
        own.ask("give", texts=texts, beam_size=BEAM_SIZE)
        measures: dict[str, Measure] = {
            PEER: _moving(lambda first: peer.ask("singly", first=first, count=SINGLE, beam_size=BEAM_SIZE), len(texts)),
            OURS: _moving(lambda first: own.ask("singly", first=first, count=SINGLE), len(texts)),
        }
        yield Sides(measures, (peer.pid, own.pid))


def _moving(ask: Callable[[int], Sequence[float]], count: int) -> Measure:
    """Return a measurement that goes on through the sentences each time."""
    starts = iter(range(0, 1_000_000_000, SINGLE))

    def measure() -> Figures:
        return latencies(ask(next(starts) % max(1, count - SINGLE + 1)))

    return measure


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {P50: 1e3 * cuts[9], P95: 1e3 * cuts[18]}


# ---- as a server


@contextmanager
def served(effort: Effort) -> Iterator[Sides]:
    """Start all servers, and load them in turn."""
    model, pieces = peer_folder(effort)
    python = environment(ENVIRONMENT)
    texts = sentences(effort.data).texts
    moses = MosesTokenizer(lang="en")
    plain = translations(texts)
    tokenised = translations([lower_moses_tokens(moses, text) for text in texts])
    with ExitStack() as stack:
        load = stack.enter_context(loads())
        trials: dict[int, float] = {}
        for most in BATCHES:
            with peer_server(python, model, pieces, ["--tokenised", "--most", str(most)]) as server:
                trials[most] = _trial(load, server, tokenised, effort)
        most = max(BATCHES, key=trials.__getitem__)
        opened = {
            PEER: (peer_server(python, model, pieces, ["--tokenised", "--most", str(most)]), tokenised),
            PEER_RAW: (peer_server(python, model, pieces, ["--most", str(most)]), plain),
            OURS: (ours(effort.models / BUNDLE, effort.serve), plain),
            TWICE: (ours(effort.models / BUNDLE, [*effort.serve, "--workers", "2"]), plain),
        }
        asked = {name: (stack.enter_context(server), calls) for name, (server, calls) in opened.items()}
        for server, calls in asked.values():  # so that nothing is measured for the first time
            _trial(load, server, calls, effort)
        measures = {
            name: _loading(
                load, server.address, calls, effort.seconds, {BATCH: most} if name in {PEER, PEER_RAW} else {}
            )
            for name, (server, calls) in asked.items()
        }
        pids = [pid for server, _ in asked.values() for pid in with_children(server.pid)]
        yield Sides(measures, (*load.pids, *pids))


def _trial(load: Loads, server: ServingProcess, calls: Sequence[Prepared], effort: Effort) -> float:
    """Return the answers a second of a short load."""
    return load.closed(server.address, calls, MANY, TRIAL_SHARE * effort.seconds, channels=MANY).per_second


def _loading(
    load: Loads, address: str, calls: Sequence[Prepared], seconds: float, more: Mapping[str, float]
) -> Measure:
    """Return a measurement of a server with many clients, then with one; every repeat draws other sentences."""
    seeds = itertools.count()

    def measure() -> Figures:
        seed = next(seeds)
        many = load.closed(address, calls, MANY, seconds, seed, channels=MANY)
        one = load.closed(address, calls, 1, ALONE_SHARE * seconds, seed)
        return {
            RATE: many.per_second,
            MANY_P99: many.percentile_ms(99),
            ONE_P50: one.percentile_ms(50),
            ONE_P95: one.percentile_ms(95),
            **more,
        }

    return measure


# ---- processes


def translator(model: Path, pieces: Path, inter: int) -> AbstractContextManager[Other]:
    """Run the peer, `inter` batches at a time on a thread each, within a block. NotMeasuredError where it cannot be installed."""
    python = environment(ENVIRONMENT)
    return other("benchmarks.peers.apart.translator", [str(model), str(pieces), "--inter", str(inter)], python)


def own_engine(effort: Effort, *options: str) -> AbstractContextManager[Other]:
    """Run our engine within a block."""
    return other("benchmarks.peers.own_engine", [str((effort.models / BUNDLE).absolute()), *options])


def peer_server(
    python: Path, model: Path, pieces: Path, options: Sequence[str]
) -> AbstractContextManager[ServingProcess]:
    """Serve the peer within a block."""
    command = ["env", f"PYTHONPATH={ROOT}", str(python), "-m", "benchmarks.peers.apart.translation_server"]
    return running(lambda host, port: [*command, str(model), str(pieces), f"{host}:{port}", *options])


def with_children(pid: int) -> list[int]:
    """Return a process and those that it started, such as workers; Linux only, elsewhere itself alone."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    return [pid, *map(int, children)]


TABLE: Final = Table(
    "ctranslate2",
    (
        Group(
            f"Offline: 1,000 sentences, beam {BEAM_SIZE}, cutting into pieces excluded",
            offline,
            (Ratio(SPEED, OURS, PEER, target=1), Ratio(SPEED, TWICE, PEER, target=1)),
            quality,
        ),
        Group(
            f"One sentence at a time, without a server, beam {BEAM_SIZE}",
            singly,
            (Ratio(P50, OURS, PEER, target=1, at_most=True),),
        ),
        Group(
            f"As a server, TranslateText, beam {BEAM_SIZE}",
            served,
            (
                Ratio(RATE, OURS, PEER, target=1),
                Ratio(RATE, TWICE, PEER, target=1),
                Ratio(ONE_P50, OURS, PEER, target=1, at_most=True),
            ),
        ),
    ),
)
