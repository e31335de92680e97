"""Trains the Transformer-Tiny of `marian` on Multi30k's English and German, and converts it: the peer that people lack.

    python -m benchmarks.peers.apart.marian_training --data DATA --output FOLDER --minutes 45

Dropout, label smoothing, and the mean of the weights at the end, as in Wu et al. 2021; Muon where they have Adam, with which 45
minutes came to a BLEU of 16 (docs/log.md). The rate rises for the first tenth of the time and falls to nothing until its end, so
that any number of minutes is a whole training.
"""

import argparse
import gzip
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ctranslate2
import torch
from sacremoses import MosesTokenizer
from torch import Tensor
from torch.nn import functional
from transformers import MarianMTModel

from benchmarks.peers.apart.batching import Pair, batches, padded
from benchmarks.peers.apart.files import ABOUT, FLOAT32, PIECES
from benchmarks.peers.apart.marian import END, NEVER, UNKNOWN, convert, make_model, save, train_pieces
from benchmarks.peers.apart.pieces import Pieces, lower_tokens
from training.optimizer import make_optimizer

DROPOUT: Final = 0.2
SMOOTHING: Final = 0.1
PEAK_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 0.02
RISE: Final = 1 / 10
"""Share of the time in which the learning rate rises."""
MEAN_FROM: Final = 0.75
"""Share of the time after which weights are taken for the mean."""
MEANS: Final = 10
"""How often."""
CLIP: Final = 1.0
COMPARED: Final = 100
ALIKE: Final = 95
"""Of the compared greedy answers; a tie of two tokens may fall otherwise in another arithmetic."""
SAY_S: Final = 20.0


class Disagreement(Exception):  # noqa: N818 - named by what it is, STYLE.md section 4
    """The converted model does not answer as the trained one."""


def train(data: Path, output: Path, minutes: float, seed: int) -> None:
    """Train, write and convert a model.

    Raises:
        Disagreement: CTranslate2's greedy answers are not PyTorch's.
    """
    torch.manual_seed(seed)
    output.mkdir(parents=True, exist_ok=True)
    texts = {side: read(data / "multi30k" / f"train.{side}.gz", side) for side in ("en", "de")}
    with tempfile.TemporaryDirectory() as scratch:
        file = train_pieces([*texts["en"], *texts["de"]], Path(scratch))
        pieces = Pieces(file)
        sides = [pieces.ids(texts[side]) for side in ("en", "de")]
        pairs = [Pair(*pair) for pair in zip(*sides, strict=True)]
        model = make_model(pieces.size, DROPOUT)
        answered = torch.tensor(sorted({END, UNKNOWN, *(token for pair in pairs for token in pair.target)}))
        steps, loss = fit(model, pairs, answered, 60 * minutes, random.Random(seed))
        model.final_logits_bias.fill_(NEVER)
        model.final_logits_bias[0, answered] = 0
        save(model.eval(), file, output)
    convert(output)
    alike = compare(model, output, read(data / "multi30k" / "val.en.gz", "en")[:COMPARED])
    about = {
        "minutes": minutes,
        "steps": steps,
        "loss": round(loss, 3),
        "seed": seed,
        "target_pieces": len(answered),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "greedy_answers_alike": f"{alike} of {COMPARED}",
    }
    (output / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    say(f"{output}: {about}")
    if alike < ALIKE:
        raise Disagreement(f"{alike} of {COMPARED} greedy answers of CTranslate2 are PyTorch's; allowed: from {ALIKE}")


def read(file: Path, language: str) -> list[str]:
    """Return the sentences of a file as lower-cased Moses tokens with spaces between."""
    moses = MosesTokenizer(lang=language)
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        return [lower_tokens(moses, line.rstrip("\n")) for line in lines]


def fit(
    model: MarianMTModel, pairs: Sequence[Pair], answered: Tensor, seconds: float, generator: random.Random
) -> tuple[int, float]:
    """Train for so many seconds, and leave the mean of the last weights in the model.

    Args:
        model: of random weights.
        pairs: what it learns.
        answered: (A,) ids that an answer may hold; no others are scored.
        seconds: how long.
        generator: of the order.

    Returns:
        how many steps there were, and the smoothed loss a token of the last of them.
    """
    optimizer = make_optimizer("muon", model, WEIGHT_DECAY)
    places = torch.zeros(model.config.vocab_size, dtype=torch.long)
    places[answered] = torch.arange(len(answered))
    mean, means, steps, running = [torch.zeros_like(weight) for weight in model.parameters()], 0, 0, 0.0
    began = said = time.monotonic()
    for batch in batches(pairs, model.config.pad_token_id, generator):
        done = (time.monotonic() - began) / seconds
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(done / RISE, (1 - done) / (1 - RISE))
        value = loss_of(model, *batch, answered, places)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        steps += 1
        running = value.item() if steps == 1 else 0.98 * running + 0.02 * value.item()
        if done >= MEAN_FROM + means * (1 - MEAN_FROM) / MEANS:
            means += 1
            torch._foreach_add_(mean, [weight.detach() for weight in model.parameters()])
        if time.monotonic() - said > SAY_S:
            said = time.monotonic()
            say(f"{done:.0%}: step {steps}, loss {running:.3f}")
    if means:
        with torch.no_grad():
            for weight, total in zip(model.parameters(), mean, strict=True):
                weight.copy_(total / means)
    return steps, running


def loss_of(model: MarianMTModel, source: Tensor, target: Tensor, answered: Tensor, places: Tensor) -> Tensor:
    """Return the smoothed cross-entropy of a target token.

    Args:
        model: training.
        source: (B, S) ids, filled up with pad.
        target: (B, T) likewise.
        answered: (A,) ids that are scored.
        places: (V,) each id's place among them.
    """
    pad = model.config.pad_token_id
    told = functional.pad(target, (1, 0), value=pad)[:, :-1]  # pad begins every answer, Marian's way
    hidden = model.model(
        input_ids=source, attention_mask=source != pad, decoder_input_ids=told, use_cache=False
    ).last_hidden_state  # (B, T, H)
    real = target != pad
    logits = functional.linear(hidden[real], model.model.shared.weight.index_select(0, answered))  # (tokens, A)
    return functional.cross_entropy(logits, places[target[real]], label_smoothing=SMOOTHING)


def compare(model: MarianMTModel, output: Path, lines: Sequence[str]) -> int:
    """Return how many sentences PyTorch and CTranslate2, both in float32, translate alike, greedily."""
    pieces = Pieces(output / PIECES)
    pad = model.config.pad_token_id
    source = padded(pieces.ids(lines), pad)
    with torch.inference_mode():
        found = model.generate(
            input_ids=source,
            attention_mask=source != pad,
            num_beams=1,
            do_sample=False,
            min_new_tokens=1,  # CTranslate2's default
            max_new_tokens=100,
        )
    translator = ctranslate2.Translator(str(output / FLOAT32), device="cpu")
    results = translator.translate_batch(pieces.cut(lines), beam_size=1, max_decoding_length=100)
    answers = [pieces.ids_of(result.hypotheses[0]) for result in results]
    return sum(
        [token for token in row.tolist() if token not in (pad, END)] == answer
        for row, answer in zip(found, answers, strict=True)
    )


def say(message: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(message + "\n")


def main() -> None:
    """Train what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0 takes torch's own choice")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    train(given.data, given.output, given.minutes, given.seed)


if __name__ == "__main__":
    main()
