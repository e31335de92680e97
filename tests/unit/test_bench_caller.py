"""The load generator's calls against scripted servers: what goes with them, and what is kept of any answer."""

import grpc
import pytest

from beamstep.bench.caller import Caller
from beamstep.bench.prepared import prepare
from beamstep.bench.workload import Item
from beamstep.channel import Endpoint, RetryPolicy
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.translation_pb2 import StreamTranslateTextResponse, TranslateTextResponse
from tests.fakes.tls import CERTIFICATE, KEY
from tests.unit.scripted import Translation, serving

ITEM = Item("translation", "hund", DecodingOptions())
ANSWER = TranslateTextResponse()
ANSWER.timings.total_time.FromMilliseconds(20)
ONCE = RetryPolicy(attempts=1)


class Telling(Translation):
    """Keeps what came with a call, and tells where its time went in the trailing metadata, too."""

    def answer(self, request, context):
        self.metadata = dict(context.invocation_metadata())
        context.set_trailing_metadata([("server-timing", "step;dur=12, total;dur=99")])
        return super().answer(request, context)

    TranslateText = answer


async def ask(endpoint, *, stream=False, channels=1, times=1, timeout_s=20.0):
    """Return the answers of as many calls, one after the other."""
    caller = Caller(
        endpoint, [prepare(ITEM, model="", beam_size=None, stream=stream)], channels=channels, timeout_s=timeout_s
    )
    try:
        await caller.connect()
        return [await caller(0) for _ in range(times)]
    finally:
        await caller.close()


async def test_a_token_goes_with_every_call_over_tls(tmp_path):
    (tmp_path / "roots.pem").write_bytes(CERTIFICATE)
    servicer = Telling(ANSWER)
    with serving(servicer, grpc.ssl_server_credentials([(KEY, CERTIFICATE)])) as address:
        [answer] = await ask(Endpoint(address, True, tmp_path / "roots.pem", ONCE, token="abc"))
    assert answer.code == "OK"
    assert servicer.metadata["authorization"] == "Bearer abc"


async def test_the_answers_own_times_come_before_those_of_its_metadata():
    with serving(Telling(ANSWER)) as address:
        [answer] = await ask(Endpoint(address, retry=ONCE))
    assert dict(answer.server_s) == {"queue": 0, "encode": 0, "decode": 0, "server": 0.02, "step": 0.012}
    assert answer.sent < answer.ended


async def test_a_failed_call_keeps_its_status_and_is_not_tried_again():
    servicer = Translation(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, ANSWER)
    with serving(servicer) as address:
        answers = await ask(Endpoint(address, retry=ONCE), times=3, channels=2)
    assert [answer.code for answer in answers] == ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "OK"]
    assert len(servicer.requests) == 3


async def test_a_stream_keeps_when_each_message_came():
    parts = [
        StreamTranslateTextResponse(tentative_text="Ein", revision=1),
        StreamTranslateTextResponse(committed_text="Ein ", revision=2),
        StreamTranslateTextResponse(committed_text="Hund", revision=3, answer=ANSWER),
    ]
    with serving(Translation(parts, [parts[0], grpc.StatusCode.INTERNAL])) as address:
        whole, broken = await ask(Endpoint(address, retry=ONCE), stream=True, times=2)
    assert whole.sent < whole.messages[0] <= whole.messages[1] <= whole.messages[2] <= whole.ended
    assert whole.committed == whole.messages[1]
    assert dict(whole.server_s)["server"] == 0.02
    assert (broken.code, broken.messages) == ("INTERNAL", ())


async def test_where_nobody_is_no_connection_is_made():
    with pytest.raises(TimeoutError):
        await ask(Endpoint("localhost:1", retry=ONCE), timeout_s=0.5)
