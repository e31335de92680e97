"""What lies in a peer's folder, by name."""

from typing import Final

PIECES: Final = "spm8k.model"
INT8: Final = "ct2_tv_int8"
FLOAT32: Final = "ct2_tv_float32"
MARIAN: Final = "marian"
"""The same weights as Hugging Face has them, where they are of that architecture."""
ABOUT: Final = "about.json"
"""How it was trained, and what it reached."""
