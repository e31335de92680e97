"""Models that come, go and are tried while the server is called: no call fails, and whatever is bad is told and left alone."""

import asyncio
import gc
import threading
import weakref
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from random import Random

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from beamstep.client import AsyncClient, RetryPolicy
from beamstep.errors import ServiceError, Unavailable, UnknownModel
from beamstep.v1 import admin_pb2, admin_pb2_grpc
from beamstep.v1.decoding_pb2 import DecodingOptions, EnsembleMember
from serving.config import ServerConfig
from serving.errors import BadBundle, BadConfiguration
from serving.repository.config import CanaryShare, RepositoryConfig
from serving.repository.policy import VersionPolicy
from serving.server import Server, running_server
from serving.session import SessionConfig
from serving.tasks.options import RequestedOptions
from serving.tasks.translation import Translation
from tests.fakes import repository as fakes
from tests.fakes.repository import FIRST_ONLY, REVERSED, Shop, open_described

ONCE = RetryPolicy(attempts=1)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
TRANSLATION = "beamstep.v1.TranslationService"
ADMIN = RepositoryConfig(admin=True)
TEXT = "ein hund läuft"
BACKWARDS = "tfuäl ndu h ein"
"""Its subword pieces from the last to the first."""
WAIT_S = 60


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path / "models", tmp_path)


def configuration(shop: Shop, repository: RepositoryConfig = ADMIN, **changes) -> ServerConfig:
    session = SessionConfig(step_threads=1)
    return ServerConfig(shop.models, host="127.0.0.1", port=0, session=session, repository=repository, **changes)


class Running:
    """A server with all that is called of it."""

    def __init__(self, server: Server, client: AsyncClient, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.client = client
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    async def text(self, text: str = TEXT, version: str = "") -> str:
        answer = await self.client.translate(text, model="translation", model_version=version)
        return answer.hypotheses[0].text

    async def load(self, version: str = "", name: str = "translation") -> admin_pb2.RepositoryModel:
        return (await self.admin.LoadModel(admin_pb2.LoadModelRequest(name=name, version=version))).model

    async def unload(self, version: str, name: str = "translation") -> admin_pb2.RepositoryModel:
        return (await self.admin.UnloadModel(admin_pb2.UnloadModelRequest(name=name, version=version))).model

    async def states(self) -> dict[str, str]:
        listed = await self.admin.ListRepository(admin_pb2.ListRepositoryRequest())
        name = admin_pb2.ModelState.Name
        return {f"{one.name}/{one.version}": name(one.state).removeprefix("MODEL_STATE_") for one in listed.models}

    async def reason(self, key: str) -> str:
        listed = await self.admin.ListRepository(admin_pb2.ListRepositoryRequest())
        return next(one.reason for one in listed.models if f"{one.name}/{one.version}" == key)

    async def sync(self) -> None:
        """Look at the folder twice, as what is new is left for the second look."""
        for _ in range(2):
            await self.server.repository.sync()

    async def gone(self, lane: str) -> None:
        await until(lambda: lane not in self.server.engine.models)

    async def health(self, service: str = "") -> int:
        return (await self._health.Check(health_pb2.HealthCheckRequest(service=service))).status

    def watch_health(self, service: str):
        return self._health.Watch(health_pb2.HealthCheckRequest(service=service))


async def until(condition) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(config: ServerConfig, open_model=open_described):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(config, open_model))
        address = f"127.0.0.1:{server.port}"
        client = await stack.enter_async_context(AsyncClient(address, timeout_s=WAIT_S, retry=ONCE))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Running(server, client, channel)


