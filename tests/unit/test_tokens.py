"""The file of tokens: what it may say, how it is written, and how a token is found in it."""

import stat
from datetime import date

import pytest

from serving.access.rights import right_of
from serving.access.tokens import PREFIX, Token, TokenLimits, find, hash_of, make_token, read_tokens, write_tokens
from serving.errors import BadConfiguration

HASH = hash_of("bst_a")
GOOD = f'[[token]]\nname = "web"\nsha256 = "{HASH}"\nservices = ["models"]\n'


def test_a_token_has_256_random_bits_and_a_prefix():
    tokens = {make_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in tokens)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "tokens.toml"
    tokens = (
        Token("web", HASH, ("translation", "pointing"), TokenLimits(50.5, 100, 8), date(2027, 1, 31)),
        Token("ops", hash_of("bst_b"), ("all",)),
    )
    write_tokens(path, tokens)
    assert read_tokens(path) == tokens
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_tokens(path, ())
    assert read_tokens(path) == ()
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.toml"]


def test_a_token_is_found_by_its_hash_alone():
    tokens = [Token(name, hash_of(name), ("all",)) for name in ("a", "b", "c")]
    assert find(tokens, "b") == tokens[1]
    assert find(tokens, hash_of("b")) is None
    assert find(tokens, "") is None
    assert find([], "b") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"token: none; allowed: \[\[token\]\] entries, or token = \[\]"),
        ("[[token]", "not TOML: .*line 1"),
        ("token = 5", "token: none; allowed"),
        (GOOD + "\n[other]\n", "file: other; allowed: token alone"),
        (GOOD + 'right = "all"\n', r"token\[0\].right: unknown; allowed: name, sha256"),
        (GOOD.replace("web", "a b"), r"token\[0\].name: a b; allowed: 1 to 64 letters"),
        (GOOD.replace(HASH, "bst_secret"), r"token\[0\].sha256: bst_secret; allowed: 64 hexadecimal digits"),
        (GOOD.replace('["models"]', "[]"), r"token\[0\].services: none; allowed: translation"),
        (GOOD.replace('["models"]', '"models"'), r"token\[0\].services: 'models'; allowed: a list of translation"),
        (GOOD.replace("models", "modelz"), r"token\[0\].services: modelz; allowed: translation"),
        (GOOD + "rate = 0\n", r"token\[0\].rate: 0; allowed: calls a second, above 0"),
        (GOOD + "rate = inf\n", r"token\[0\].rate: inf; allowed"),
        (GOOD + "rate = true\n", r"token\[0\].rate: True; allowed: a number"),
        (GOOD + "burst = 5\n", r"token\[0\].burst: 5; allowed: only beside a rate"),
        (GOOD + "concurrent = 0\n", r"token\[0\].concurrent: 0; allowed: from 1"),
        (GOOD + "concurrent = 1.5\n", r"token\[0\].concurrent: 1.5; allowed: a number without a fraction"),
        (GOOD + 'expires = "2027-01-31"\n', r"token\[0\].expires: 2027-01-31; allowed: a date"),
        (GOOD + "expires = 2027-01-31T00:00:00Z\n", r"token\[0\].expires: .*; allowed: a date"),
        (GOOD + GOOD, "name: web twice; allowed: one entry each"),
        (GOOD + GOOD.replace("web", "app"), f"sha256: {HASH} twice"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(BadConfiguration, match=f"^tokens: .*tokens.toml: {message}"):
        read_tokens(path)


@pytest.mark.parametrize(
    ("method", "right"),
    [
        ("/beamstep.v1.TranslationService/TranslateText", "translation"),
        ("/beamstep.v1.CaptioningService/StreamCaptionImage", "captioning"),
        ("/beamstep.v1.PointingService/FindTour", "pointing"),
        ("/beamstep.v1.ModelService/ListModels", "models"),
        ("/beamstep.v1.ModelService/GetModel", "models"),
        ("/beamstep.v1.ModelService/LoadModel", "admin"),
        ("/beamstep.v1.ModelService/UnloadModel", "admin"),
        ("/inference.GRPCInferenceService/ModelInfer", "kserve"),
        ("/inference.GRPCInferenceService/RepositoryModelUnload", "admin"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "reflection"),
        ("/grpc.health.v1.Health/Watch", "health"),
        ("/grpc.health.v1.Health2/Watch", "admin"),
        ("/beamstep.v1.NewService/Do", "admin"),
        ("", "admin"),
    ],
)
def test_every_method_asks_for_one_right(method, right):
    assert right_of(method) == right
