"""What each model has done since the server began, as Triton's statistics count it."""

import time
from dataclasses import dataclass, field

from grpc import StatusCode

from serving.calls.call import Call
from serving.calls.interceptor import Context
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2
from serving.servicers.backend import JOIN


@dataclass
class Duration:
    """How often something was, and how long it took altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count once more."""
        self.count += 1
        self.seconds += seconds

    def message(self) -> kserve_pb2.StatisticDuration:
        """Return it in the protocol's words."""
        return kserve_pb2.StatisticDuration(count=self.count, ns=round(self.seconds * 1e9))


@dataclass
class Work:
    """What one model has done; see ModelStatistics in protos/inference/grpc_inference.proto."""

    last: float = 0.0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)


class Statistics:
    """Counts the calls of all services, by the key of the model that answered.

    Ensembles are left out: requests make as many of them as there are weights, and no caller can ask for their statistics.
    """

    def __init__(self) -> None:
        self._work: dict[str, Work] = {}

    def began(self, call: Call, context: Context) -> None:
        """Nothing is known yet."""

    def ended(self, call: Call, context: Context) -> None:  # noqa: ARG002
        """Count a call whose model is known."""
        if not call.model or JOIN in call.model:
            return
        work = self._work.setdefault(call.model, Work())
        work.last = time.time()
        if call.code is not StatusCode.OK:
            work.fail.add(call.ended - call.began)
            return
        work.success.add(call.ended - call.began)
        for decoded in call.decoded:
            work.queue.add(decoded.queue_s)
            work.infer.add(decoded.encode_s + decoded.decode_s)

    def of(self, key: str) -> kserve_pb2.ModelStatistics:
        """Return what a model has done, without its name; zeros where it has done nothing."""
        work = self._work.get(key) or Work()
        return kserve_pb2.ModelStatistics(
            last_inference=round(work.last * 1000),
            inference_count=work.infer.count,
            inference_stats=kserve_pb2.InferStatistics(
                success=work.success.message(),
                fail=work.fail.message(),
                queue=work.queue.message(),
                compute_infer=work.infer.message(),
            ),
        )