async def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_hot_swaps_under_load_fail_no_call(shop):
    """Callers name no version, or the one that is about to go just before it goes; some read streams."""
    shop.publish("1")
    wrong: list[str] = []
    answered: dict[str, int] = {}
    models = weakref.WeakSet()

    def open_model(bundle, session):
        model = open_described(bundle, session)
        model.step_s = 0.002
        models.add(model)
        return model

    async with running(configuration(shop), open_model) as here:

        async def call(number: int) -> None:
            while not over.is_set():
                if number % 3 == 0:
                    async for message in here.client.stream_translate(TEXT, model="translation"):
                        answer = message.answer
                else:
                    answer = await here.client.translate(TEXT, model="translation")
                version = answer.model.version
                answered[version] = answered.get(version, 0) + 1
                if answer.hypotheses[0].text != (TEXT if int(version) % 2 else BACKWARDS):
                    wrong.append(f"{version}: {answer.hypotheses[0].text}")

        over = asyncio.Event()
        callers = [asyncio.create_task(call(number)) for number in range(9)]
        await until(lambda: answered)
        for version in range(2, 8):
            shop.publish(str(version), description="" if version % 2 else REVERSED)
            await here.load(str(version))
            await here.unload(str(version - 1))
            before = answered.get(str(version), 0)
            await until(lambda version=version, before=before: answered.get(str(version), 0) > before)
        over.set()
        await asyncio.gather(*callers)
        assert wrong == []
        assert set(answered) == {str(version) for version in range(1, 8)}
        for version in range(1, 7):
            await here.gone(f"translation/{version}")
        assert list(here.server.engine.models) == ["translation/7"]
        assert here.server.engine.counters.failed == 0
        gc.collect()
        assert len(models) == 1, "the sessions of the others are freed"


async def test_a_call_that_looked_its_version_up_before_it_went_is_answered_by_it(shop):
    shop.publish("1")
    shop.publish("2", description=REVERSED)
    async with running(configuration(shop)) as here:
        registry = here.server.repository._registry
        task = registry.find(Translation, "translation", "1")
        row = await here.unload("1")
        assert row.state == admin_pb2.MODEL_STATE_DRAINING
        with pytest.raises(UnknownModel, match="loaded: translation/2"):
            await here.text(version="1")
        assert (await here.states())["translation/1"] in {"DRAINING", "UNLOADED"}
        source = task.source(TEXT)
        plan = task.plan(RequestedOptions(), source)
        await asyncio.sleep(0.1)
        ticket = here.server.engine.submit(task.bundle.lane, source.inputs, plan.options, plan.constraint)
        found = await asyncio.wrap_future(ticket.future)
        assert task.text(found.hypotheses[0]) == TEXT
        assert "translation/1" in here.server.engine.models
        del task, source, plan, ticket, found
        await here.gone("translation/1")
        assert (await here.states())["translation/1"] == "UNLOADED"


async def test_other_content_under_the_same_version_takes_its_place(shop):
    shop.publish("1")
    async with running(configuration(shop)) as here:
        assert await here.text() == TEXT
        shop.publish("1", description=REVERSED)
        await here.sync()
        assert await here.text() == BACKWARDS
        await here.gone("translation/1")
        (lane,) = here.server.engine.models
        assert lane.startswith("translation/1#"), "what is kept by lane, such as cached answers, is not mixed up"
        shop.publish("1")
        assert (await here.load("1")).state == admin_pb2.MODEL_STATE_READY
        assert await here.text() == TEXT
        await here.gone(lane)
        assert list(here.server.engine.models) == ["translation/1"]


