"""What the command prints for people."""

import io

from rich.console import Console

from beamstep.rendering import print_hulls, print_models
from beamstep.v1.decoding_pb2 import Decoding, ModelReference, Token
from beamstep.v1.model_pb2 import ListModelsResponse, Model, QualityFigure
from beamstep.v1.pointing_pb2 import ConvexHullHypothesis, FindConvexHullResponse


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


def test_attention_over_points_names_them_by_index():
    decoding = Decoding(
        tokens=[Token(piece="2", attention=[0.0, 0.25, 0.75]), Token(piece="</s>", attention=[1, 0, 0])]
    )
    answer = FindConvexHullResponse(hypotheses=[ConvexHullHypothesis(point_indices=[2], decoding=decoding)])
    output = io.StringIO()
    print_hulls(Console(file=output, width=72), [(0, 0), (1, 0), (0, 1)], answer)
    assert [line.split() for line in output.getvalue().splitlines()[-2:]] == [
        ["2", "0.0000", "2", "0.75"],
        ["</s>", "0.0000", "0", "1.00"],
    ]


def test_without_attention_no_token_is_printed():
    answer = FindConvexHullResponse(hypotheses=[ConvexHullHypothesis(decoding=Decoding(tokens=[Token(piece="2")]))])
    output = io.StringIO()
    print_hulls(Console(file=output, width=72), [], answer)
    assert "log-prob" not in output.getvalue()
