"""Mutated requests over the wire: no crash, no hang, no INTERNAL, and a server that goes on."""

import dataclasses

import grpc

from benchmarks.faults.calls import call, sound_requests
from benchmarks.faults.mutated import Seen, mutated
from benchmarks.faults.mutations import Mutator

COUNT = 20_000


async def test_no_mutated_request_crashes_hangs_or_is_internal(planned):
    outcome = await mutated(planned, COUNT, seed=0, clients=64)
    assert not outcome.wrong, outcome


def test_the_same_seed_makes_the_same_requests_none_of_them_sound():
    sounds = sound_requests()
    first, again, other = (Mutator(sounds, seed) for seed in (1, 1, 2))
    requests = [next(first) for _ in range(500)]
    assert [request.data for request in requests] == [next(again).data for _ in range(500)]
    assert [request.data for request in requests] != [next(other).data for _ in range(500)]
    assert {request.sound.rpc for request in requests} == {sound.rpc for sound in sounds}
    assert all(request.data != request.sound.request.SerializeToString() for request in requests)
    kinds = {how for request in requests for how in request.how}
    assert len(kinds) == 13, kinds


async def test_a_fault_would_be_seen(planned):
    """A call that the server has no method for ends as no mutated request may."""
    request = next(Mutator(sound_requests(), 0))
    astray = dataclasses.replace(request.sound, rpc="TranslationService/NoSuchMethod")
    async with grpc.aio.insecure_channel(planned.address) as channel:
        ended = await call(channel, astray.path, request.data, 30, streams=False)
    seen = Seen()
    seen.note(dataclasses.replace(request, sound=astray), ended)
    assert len(seen.wrong) == 1
    assert "UNIMPLEMENTED" in seen.wrong[0]