async def test_the_same_content_comes_back_while_its_last_call_is_answered(shop):
    shop.publish("1")
    shop.publish("2")
    opened = {}

    def open_model(bundle, session):
        opened[bundle.key] = open_described(bundle, session)
        return opened[bundle.key]

    async with running(configuration(shop), open_model) as here:
        first = opened["translation/1"]
        first.step_s = 0.2
        old = asyncio.create_task(here.text(version="1"))
        await until(lambda: here.server.engine.load("translation/1").running_requests == 1)
        await here.unload("1")
        await here.load("1")
        assert opened["translation/1"] is not first
        assert await here.text(version="1") == TEXT
        assert await old == TEXT
        assert (await here.states()) == {"translation/1": "READY", "translation/2": "READY"}
        await asyncio.sleep(0.1)
        assert await here.text(version="1") == TEXT, "the end of the old one does not take the new one with it"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (fakes.truncate, "encoder.onnx: its sha256 is"),
        (fakes.corrupt_manifest, "manifest.json: not JSON"),
        (fakes.future_format, "format: 99; allowed:"),
        (fakes.altered_graph, "cannot be loaded: no such graph"),
    ],
)
async def test_a_bad_version_leaves_the_old_one_serving_and_says_why(shop, damage, reason, caplog):
    shop.publish("1")
    async with running(configuration(shop, RepositoryConfig(VersionPolicy(latest=1), admin=True))) as here:
        made = shop.make("translation", "translation", "2", REVERSED)
        damage(made)
        shop.rename_into_place(made)
        for _ in range(3):
            await here.sync()
        assert await here.text() == TEXT
        assert await here.states() == {"translation/1": "READY", "translation/2": "FAILED"}
        assert reason in await here.reason("translation/2")
        told = [record for record in caplog.records if "translation/2 cannot be served" in record.message]
        assert len(told) == 1, "it is not tried again before it changes"
        code, details = await refused(here.load("2"))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert reason in details
        shop.publish("2", description=REVERSED)
        await here.sync()
        assert await here.text() == BACKWARDS
        assert await here.states() == {"translation/1": "UNLOADED", "translation/2": "READY"}


