"""What a step's answer means to searches that want more than its best candidates as they come."""

import numpy as np

from serving.decoding.chooser import Offer
from serving.decoding.layout import Layout
from serving.decoding.options import SpecialTokens
from serving.decoding.penalties import penalise_repetition
from serving.decoding.rows import Rows
from serving.decoding.step import FloatArray, StepInputs, StepOutputs
from serving.decoding.told import candidates_of, forced_token


def offer(layout: Layout, rows: Rows, told: StepInputs, outputs: StepOutputs, special: SpecialTokens) -> Offer:
    """Return the continuations to choose from: the step's candidates, required tokens, or the forced one alone."""
    log_prob, candidate = outputs.log_prob, outputs.candidate
    if layout.asking:
        log_prob = np.column_stack((log_prob, _asked(layout, rows, told, outputs, special)))
        candidate = np.column_stack((candidate, told.query))
    for index in layout.forced:
        own, token = rows.of(index, layout.widest), forced_token(layout.searches[index], rows.history.turn)
        if token is not None:
            log_prob, candidate = log_prob.copy(), candidate.copy()
            log_prob[own], log_prob[own, 0] = -np.inf, outputs.query_log_prob[own]
            candidate[own, 0] = token
    adjusted = log_prob
    for index in layout.penalised:
        own, search = rows.of(index, layout.widest), layout.searches[index]
        held = rows.history.tokens(own, search.joined)
        adjusted = adjusted.copy()
        adjusted[own] = penalise_repetition(log_prob[own], candidate[own], held, search.options.repetition_penalty)
    return Offer(log_prob, candidate, adjusted, rows.log_prob[:, None] + adjusted)


def _asked(layout: Layout, rows: Rows, told: StepInputs, outputs: StepOutputs, special: SpecialTokens) -> FloatArray:
    """Return the log-probs (R,) of required tokens; -inf where a row asks for none, has it already, or may not take it."""
    query = told.query[:, None]
    useless = (query[:, 0] == special.pad) | (told.banned == query).any(axis=1)
    asked = np.full(len(rows), -np.inf, np.float32)
    for index in layout.asking:
        own, columns = rows.of(index, layout.widest), candidates_of(layout.searches[index], rows.history.turn)
        offered = outputs.candidate[own, :columns]  # those behind are there for a neighbour alone
        has = (offered == query[own]).any(axis=1)
        asked[own] = np.where(useless[own] | has, -np.inf, outputs.query_log_prob[own])
    return asked
