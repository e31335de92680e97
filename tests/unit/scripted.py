"""Small servers on real sockets that answer as they are told and keep what they were asked."""

import threading
from concurrent import futures
from contextlib import contextmanager

import grpc

from beamstep.v1 import captioning_pb2_grpc, model_pb2_grpc, pointing_pb2_grpc, translation_pb2_grpc

ADDERS = {
    translation_pb2_grpc.TranslationServiceServicer: translation_pb2_grpc.add_TranslationServiceServicer_to_server,
    captioning_pb2_grpc.CaptioningServiceServicer: captioning_pb2_grpc.add_CaptioningServiceServicer_to_server,
    pointing_pb2_grpc.PointingServiceServicer: pointing_pb2_grpc.add_PointingServiceServicer_to_server,
    model_pb2_grpc.ModelServiceServicer: model_pb2_grpc.add_ModelServiceServicer_to_server,
}


class Script:
    """What a servicer is to send, one call after the other.

    Attributes:
        requests: what it was asked.
        over: set when the latest call has ended, by whomever.
    """

    def __init__(self, *answers) -> None:
        self._answers = list(answers)
        self.requests = []
        self.over = threading.Event()

    def answer(self, request, context):
        """Return the next answer; fail where it is a status."""
        self.requests.append(request)
        return self._send(self._answers.pop(0), context)

    def stream(self, request, context):
        """Send the parts of the next answer; wait where a part is an event."""
        self.requests.append(request)
        self.over.clear()
        context.add_callback(self.over.set)
        for part in self._answers.pop(0):
            if isinstance(part, threading.Event):
                while not part.wait(0.01) and context.is_active():
                    pass
            else:
                yield self._send(part, context)

    def _send(self, part, context):
        if isinstance(part, grpc.StatusCode):
            context.abort(part, "as scripted")
        if isinstance(part, grpc.Status):
            context.abort_with_status(part)
        return part


class Translation(Script, translation_pb2_grpc.TranslationServiceServicer):
    TranslateText = ScoreTarget = Script.answer
    StreamTranslateText = Script.stream


class Captioning(Script, captioning_pb2_grpc.CaptioningServiceServicer):
    CaptionImage = ScoreTarget = Script.answer
    StreamCaptionImage = Script.stream


class Pointing(Script, pointing_pb2_grpc.PointingServiceServicer):
    FindConvexHull = FindDelaunayTriangulation = FindTour = ScoreTarget = Script.answer


@contextmanager
def serving(servicer, credentials=None):
    """Serve one servicer on a free port; yields the address."""
    with futures.ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        for kind, add in ADDERS.items():
            if isinstance(servicer, kind):
                add(servicer, server)
        # Not localhost, which is two addresses: another process may have the port at the second.
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        try:
            yield f"localhost:{port}" if credentials else f"127.0.0.1:{port}"  # certificates are made out to a name
        finally:
            server.stop(0).wait()
