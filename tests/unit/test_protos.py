"""The committed stubs are what the protos generate."""

import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_regenerating_the_stubs_changes_nothing(tmp_path):
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "protos/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path)

    for package in ("beamstep/v1", "serving/kserve/v2"):
        generated = {path.name: path.read_bytes() for path in (tmp_path / package).iterdir()}
        committed = {
            path.name: path.read_bytes()
            for path in (REPOSITORY / package).iterdir()
            if path.is_file() and path.name != "__init__.py"
        }
        assert len(generated) >= 4
        assert generated.keys() == committed.keys()
        assert [name for name in generated if generated[name] != committed[name]] == []
