"""Translation: text to subword ids, ids back to text."""

import numpy as np

from serving.bundle import Bundle
from serving.tasks.base import Source, TextTask
from serving.tasks.text import Tokenizer, encode_text


class Translation(TextTask):
    """Text in one language to text in another."""

    def __init__(self, bundle: Bundle) -> None:
        """Open both tokenizers."""
        super().__init__(bundle)
        tokenizer = bundle.manifest.tokenizers.source
        assert tokenizer is not None, "the manifest's validation"
        self._source_tokenizer = Tokenizer(bundle.path(tokenizer))

    def source(self, text: str) -> Source:
        """Return the encoder's input for `text`; see `encode_text` for what it refuses."""
        manifest = self.bundle.manifest
        tokens = encode_text(text, self._source_tokenizer, manifest.vocabulary.eos, manifest.limits.source_length)
        inputs = {"source_tokens": tokens, "source_lengths": np.array(len(tokens), dtype=np.int64)}
        return Source(inputs, len(tokens), self._vocabulary_size, constraint=None)

    def source_pieces(self, source: Source) -> list[str]:
        """Return the source's positions as text, `eos` the last; attention weights run over them."""
        return self._source_tokenizer.pieces(source.inputs["source_tokens"].tolist())