async def test_bad_content_under_a_version_that_is_served_leaves_what_is_served(shop):
    shop.publish("1")
    async with running(configuration(shop)) as here:
        made = shop.make("translation", "translation", "1", REVERSED)
        fakes.truncate(made)
        shop.rename_into_place(made)
        await here.sync()
        assert await here.text() == TEXT
        assert await here.states() == {"translation/1": "READY"}
        assert "other content now, which cannot be served" in await here.reason("translation/1")
        assert (await refused(here.load("1")))[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert await here.text() == TEXT


async def test_what_does_not_belong_here_fails(shop):
    shop.publish("1")
    async with running(configuration(shop)) as here:
        shop.publish("2", task="captioning")
        shop.publish("1", name="tour", task="tour")
        made = shop.make("translation", "translation", "4")
        made.rename(made.with_name("3")).rename(shop.models / "translation/3")
        await here.sync()
        assert await here.states() == {
            "tour/1": "FAILED",
            "translation/1": "READY",
            "translation/2": "FAILED",
            "translation/3": "FAILED",
        }
        assert "task: tour; allowed here: translation, by the services offered" in await here.reason("tour/1")
        assert "manifest says that it is translation/4" in await here.reason("translation/3")


async def test_another_task_than_its_other_versions_fails(shop):
    shop.publish("1")
    shop.publish("1", name="captioning", task="captioning")
    async with running(configuration(shop)) as here:
        shop.publish("2", task="captioning")
        await here.sync()
        assert "the other versions of translation have translation" in await here.reason("translation/2")


async def test_the_folder_is_followed(shop):
    """By the watcher itself: hidden folders and half a bundle are left alone, what goes is unloaded but for the last version."""
    shop.publish("1")
    watching = RepositoryConfig(VersionPolicy(latest=2), admin=True, watch=True, watch_interval_s=0.1)
    async with running(configuration(shop, watching)) as here:
        (shop.models / "translation/.3.partial").mkdir()
        (shop.models / "translation/.3.partial/manifest.json").write_text("half")
        shop.publish("2", description=REVERSED)
        await until_states(here, {"translation/1": "READY", "translation/2": "READY"})
        assert await here.text() == BACKWARDS
        assert await here.text(version="1") == TEXT
        shop.publish("3")
        await until_states(here, {"translation/1": "UNLOADED", "translation/2": "READY", "translation/3": "READY"})
        assert await here.text() == TEXT
        shop.remove("3")
        await until_states(here, {"translation/1": "READY", "translation/2": "READY"})
        shop.remove("1")
        await until_states(here, {"translation/2": "READY"})
        shop.publish("1", name="other")
        shop.remove("2")
        await until_states(here, {"other/1": "READY", "translation/2": "READY"})
        async with asyncio.timeout(WAIT_S):
            while "its folder is gone" not in await here.reason("translation/2"):
                await asyncio.sleep(0.05)
        assert await here.text() == BACKWARDS
        shop.remove("1", name="other")
        await asyncio.sleep(0.5)
        assert await here.states() == {"other/1": "READY", "translation/2": "READY"}, "an empty folder is no order"


async def until_states(here: Running, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(WAIT_S):
        while (found := await here.states()) != wanted:
            await asyncio.sleep(0.05)
    assert found == wanted


async def test_what_an_administrator_unloads_stays_unloaded(shop):
    shop.publish("1")
    shop.publish("2", description=REVERSED)
    async with running(configuration(shop)) as here:
        await here.unload("2")
        await here.sync()
        assert await here.text() == TEXT
        assert (await here.load()).version == "2"
        assert await here.text() == BACKWARDS
        code, details = await refused(here.unload("7"))
        assert (code, details) == (grpc.StatusCode.NOT_FOUND, "no model 'translation/7' is loaded")
        code, details = await refused(here.load("7"))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "of translation there are 1, 2" in details
        assert (await refused(here.load("1", name="")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await refused(here.load("1", name="../etc")))[0] is grpc.StatusCode.NOT_FOUND


async def test_health_follows_what_is_served(shop):
    shop.publish("1")
    shop.publish("1", name="tour", task="tour")
    async with running(configuration(shop)) as here:
        service, whole = here.watch_health(TRANSLATION), here.watch_health("")
        assert (await service.read()).status == (await whole.read()).status == SERVING
        await here.unload("1")
        assert (await service.read()).status == (await whole.read()).status == NOT_SERVING
        assert await here.health("beamstep.v1.PointingService") == SERVING
        with pytest.raises(UnknownModel, match="no translation model 'translation' is loaded"):
            await here.text()
        await here.load("1")
        assert (await service.read()).status == (await whole.read()).status == SERVING
        assert await here.text() == TEXT


async def test_services_asked_for_may_wait_for_their_first_bundle(shop):
    async with running(configuration(shop, services=("translation",))) as here:
        assert await here.health(TRANSLATION) == NOT_SERVING
        shop.publish("1")
        await here.load("1")
        assert await here.health(TRANSLATION) == await here.health() == SERVING
        assert await here.text() == TEXT


async def test_no_administrator_unless_asked_for(shop):
    shop.publish("1")
    async with running(configuration(shop, RepositoryConfig())) as here:
        assert (await refused(here.load("1")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def canary_of(here: Running) -> admin_pb2.Canary:
    listed = await here.admin.ListCanaries(admin_pb2.ListCanariesRequest())
    return listed.canaries[0]


async def until_settled(here: Running) -> admin_pb2.Canary:
    """Wait until all that a canary was chosen for is over."""
    async with asyncio.timeout(WAIT_S):
        while True:
            canary = await canary_of(here)
            if canary.chosen_count == canary.compared_count + canary.dropped_count + canary.error_count:
                return canary
            await asyncio.sleep(0.02)


async def test_a_canary_answers_nobody_and_tells_how_its_answers_compare(shop):
    shop.publish("1")
    shop.publish("2", description=FIRST_ONLY)
    canaries = (CanaryShare("translation", "2", 1.0),)
    config = RepositoryConfig(VersionPolicy(latest=1), admin=True, canaries=canaries)
    async with running(configuration(shop, config)) as here:
        for text in ("ein", TEXT, TEXT):
            assert await here.text(text) == text
            await until_settled(here)
        assert await here.text(TEXT, version="2") == "ein", "whoever names it gets it, and is not compared"
        canary = await until_settled(here)
        assert (canary.chosen_count, canary.compared_count, canary.identical_count) == (3, 3, 1)
        # Answers end with eos: "ein" and it, the same twice; of the other pairs only the first piece is.
        pieces = here.server.repository._registry.find(Translation, "", "").source(TEXT).length
        assert canary.token_count == 2 + 2 * pieces
        assert canary.same_token_count == 2 + 2
        assert canary.primary_duration.ToTimedelta().total_seconds() > 0
        assert canary.canary_duration.ToTimedelta().total_seconds() > 0
        (figures,) = here.server.repository.canaries.snapshot()
        assert figures.agreement == pytest.approx(1 / 3)
        assert (await refused(here.unload("1")))[0] is grpc.StatusCode.FAILED_PRECONDITION
        await here.admin.ClearCanary(admin_pb2.ClearCanaryRequest(name="translation"))
        assert await here.text() == "ein", "it is a version as any other now, and the latest"
        assert (await refused(here.admin.ClearCanary(admin_pb2.ClearCanaryRequest(name="x"))))[
            0
        ] is grpc.StatusCode.NOT_FOUND


async def test_a_canary_that_fails_harms_nobody_and_is_counted(shop):
    shop.publish("1")
    shop.publish("2", description=FIRST_ONLY)

    def failing(inputs):
        raise RuntimeError("no such weights")

    def open_model(bundle, session):
        model = open_described(bundle, session)
        if bundle.manifest.version == "2":
            model.encode = failing
        return model

    async with running(configuration(shop), open_model) as here:
        ask = admin_pb2.SetCanaryRequest(name="translation", version="2", share=1.0)
        await here.admin.SetCanary(ask)
        assert [await here.text() for _ in range(3)] == [TEXT] * 3
        canary = await until_settled(here)
        assert canary.error_count == 3
        assert "no such weights" in canary.last_error
        await here.unload("2")
        assert not (await here.admin.ListCanaries(admin_pb2.ListCanariesRequest())).canaries


async def test_a_slow_canary_is_dropped_and_holds_up_nobody(shop):
    shop.publish("1")
    shop.publish("2")
    opened = {}

    def open_model(bundle, session):
        opened[bundle.key] = open_described(bundle, session)
        return opened[bundle.key]

    async with running(configuration(shop, RepositoryConfig(VersionPolicy(latest=1), admin=True)), open_model) as here:
        assert await here.text() == TEXT
        await here.load("1")
        ask = admin_pb2.SetCanaryRequest(name="translation", version="1", share=1.0)
        await here.admin.SetCanary(ask)
        opened["translation/1"].step_s = 0.2
        # All at once: a canary gets its first turn when none of them is left.
        assert await asyncio.gather(*(here.text() for _ in range(30))) == [TEXT] * 30
        canary = await canary_of(here)
        assert canary.chosen_count == 30
        assert canary.dropped_count >= 1, "no more than a few are in flight"
        opened["translation/1"].step_s = 0.0


async def test_a_canary_is_loaded_aside(shop):
    """The latest version never answers before its trial is over, not even while it is loaded."""
    shop.publish("1")
    async with running(configuration(shop)) as here:
        shop.publish("2", description=REVERSED)
        ask = admin_pb2.SetCanaryRequest(name="translation", version="2", share=0.5)
        await here.admin.SetCanary(ask)
        texts = await asyncio.gather(*(here.text() for _ in range(40)))
        assert set(texts) == {TEXT}
        canary = await until_settled(here)
        assert 0 < canary.chosen_count < 40
        await here.sync()
        assert await here.text() == TEXT
        code, details = await refused(
            here.admin.SetCanary(admin_pb2.SetCanaryRequest(name="translation", version="2", share=2))
        )
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "share: 2; allowed: from 0 to 1")


async def test_who_is_left_when_the_grace_is_over_is_told_to_go_elsewhere(shop):
    shop.publish("1")
    opened = []

    def open_model(bundle, session):
        opened.append(open_described(bundle, session))
        return opened[-1]

    server = Server(configuration(shop), open_model)
    await server.start()
    await server.load()
    async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=WAIT_S, retry=ONCE) as client:
        opened[0].step_s = 0.3
        long = " ".join(["ein"] * 19)

        async def stream() -> None:
            async for _ in client.stream_translate(long, options=DecodingOptions(max_length=30)):
                pass

        calls = [
            asyncio.create_task(client.translate(long, options=DecodingOptions(max_length=30))),
            asyncio.create_task(stream()),
        ]
        await until(lambda: server.engine.load("translation/1").running_requests == 2)
        stopping = asyncio.create_task(server.stop(0.5))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="shutting down; retry elsewhere"):
            await client.translate("ein")
        for call in calls:
            with pytest.raises(ServiceError) as caught:
                await call
            assert caught.value.status is grpc.StatusCode.UNAVAILABLE
            assert "shut down before the answer was ready" in caught.value.message
        await asyncio.wait_for(stopping, WAIT_S)


def test_a_start_that_cannot_be_names_what_is_wrong(shop):
    shop.publish("1")
    specific = RepositoryConfig(VersionPolicy.parse("specific:translation=2"))
    with pytest.raises(BadConfiguration, match="versions: translation=2; allowed: some of 1"):
        Server(configuration(shop, specific))
    for canary, told in (("2", "allowed: some of translation/1"), ("1", "is the only version of translation")):
        config = RepositoryConfig(canaries=(CanaryShare("translation", canary, 0.1),))
        with pytest.raises(BadConfiguration, match=told):
            Server(configuration(shop, config))
    (shop.models / "translation").rename(shop.models / "other")
    with pytest.raises(BadBundle, match="its manifest says that it is translation/1"):
        Server(configuration(shop))


async def test_calls_that_fail_keep_no_version(shop):
    """Their errors hold the frames they went through, and those hold the version that was looked up."""
    shop.publish("1")
    shop.publish("2", description=REVERSED)
    async with running(configuration(shop)) as here:
        for beam_size in (100, 0, -1):
            with pytest.raises(ServiceError):
                await here.client.translate(TEXT, model_version="1", options=DecodingOptions(beam_size=beam_size))
        with pytest.raises(ServiceError):
            await here.client.translate("x " * 500, model_version="1")
        call = asyncio.create_task(here.client.translate(TEXT, model_version="1"))
        await asyncio.sleep(0.01)
        call.cancel()
        async with aclosing(here.client.stream_translate(TEXT, model_version="1")) as stream:
            await anext(stream)
        await here.unload("1")
        await here.gone("translation/1")
        assert await here.text() == BACKWARDS


async def test_an_ensemble_is_asked_for_while_its_member_comes_and_goes(shop):
    """Whoever finds the member is answered, and whoever does not is told so; nothing else may happen."""
    shop.publish("1")
    shop.publish("1", name="other")
    async with running(configuration(shop)) as here:
        member = DecodingOptions(ensemble=[EnsembleMember(model="other")])
        told: list[str] = []

        async def call() -> None:
            while not over.is_set():
                try:
                    answer = await here.client.translate(TEXT, model="translation", options=member)
                    told.append(answer.hypotheses[0].text)
                except UnknownModel as error:
                    told.append(str(error).partition(";")[0])

        over = asyncio.Event()
        callers = [asyncio.create_task(call()) for _ in range(4)]
        for _ in range(4):
            await here.unload("1", name="other")
            await here.gone("other/1")
            await here.load("1", name="other")
            before = told.count(TEXT)
            await until(lambda before=before: told.count(TEXT) > before + 4)
        over.set()
        await asyncio.gather(*callers)
        gone = "options.ensemble[0].model: no translation model 'other' is loaded"
        assert set(told) <= {TEXT, gone}


class Held:
    """Opens version 2 only when let."""

    def __init__(self) -> None:
        self.opening, self.let = threading.Event(), threading.Event()

    def __call__(self, bundle, session):
        if bundle.manifest.version == "2":
            self.opening.set()
            assert self.let.wait(WAIT_S)
        return open_described(bundle, session)


async def test_a_version_is_loaded_though_its_administrator_gives_up(shop):
    shop.publish("1")
    held = Held()
    async with running(configuration(shop), held) as here:
        shop.publish("2", description=REVERSED)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await here.admin.LoadModel(admin_pb2.LoadModelRequest(name="translation"), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(held.opening.is_set)
        assert (await here.states())["translation/2"] == "LOADING"
        assert await here.text() == TEXT, "what is served goes on meanwhile"
        assert await here.health(TRANSLATION) == SERVING
        held.let.set()
        await until_states(here, {"translation/1": "READY", "translation/2": "READY"})
        assert await here.text() == BACKWARDS


async def test_a_stop_while_a_version_is_loaded_tells_its_administrator(shop):
    shop.publish("1")
    held = Held()
    server = Server(configuration(shop), held)
    await server.start()
    await server.load()
    shop.publish("2")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        loading = asyncio.ensure_future(stub.LoadModel(admin_pb2.LoadModelRequest(name="translation")))
        await until(held.opening.is_set)
        stopping = asyncio.create_task(server.stop(10))
        code, details = await refused(loading)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down; retry elsewhere")
        held.let.set()
        await asyncio.wait_for(stopping, WAIT_S)


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_administrators_and_folders_do_no_call_fails_and_nothing_is_left_over(shop, seed):
    """Version 1 is left alone, so that somebody can answer; the others are published, damaged, loaded, tried, removed."""
    random = Random(seed)
    shop.publish("1")
    wrong: list[str] = []
    refusals: list[str] = []

    async with running(configuration(shop)) as here:

        async def call() -> None:
            while not over.is_set():
                text = await here.text()
                if text not in {TEXT, BACKWARDS}:
                    wrong.append(text)

        async def act() -> None:
            version = str(random.randint(2, 4))
            match random.randrange(8):
                case 0 | 1:
                    shop.publish(version, description=random.choice(["", REVERSED]))
                case 2:
                    made = shop.make("translation", "translation", version)
                    random.choice([fakes.truncate, fakes.corrupt_manifest, fakes.altered_graph])(made)
                    shop.rename_into_place(made)
                case 3:
                    await here.load(version)
                case 4:
                    await here.unload(version)
                case 5:
                    await here.admin.SetCanary(
                        admin_pb2.SetCanaryRequest(name="translation", version=version, share=random.random())
                    )
                case 6:
                    await here.admin.ClearCanary(admin_pb2.ClearCanaryRequest(name="translation"))
                case 7:
                    if (shop.models / "translation" / version).exists():
                        shop.remove(version)

        async def administer() -> None:
            for _ in range(40):
                try:
                    await act()
                except grpc.aio.AioRpcError as error:
                    refusals.append(error.code().name)
                if random.random() < 0.5:
                    await here.server.repository.sync()

        over = asyncio.Event()
        callers = [asyncio.create_task(call()) for _ in range(4)]
        await administer()
        over.set()
        await asyncio.gather(*callers)
        assert wrong == []
        assert set(refusals) <= {"NOT_FOUND", "FAILED_PRECONDITION"}
        here.server.repository.canaries.close()
        served = [task.bundle.lane for task in here.server.repository._registry]
        assert "translation/1" in served
        await until(lambda: sorted(here.server.engine.models) == sorted(served))
        ready = [key for key, state in (await here.states()).items() if state == "READY"]
        assert sorted(ready) == sorted({lane.partition("#")[0] for lane in served})
        assert here.server.engine.counters.failed == 0
