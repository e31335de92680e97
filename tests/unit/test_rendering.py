"""What the command prints for people."""

import io

from rich.console import Console

from beamstep.rendering import print_models
from beamstep.v1.decoding_pb2 import ModelReference
from beamstep.v1.model_pb2 import ListModelsResponse, Model, QualityFigure


def test_a_narrow_terminal_never_cuts_a_models_name_short():
    model = Model(
        reference=ModelReference(name="translation-en-de", version="1"),
        description="Translates English to German, one sentence after the other, until there are no more.",
        quality=[QualityFigure(metric="bleu_lower_tokenized", value=33.3)],
    )
    output = io.StringIO()
    print_models(Console(file=output, width=72), ListModelsResponse(models=[model]))
    assert "translation-en-de/1" in output.getvalue()
    assert "…" not in output.getvalue()
