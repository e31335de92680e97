"""Makes a peer for those who lack one: python -m benchmarks.peers.make_ctranslate2 --data DATA --output FOLDER [--minutes 45].

Trains a Transformer-Tiny on Multi30k's English and German in an environment of its own (environments/huggingface.txt), writes
it as Hugging Face has it (`marian`) and as CTranslate2 does (`ct2_tv_int8`, `ct2_tv_float32`), sees that both answer alike, and
measures its BLEU. `python -m benchmarks.peers ctranslate2 huggingface --peer FOLDER` measures against it.
"""

import json
import subprocess
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.peers.apart.files import ABOUT
from benchmarks.peers.environments import environment
from benchmarks.peers.huggingface import ENVIRONMENT
from benchmarks.peers.other_process import ROOT, foreign_environment, other
from benchmarks.peers.table import NotMeasuredError
from export.evaluation.parallel_text import read_parallel_text
from export.evaluation.translation_metrics import score_translations

SPLITS: Final = {"bleu_val": "val", "bleu_test_2016": "test_2016_flickr"}
BATCH: Final = 32


def make_ctranslate2(
    data: Annotated[Path, typer.Option(help="The data folder, with multi30k in it.")],
    output: Annotated[Path, typer.Option(help="The folder that it goes into.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Of training.")] = 45.0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, dropout and order.")] = 1,
    threads: Annotated[
        int, typer.Option(min=0, help="0 takes one a core; where others use the machine, 1 is quicker than 2.")
    ] = 0,
) -> None:
    """Train a Transformer-Tiny and convert it to CTranslate2."""
    try:
        python = environment(ENVIRONMENT)
    except NotMeasuredError as error:
        raise typer.BadParameter(str(error)) from None
    folders = {"--data": data.absolute(), "--output": output.absolute()}
    options = {**folders, "--minutes": minutes, "--seed": seed, "--threads": threads}
    words = [str(word) for option in options.items() for word in option]
    command = [str(python), "-m", "benchmarks.peers.apart.marian_training", *words]
    trained = subprocess.run(command, cwd=ROOT, env=foreign_environment(), check=False)
    if trained.returncode:
        raise typer.Exit(trained.returncode)
    file = output / ABOUT
    about = json.loads(file.read_text(encoding="utf-8")) | measured(data, output, python)
    file.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(about))


def measured(data: Path, folder: Path, python: Path) -> dict[str, float]:
    """Return the BLEU of a folder's 8-bit model by split: beam 5, lower-cased Moses tokens."""
    given = [str(folder.absolute()), "ctranslate2-int8"]
    found = {}
    with other("benchmarks.peers.apart.marian_generating", given, python) as model:
        for name, split in SPLITS.items():
            text = read_parallel_text(data / "multi30k" / f"{split}.en.gz", data / "multi30k" / f"{split}.de.gz")
            model.ask("give", texts=text.sources)
            model.ask("all", batch=BATCH)
            scores = score_translations(model.ask("texts"), text.references, "de")
            found[name] = round(scores.bleu_lower_tokenized, 2)
    return found


if __name__ == "__main__":
    typer.run(make_ctranslate2)
