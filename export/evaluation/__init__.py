"""Corpus metrics of any bundle, measured by decoding through serving: what is reported is what is served.

`beamstep evaluate` (command.py) reads the data (lines, parallel_text, captions, instances), sends every source through the
engine with many requests in flight (decoding), and scores the answers (translation_metrics, caption_metrics, pointing_metrics).
"""
